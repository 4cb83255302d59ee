"""How each form of answer is read: exactly, or not at all."""

from __future__ import annotations

import pytest

from lagotto.core.errors import EndpointError
from lagotto.llm.base import Reply
from lagotto.models.judging.answers import (
    MalformedError,
    read_choice,
    read_grade,
    read_log_odds,
    read_order,
    read_yes_no,
    response_format,
)
from lagotto.models.judging.orders import aggregate
from lagotto.models.judging.strategies import Listwise, Pairwise, Pointwise, make_strategy


@pytest.mark.parametrize(
    ("read", "form", "text", "value"),
    [
        (read_grade, "text", " 10\n", 10),
        (read_grade, "json_schema", '{"relevance": 0}', 0),
        (read_grade, "text", "<think>7? no</think>3", 3),
        (read_yes_no, "text", '"Yes".', 1),
        (read_yes_no, "text", "否。", 0),
        (read_yes_no, "json_object", '{"relevant": false}', 0),
        (read_choice, "text", "**B**", "B"),
        (read_choice, "json_schema", '{"better": "A"}', "A"),
    ],
)
def test_good_ones(read, form, text, value):
    assert read(Reply(text), form) == value


@pytest.mark.parametrize(
    ("read", "form", "text"),
    [
        (read_grade, "text", "11"),
        (read_grade, "text", "-1"),
        (read_grade, "text", "7/10"),
        (read_grade, "text", "７"),
        (read_grade, "text", ""),
        (read_grade, "json_schema", '{"relevance": 7.5}'),
        (read_grade, "json_schema", '{"relevance": true}'),
        (read_grade, "json_schema", '{"relevance": "7"}'),
        (read_grade, "json_schema", '{"relevance": 7, "why": ""}'),
        (read_grade, "json_schema", '```json\n{"relevance": 7}\n```'),
        (read_grade, "json_schema", "7"),
        (read_grade, "text", '{"relevance": 7}'),
        (read_yes_no, "text", "yes and no"),
        (read_yes_no, "json_schema", '{"relevant": 1}'),
        (read_choice, "text", "A or B"),
        (read_choice, "text", "a"),
        (read_choice, "json_schema", '{"better": "C"}'),
        (read_choice, "json_schema", '{"better": ["A"]}'),
        (read_grade, "json_schema", "[" * 100_000),
        (read_grade, "json_schema", '{"relevance": ' + "9" * 5000 + "}"),
    ],
)
def test_others_are_malformed(read, form, text):
    with pytest.raises(MalformedError):
        read(Reply(text), form)


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("text", "[1], [2]"),
        ("text", "1 > 2"),
        ("text", "The order is [1] > [2]"),
        ("text", "[1] > [2]."),
        ("text", "[9] > [8]"),
        ("json_schema", '{"ranking": []}'),
        ("json_schema", '{"ranking": [true]}'),
        ("json_schema", '{"ranking": ["1"]}'),
        ("json_schema", '{"ranking": 1}'),
        ("json_schema", '{"order": [1]}'),
        ("text", "[" + "9" * 5000 + "]"),
    ],
)
def test_orders_that_are_malformed(form, text):
    with pytest.raises(MalformedError):
        read_order(Reply(text), form, 3)


def test_log_odds_need_log_probabilities():
    with pytest.raises(EndpointError, match="logprobs"):
        read_log_odds(Reply("yes"))
    assert read_log_odds(Reply("yes", first_token=(("yes", -0.0), ("no", -9999.0)))) == 100


def test_response_formats():
    assert response_format("grade", "text", 1) is None
    assert response_format("grade", "json_object", 1) == {"type": "json_object"}
    schema = response_format("yes_no", "json_schema", 1)["json_schema"]
    assert schema["name"] == "relevant"
    assert schema["schema"]["properties"] == {"relevant": {"type": "boolean"}}
    order = response_format("order", "json_schema", 3)["json_schema"]["schema"]["properties"]["ranking"]
    assert order == {"type": "array", "items": {"type": "integer", "enum": [1, 2, 3]}}


def test_aggregations_differ():
    orders = [[0, 1, 2, 3], [0, 1, 3, 2], [2, 1, 3, 0], [3, 1, 2, 0]]  # 0 is the first or the last, 1 always second
    assert aggregate(orders, "borda")[:2] == [1, 0]
    assert aggregate(orders, "reciprocal_rank")[:2] == [0, 1]


def test_strategies_by_name():
    assert make_strategy("listwise", {"window": 5, "step": 2, "seed": None}) == Listwise(5, 2)
    assert make_strategy("pointwise", {}) == Pointwise()
    assert make_strategy("pairwise", {"both_orders": False}) == Pairwise(both_orders=False)
