"""Evaluations in which a language model reranks: its order counts, rankings are kept, failures end the work at once."""

from __future__ import annotations

import re
import time
from dataclasses import replace

import numpy as np
import pytest

from lagotto import evaluate
from lagotto.core.errors import ConfigError, EndpointError, InvalidInputError
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.pair_tasks import evaluate_pairs
from lagotto.evaluation.pipeline import Bm25Leg, LLMRerank, Rerank, System
from lagotto.evaluation.pipeline_file import read_pipelines
from lagotto.evaluation.retrieval import evaluate_retrieval, rank
from lagotto.evaluation.workbench import Workbench
from support.chat_server import After, ChatServer, Say, Silence, Status, judge
from support.collection import QUERIES, candidates

NDCG = [parse_measure("ndcg@10")]


def by_length(asked):
    """The longest passage is the best."""
    return judge(lambda text: len(text))(asked)


@pytest.fixture
def server():
    with ChatServer(by_length) as running:
        yield running


@pytest.fixture
def part(server) -> LLMRerank:
    return LLMRerank(server.url, "judge-1", top_k=5, concurrency=3)


def bm25(part) -> System:
    return System("judged", (Bm25Leg("en"),), rerank=part, top_k=20)


def test_the_first_hits_are_in_the_models_order_and_the_others_stay_below(bench, data, part, server):
    before = rank(bench, replace(bm25(part), rerank=None), data)
    server.judge = lambda asked: After(0.05, by_length(asked))  # long enough to meet others
    ranked = rank(bench, bm25(part), data)
    for row, places in enumerate(before.places.tolist()):
        hits = [place for place in places if place != -1]
        first = sorted(hits[:5], key=lambda place: -len(data.corpus.text(place)))
        assert ranked.places[row, : len(hits)].tolist() == first + hits[5:]
        scores = ranked.scores[row, : len(hits)]
        assert (np.diff(scores) < 0).all()  # strictly, or trec_eval would order them by name
    asked = sum(1 for places in before.places.tolist() if sum(place != -1 for place in places) > 1)
    assert len(server.asked) == asked >= QUERIES - 1
    stage = ranked.stages[-1]
    assert (stage.name, stage.tokens) == ("rerank: judge-1", 100 * asked)
    assert stage.items == int((before.places[:, :5] != -1).sum())
    assert 1 < server.most <= 3


def test_a_ranking_is_kept_for_those_settings_and_not_for_others(bench, data, part, server):
    first = evaluate_retrieval(bench, bm25(part), data, NDCG)
    asked = len(server.asked)
    again = evaluate_retrieval(bench, bm25(part), data, NDCG)
    assert len(server.asked) == asked
    assert again.per_query == first.per_query
    assert again.cost.stages[-1].cached == again.cost.stages[-1].items
    evaluate_retrieval(bench, bm25(replace(part, seed=1)), data, NDCG)
    assert len(server.asked) == 2 * asked


def test_what_was_wrong_with_answers_is_in_the_report(bench, data, part, server):
    server.judge = lambda asked: Say("nonsense") if len(asked.prompt) % 2 else by_length(asked)  # about every second
    result = evaluate_retrieval(bench, bm25(replace(part, reasks=0, max_characters=5)), data, NDCG)
    assert any(re.search(r"judge-1 in \d+ calls: .*questions without a readable answer", w) for w in result.warnings)
    assert any("pairs were longer than judge-1 reads" in warning for warning in result.warnings)


def test_a_failure_ends_the_others(bench, data, part, server):
    server.judge = lambda asked: Status(401) if len(server.asked) == 3 else Silence()
    started = time.monotonic()
    with pytest.raises(EndpointError, match="check the API key"):
        rank(bench, bm25(part), data)
    assert time.monotonic() - started < 5


def test_whole_evaluations_name_it_and_its_settings(folder, tmp_path, options, part, server):
    out = tmp_path / "report"
    systems = [System("BM25", (Bm25Leg("en"),)), bm25(part)]
    report = evaluate(folder, pipeline=systems, out=out, options=options)
    described = report.systems[1].description["rerank"]
    assert described == {
        "llm": server.url,
        "model": "judge-1",
        "top_k": 5,
        "strategy": "listwise",
        "concurrency": 3,
    }
    assert list(report.systems[1].models) == ["judge-1"]
    assert "judge-1" in (out / "report.md").read_text(encoding="utf-8")
    asked = len(server.asked)
    evaluate(folder, pipeline=systems, out=out, options=options)
    assert len(server.asked) == asked


