"""Which queries a report shows, and what of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest

from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.examples import CHARACTERS, EACH, HITS, examples
from lagotto.evaluation.results import Cost, Estimate, Result, Run

NUMBER = 60


@pytest.fixture
def data() -> RetrievalData:
    """Query ``q7`` has document ``d7``."""
    return RetrievalData(
        "many",
        ListCorpus({f"d{i}": f"text {i}" for i in range(NUMBER)}),
        {f"q{i}": f"query {i}" for i in range(NUMBER)},
        {f"q{i}": {f"d{i}": 1} for i in range(NUMBER)},
    )


def result(data: RetrievalData, values: Mapping[str, float], system: str = "base", depth: int = 3) -> Result:
    places = np.array([[(row + column) % NUMBER for column in range(depth)] for row in range(NUMBER)], np.int32)
    scores = np.tile(np.linspace(1, 0.5, depth, dtype=np.float32), (NUMBER, 1))
    run = Run(tuple(data.queries), places, scores, data.corpus.ids)
    return Result(system, data.name, {"ndcg@10": Estimate(0.5, 0, 1)}, {"ndcg@10": dict(values)}, Cost(), run=run)


def flat(value: float = 0.5) -> dict[str, float]:
    return {f"q{i}": value for i in range(NUMBER)}


def test_of_one_system_the_worst_queries(data):
    values = {f"q{i}": i / NUMBER for i in range(NUMBER)}
    shown = examples(data, [result(data, values)])
    assert [example.query for example in shown] == [f"q{i}" for i in range(2 * EACH)]
    assert shown[3].values == {"base": 3 / NUMBER}
    assert shown[3].text == "query 3"


def test_of_two_systems_the_largest_wins_and_losses(data):
    other = {f"q{i}": 0.5 + (i - 30) / 100 for i in range(NUMBER)}  # q30 is equal
    shown = [example.query for example in examples(data, [result(data, flat()), result(data, other, "other")])]
    assert shown == [*(f"q{59 - i}" for i in range(EACH)), *(f"q{i}" for i in range(EACH))]


def test_equal_queries_are_not_shown(data):
    other = flat() | {"q5": 0.6}
    shown = examples(data, [result(data, flat()), result(data, other, "other")])
    assert [example.query for example in shown] == ["q5"]
    assert shown[0].values == {"base": 0.5, "other": 0.6}
    assert examples(data, [result(data, flat()), result(data, flat(), "other")]) == ()


def test_a_query_on_which_several_systems_differ_comes_once(data):
    results = [
        result(data, flat()),
        result(data, flat() | {"q1": 1.0, "q2": 0.0}, "a"),
        result(data, flat() | {"q1": 0.0, "q3": 1.0}, "b"),
    ]
    shown = examples(data, results)
    assert [example.query for example in shown] == ["q1", "q2", "q3"]
    assert all(set(example.hits) == {"base", "a", "b"} for example in shown)


def test_hits_have_their_scores_texts_and_judgements(data):
    (example,) = examples(data, [result(data, flat()), result(data, flat() | {"q7": 1.0}, "other")])
    first, second, third = example.hits["other"]
    assert (first.document, first.text, first.relevance) == ("d7", "text 7", 1)
    assert (second.document, second.relevance) == ("d8", None)
    assert [hit.score for hit in (first, second, third)] == [1.0, 0.75, 0.5]
    (relevant,) = example.relevant
    assert (relevant.document, relevant.text, relevant.score, relevant.relevance) == ("d7", "text 7", None, 1)


def test_no_more_hits_than_there_is_room_for(data):
    judged = {f"d{i}": 1 + i % 3 for i in range(20)} | {"d30": 0, "gone": 3}
    data = replace(data, qrels={**data.qrels, "q7": judged})
    (example,) = examples(data, [result(data, flat(), depth=9), result(data, flat() | {"q7": 1.0}, "other")])
    assert len(example.hits["base"]) == HITS
    assert len(example.hits["other"]) == 3
    assert [hit.relevance for hit in example.relevant] == [3] * HITS
    assert "gone" not in {hit.document for hit in example.relevant}


def test_what_found_nothing_has_no_hits(data):
    nothing = result(data, flat() | {"q7": 0.0}, "other")
    assert nothing.run is not None
    nothing.run.documents[7] = -1
    (example,) = examples(data, [result(data, flat()), nothing])
    assert example.hits["other"] == ()
    assert len(example.hits["base"]) == 3


def test_texts_are_shown_on_one_line_and_cut(data):
    texts = {f"d{i}": f"text {i}" for i in range(NUMBER)} | {"d7": "a\n\tb " * 1000, "d8": " x" * (CHARACTERS // 2)}
    data = replace(data, corpus=ListCorpus(texts))
    (example,) = examples(data, [result(data, flat()), result(data, flat() | {"q7": 1.0}, "other")])
    long, exact, short = (hit.text for hit in example.hits["base"])
    assert long.startswith("a b a b")
    assert long.endswith("…")
    assert len(long) in (CHARACTERS, CHARACTERS - 1)
    assert exact == ("x " * (CHARACTERS // 2)).strip()
    assert short == "text 9"


def test_a_system_without_the_primary_measure_shows_its_hits_only(data):
    other = replace(result(data, {}, "other"), metrics={"map": Estimate(0, 0, 0)}, per_query={"map": flat()})
    shown = examples(data, [result(data, flat()), other])
    assert len(shown) == 2 * EACH
    assert set(shown[0].values) == {"base"}
    assert set(shown[0].hits) == {"base", "other"}


def test_queries_without_judgements_can_be_shown(data):
    data = replace(data, qrels={})
    (example,) = examples(data, [result(data, flat()), result(data, flat() | {"q7": 1.0}, "other")])
    assert example.relevant == ()
    assert example.hits["base"][0].relevance is None


def test_results_without_a_run_or_without_figures_are_left_out(data):
    whole = result(data, flat())
    assert examples(data, []) == ()
    assert examples(data, [replace(whole, run=None)]) == ()
    assert examples(data, [replace(whole, metrics={}, per_query={})]) == ()
    shown = examples(data, [replace(whole, run=None), result(data, flat(), "other")])
    assert set(shown[0].hits) == {"other"}


def test_the_same_results_give_the_same_examples(data):
    """Ties are broken by the query's id, whatever order they were computed in."""
    values = flat() | {f"q{i}": 1.0 for i in range(NUMBER)}
    backwards = dict(reversed(values.items()))
    first = examples(data, [result(data, flat()), result(data, values, "other")])
    second = examples(data, [result(data, flat()), result(data, backwards, "other")])
    assert [example.query for example in first] == [example.query for example in second]
