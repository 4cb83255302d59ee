"""Flat options reach the class they are for."""

from __future__ import annotations

import pytest

from lagotto import Listwise, Pointwise
from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.models.judging.opening import open_llm_reranker


def test_each_option_reaches_its_class(server):
    options = {"window": 4, "step": 2, "answers": "text", "temperature": 1, "max_tokens": 99, "reasks": None}
    with open_llm_reranker(server.url, "m", "listwise", options) as ranker:
        assert ranker.strategy == Listwise(4, 2)
        ranker.rank("q", ["worth 1", "worth 2"])
    body = server.asked[0].body
    assert (body["temperature"], body["max_tokens"], "response_format" in body) == (1, 99, False)


def test_a_reasoning_model(server):
    options = {"reasoning_model": True, "max_tokens": 99, "judgement": "yes_no"}
    with open_llm_reranker(server.url, "m", "pointwise", options) as ranker:
        assert ranker.strategy == Pointwise("yes_no")
        ranker.rank("q", ["worth 1"])
    body = server.asked[0].body
    assert body["max_completion_tokens"] == 99
    assert not {"temperature", "max_tokens"} & set(body)


@pytest.mark.parametrize(
    ("strategy", "options", "words"),
    [
        ("pointwise", {"window": 3}, "window is not for strategy 'pointwise', which takes judgement"),
        ("listwise", {"nonsense": 3}, "nonsense is not for"),
        ("listwise", {"reasoning_model": True, "temperature": 0.5}, "no temperature"),
        ("listwise", {"answers": "xml"}, "answers is 'xml'"),
        ("best", {}, "strategy is 'best'"),
    ],
)
def test_what_cannot_be(strategy, options, words):
    with pytest.raises(InvalidInputError, match=words):
        open_llm_reranker("http://127.0.0.1:1/v1", "m", strategy, options)


def test_an_address_that_cannot_be():
    with pytest.raises(ConfigError, match="address"):
        open_llm_reranker("nowhere", "m", "listwise", {})