def test_candidates_are_shown_shuffled_and_counted_by_place(bench, part, server):
    data = candidates()
    positives = {text for item in data.candidates for text in item.positive}
    server.judge = judge(lambda text: float(text in positives))
    result, _ = evaluate_pairs(bench, System("r", (), rerank=part), data, [])
    assert result.metrics["map"].value == 1.0
    first = [next(iter(asked.passages.values())) in positives for asked in server.asked]
    assert not all(first)
    server.judge = lambda asked: Say("nonsense")  # an order that is kept must not be the data's, which is perfect
    result, _ = evaluate_pairs(bench, System("r", (), rerank=replace(part, seed=1)), data, [])
    assert result.metrics["map"].value < 1.0


def test_systems_that_differ_only_in_depth_share_the_client(bench: Workbench, part):
    assert bench.judge(part) is bench.judge(replace(part, top_k=9))
    assert bench.judge(part) is not bench.judge(replace(part, strategy="pointwise"))
    bench.keep_only([])


def test_mteb_cannot_have_it(part):
    from lagotto.evaluation.evaluate import _for_mteb

    assert _for_mteb(System("r", (), rerank=part)) is None
    assert _for_mteb(System("r", (), rerank=Rerank("r"))) == Rerank("r")


FILE = """
[[system]]
name = "x"
leg = [{{type = "bm25"}}]

[system.rerank]
llm = "http://127.0.0.1:1/v1"
model = "m"
{more}
"""


def read(tmp_path, more: str):
    path = tmp_path / "p.toml"
    path.write_text(FILE.format(more=more), encoding="utf-8")
    return read_pipelines(path)[0]


def test_every_key_of_a_pipeline_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "k")
    common = """top_k = 7\nanswers = "text"\nlanguage = "zh"\nmax_characters = 9\nreasks = 0\nmalformed = "error"
    key_variable = "MY_KEY"\nmax_tokens = 8\ntimeout = 3.5\nconcurrency = 2\n"""
    told = {"answers": "text", "language": "zh", "max_characters": 9, "reasks": 0, "malformed": "error"}
    told |= {"key_variable": "MY_KEY", "max_tokens": 8, "timeout": 3.5, "concurrency": 2, "top_k": 7}
    one = LLMRerank("http://127.0.0.1:1/v1", "m", **told)
    listwise = 'window = 4\nstep = 2\npasses = 2\npermutations = 6\naggregation = "reciprocal_rank"\nseed = 5\n'
    wanted = {"window": 4, "step": 2, "passes": 2, "permutations": 6, "aggregation": "reciprocal_rank", "seed": 5}
    assert read(tmp_path, common + listwise + "temperature = 1").rerank == replace(one, **wanted, temperature=1)
    more = 'strategy = "pairwise"\nboth_orders = false\nmax_calls = 5\nreasoning_model = true'
    pairwise = read(tmp_path, common + more)
    assert pairwise.rerank == replace(one, strategy="pairwise", both_orders=False, max_calls=5, reasoning_model=True)
    pointwise = read(tmp_path, common + 'strategy = "pointwise"\njudgement = "yes_no"')
    assert pointwise.rerank == replace(one, strategy="pointwise", judgement="yes_no")


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('strategy = "setwise"', "strategy is 'setwise'"),
        ('strategy = "pointwise"\nwindow = 4', "window is not for strategy 'pointwise'"),
        ("step = 20", "step is 20 with a window of 20"),
        ("both_orders = 1", "both_orders is 1; expected bool"),
        ("window = true", "window is True; expected int"),
        ("max_windows = 3", r"unknown keys \['max_windows'\]"),
        ('key_variable = "NOT_SET_ANYWHERE"', "NOT_SET_ANYWHERE"),
        ('key_file = "/not/there"', "/not/there can't be read"),
        ("top_k = 0", "rerank top_k is 0"),
        ("concurrency = 0", "system 'x': concurrency is 0"),
    ],
)
def test_what_a_file_may_not_say(tmp_path, more, message):
    with pytest.raises(ConfigError, match=message):
        read(tmp_path, more)


def test_the_library_says_the_same_of_its_own_values():
    with pytest.raises((ConfigError, InvalidInputError), match="address"):
        System("x", (Bm25Leg(),), rerank=LLMRerank("nowhere", "m"))
