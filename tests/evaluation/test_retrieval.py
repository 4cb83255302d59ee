"""A system on a retrieval set: what it finds, how that is measured, what it took."""

from __future__ import annotations

import gc
import math
import tracemalloc
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.evaluation import store
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.legs import retrieve
from lagotto.evaluation.measures import parse_measure, per_query
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Fusion, System
from lagotto.evaluation.results import Run
from lagotto.evaluation.retrieval import evaluate_retrieval, measure_run, rank, score_spread
from lagotto.search.exact import NOTHING
from lagotto.search.fusion import fuse
from support.collection import DOCUMENTS, QUERIES, UNKNOWN, collection, documents, judgements, queries

BM25 = Bm25Leg("en")
USUAL = [parse_measure(name) for name in ("ndcg@10", "recall@5", "map")]


def only(leg, **more) -> System:
    return System("system", (leg,), **more)


def hits(places: np.ndarray) -> list[list[int]]:
    return [[place for place in row if place != NOTHING] for row in places.tolist()]


# What is found


def test_a_system_of_one_leg_finds_what_the_leg_finds(bench, dense, data):
    ranked, leg = rank(bench, only(dense, top_k=7), data), retrieve(bench, dense, data, 7)
    assert (ranked.places == leg.places).all()
    assert (ranked.scores == leg.scores).all()


@pytest.mark.parametrize("top_k", [1, 5, DOCUMENTS, 1000])
def test_as_many_hits_as_asked_for_and_there_are(bench, dense, data, top_k):
    ranked = rank(bench, only(dense, top_k=top_k), data)
    assert ranked.places.shape == (QUERIES, min(top_k, DOCUMENTS))
    assert (np.diff(ranked.scores, axis=1) <= 0).all()


@pytest.mark.parametrize(
    "fusion", [Fusion(), Fusion("weighted", (0.8, 0.2)), Fusion("weighted", None, scaling="z_score"), Fusion(rrf_k=1)]
)
def test_fused_legs_are_fuse_of_their_rankings(bench, dense, data, fusion):
    ranked = rank(bench, System("hybrid", (dense, BM25), fusion, top_k=12), data)
    parts = [retrieve(bench, leg, data, 12) for leg in (dense, BM25)]
    scores, places = fuse(
        [(part.scores, part.places) for part in parts],
        12,
        method=fusion.method,
        weights=fusion.weights,
        rrf_k=fusion.rrf_k,
        scaling=fusion.scaling,
    )
    assert (ranked.places == places).all()
    np.testing.assert_array_equal(ranked.scores, scores)
    assert ranked.vector_bytes == sum(part.vector_bytes for part in parts)
    assert [stage.name.partition(":")[0] for stage in ranked.stages] == [
        *("index", "embed queries", "search"),
        *("index", "search"),
        "fuse",
    ]


def test_a_hybrid_keeps_warnings_and_lengths_of_its_legs(bench, dense, data):
    leg = replace(dense, max_length=4)
    ranked = rank(bench, System("hybrid", (leg, BM25), Fusion()), data)
    assert ranked.warnings == retrieve(bench, leg, data, 10).warnings != ()
    assert len(ranked.lengths) == 2


def test_the_first_hits_are_in_the_rerankers_order_and_the_others_stay_below(bench, dense, rerank, data):
    system = only(dense, rerank=replace(rerank, top_k=10), top_k=25)
    ranked, before = rank(bench, system, data), rank(bench, only(dense, top_k=25), data)
    judge = bench.reranker(rerank)
    texts = list(documents().values())
    for row, query in enumerate(queries().values()):
        first = before.places[row, :10]
        logits = judge.score([(query, texts[place]) for place in first]).scores
        order = np.argsort(-logits, kind="stable")
        np.testing.assert_allclose(ranked.scores[row, :10], logits[order], atol=1e-4)
        if (np.diff(-logits[order]) > 1e-4).all():
            assert ranked.places[row, :10].tolist() == first[order].tolist()
        assert ranked.places[row, 10:].tolist() == before.places[row, 10:].tolist()
    assert (np.diff(ranked.scores, axis=1) < 0)[:, 9:].all()  # strictly, or trec_eval would order them by name
    assert np.isfinite(ranked.scores).all()


def test_reranking_deeper_than_what_is_kept(bench, dense, rerank, data):
    deep = rank(bench, only(dense, rerank=replace(rerank, top_k=30), top_k=30), data)
    kept = rank(bench, only(dense, rerank=replace(rerank, top_k=30), top_k=5), data)
    assert kept.places.tolist() == deep.places[:, :5].tolist()


def test_reranking_deeper_than_the_corpus(bench, dense, rerank, data):
    ranked = rank(bench, only(dense, rerank=replace(rerank, top_k=1000)), data)
    assert ranked.places.shape == (QUERIES, DOCUMENTS)
    assert ranked.stages[-1].items == QUERIES * DOCUMENTS


def test_reranking_what_bm25_found_even_if_that_is_nothing(bench, rerank, data, counts):
    found = hits(rank(bench, only(BM25), data).places)
    system = only(BM25, rerank=replace(rerank, top_k=3))
    ranked = rank(bench, system, data)
    after = hits(ranked.places)
    assert [sorted(row) for row in after] == [sorted(row) for row in found]
    assert [row[3:] for row in after] == [row[3:] for row in found]
    assert after[list(queries()).index(UNKNOWN)] == []
    assert counts.pairs == ranked.stages[-1].items == sum(min(3, len(row)) for row in found)
    assert ((ranked.places == NOTHING) == np.isneginf(ranked.scores)).all()


def test_reranking_nothing_at_all(bench, rerank, data):
    ranked = rank(bench, only(BM25, rerank=rerank), collection(queries={UNKNOWN: "xyzzy"}))
    assert hits(ranked.places) == [[]]
    assert ranked.stages[-1].items == 0


def test_a_reranker_does_not_bring_excluded_documents_back(bench, dense, rerank):
    data = collection(excluded={"q0": frozenset({"d1", "d2"}), "q3": frozenset({"d16"})})
    ranked = rank(bench, only(dense, rerank=replace(rerank, top_k=50)), data)
    assert not {1, 2} & set(ranked.places[0].tolist())
    assert 16 not in ranked.places[3]
    assert [len(row) for row in hits(ranked.places)] == [38, 40, 40, 39, 40, 40, 40, 40]


def test_pairs_that_were_cut_are_told(bench, dense, rerank, data):
    system = only(dense, rerank=replace(rerank, top_k=40, max_windows=1))
    assert any(
        line.startswith(f"{QUERIES} of {QUERIES * DOCUMENTS} pairs were longer than")
        for line in rank(bench, system, data).warnings
    )  # one long document for every query
    whole = only(dense, rerank=replace(rerank, top_k=40, max_windows=None))
    assert not any("pairs" in line for line in rank(bench, whole, data).warnings)


def test_a_shared_ranking_is_not_changed_by_reranking(bench, dense, rerank, data):
    bench.shared = frozenset({dense})
    before = retrieve(bench, dense, data, 10)
    copy = before.places.copy(), before.scores.copy()
    rank(bench, only(dense, rerank=rerank, top_k=10), data)
    rank(bench, System("h", (dense, BM25), Fusion(), top_k=10), data)
    again = retrieve(bench, dense, data, 10)
    assert again is before
    assert (again.places == copy[0]).all()
    assert (again.scores == copy[1]).all()


# How it is measured


def test_figures_are_those_of_trec_eval_on_the_run(bench, dense, data):
    result = evaluate_retrieval(bench, only(dense), data, USUAL)
    assert result.run is not None
    wanted = per_query(result.run.to_dict(), judgements(), USUAL)
    assert result.per_query == wanted
    assert list(result.metrics) == ["ndcg@10", "recall@5", "map"]
    for name, values in wanted.items():
        assert result.metrics[name].value == pytest.approx(sum(values.values()) / QUERIES)
        assert result.metrics[name].low <= result.metrics[name].value <= result.metrics[name].high
    assert 0 < result.metrics["ndcg@10"].value < 1
    assert list(wanted["map"]) == list(queries())


def test_a_query_that_finds_nothing_counts_0(bench, data):
    result = evaluate_retrieval(bench, only(BM25), data, USUAL)
    assert result.run is not None
    assert UNKNOWN not in {key for key, found in result.run.to_dict().items() if found}
    assert result.per_query["ndcg@10"][UNKNOWN] == 0.0
    others = [value for key, value in result.per_query["ndcg@10"].items() if key != UNKNOWN]
    assert result.metrics["ndcg@10"].value == pytest.approx(sum(others) / QUERIES)


def test_measuring_in_parts_changes_nothing(bench, dense, data, monkeypatch):
    whole = evaluate_retrieval(bench, only(dense), data, USUAL).per_query
    monkeypatch.setattr("lagotto.evaluation.retrieval._AT_ONCE", 3)
    assert evaluate_retrieval(bench, only(dense), data, USUAL).per_query == whole


def with_answers(**changes: Any):
    """Three documents; answers to three of the four queries."""
    return collection(
        corpus=ListCorpus({"a": "the giant panda", "b": "Paris, France", "c": "a river"}),
        queries={"one": "x", "two": "x", "three": "x", "four": "x"},
        qrels={},
        answers={"one": ("Panda", "bear"), "two": ("paris",), "three": ("tiger",)},
        **changes,
    )


def run_of(places: Sequence[Sequence[int]], data) -> Run:
    table = np.array(places, np.int32)
    return Run(
        tuple(data.queries),
        table,
        -np.tile(np.arange(table.shape[1], dtype=np.float32), (len(table), 1)),
        data.corpus.ids,
    )


def test_answer_recall_looks_for_answers_in_the_first_hits():
    data = with_answers()
    run = run_of([[2, 0, 1], [2, 0, 1], [2, 0, 1], [0, -1, -1]], data)
    measures = [parse_measure(f"answer_recall@{k}") for k in (1, 2, 3)]
    assert measure_run(run, data, measures) == {
        "answer_recall@1": {"one": 0.0, "two": 0.0, "three": 0.0},
        "answer_recall@2": {"one": 1.0, "two": 0.0, "three": 0.0},
        "answer_recall@3": {"one": 1.0, "two": 1.0, "three": 0.0},
    }


def test_answer_recall_of_fewer_hits_than_its_depth():
    data = with_answers()
    run = run_of([[0], [-1], [-1], [-1]], data)
    assert measure_run(run, data, [parse_measure("answer_recall@20")])["answer_recall@20"] == {
        "one": 1.0,
        "two": 0.0,
        "three": 0.0,
    }


def test_answers_and_judgements_together_keep_the_order_of_the_measures():
    data = replace(with_answers(), qrels={"one": {"a": 1}, "four": {"b": 1}})
    run = run_of([[0, 1], [0, 1], [0, 1], [0, 1]], data)
    values = measure_run(run, data, [parse_measure(name) for name in ("answer_recall@1", "mrr@10", "recall@1")])
    assert list(values) == ["answer_recall@1", "mrr@10", "recall@1"]
    assert values["mrr@10"] == {"one": 1.0, "four": 0.5}
    assert set(values["answer_recall@1"]) == {"one", "two", "three"}


def test_measures_that_the_data_cannot_have():
    data = with_answers()
    run = run_of([[0]] * 4, data)
    with pytest.raises(InvalidInputError, match=r"judged by answers, so ndcg@10 can't be measured"):
        measure_run(run, data, [parse_measure("ndcg@10")])
    with pytest.raises(InvalidInputError, match=r"'mini' has no `answers`"):
        measure_run(run_of([[0]] * 8, collection()), collection(), [parse_measure("answer_recall@5")])


def test_a_reranker_alone_cannot_retrieve(bench, rerank, data):
    with pytest.raises(InvalidInputError, match="needs a leg that retrieves"):
        evaluate_retrieval(bench, System("r", (), rerank=rerank), data, USUAL)


# Scores of relevant and other hits


def test_score_spread_counts_every_hit_once():
    data = collection(qrels={"q0": {"d0": 1, "d1": 0}, "q1": {"d3": 2}}, queries={"q0": "x", "q1": "x"})
    run = Run(
        ("q0", "q1"),
        np.array([[0, 1, -1], [2, 3, 4]], np.int32),
        np.array([[0.9, 0.5, -np.inf], [0.4, 0.8, 0.1]], np.float32),
        data.corpus.ids,
    )
    spread = score_spread(run, data.qrels)
    assert spread is not None
    assert (sum(spread.relevant.counts), sum(spread.other.counts)) == (2, 3)
    assert spread.relevant.edges == spread.other.edges
    assert (spread.relevant.edges[0], spread.relevant.edges[-1]) == pytest.approx((0.1, 0.9))
    assert spread.best_threshold == pytest.approx(0.8)
    assert spread.best_f1 == 1.0
    assert score_spread(run, data.qrels, depth=1) is not None
    assert sum(score_spread(run, data.qrels, depth=1).other.counts) == 1


@pytest.mark.parametrize("qrels", [{}, {"q0": {"d0": 0}}, {"q0": {"d0": 1, "d1": 1}}])
def test_score_spread_needs_both_kinds(qrels):
    run = Run(("q0",), np.array([[0, 1]], np.int32), np.array([[1.0, 1.0]], np.float32), ("d0", "d1"))
    assert score_spread(run, qrels) is None


def test_score_spread_of_equal_scores_and_of_none():
    ids = ("d0", "d1")
    equal = Run(("q0",), np.array([[0, 1]], np.int32), np.array([[1.0, 1.0]], np.float32), ids)
    spread = score_spread(equal, {"q0": {"d0": 1}})
    assert spread is not None
    assert math.isfinite(spread.best_threshold)
    assert score_spread(Run(("q0",), np.zeros((1, 0), np.int32), np.zeros((1, 0), np.float32), ids), {}) is None


def test_scores_that_only_keep_the_order_are_in_no_spread(bench, dense, rerank, data):
    result = evaluate_retrieval(bench, only(dense, rerank=replace(rerank, top_k=4)), data, USUAL)
    assert result.scores is not None
    assert sum(result.scores.relevant.counts) + sum(result.scores.other.counts) == 4 * QUERIES


# What it took


def test_costs_are_there_and_tell_what_was_cached(bench, dense, rerank, data):
    system = System("all", (dense, BM25), Fusion(), rerank, top_k=20)
    first = evaluate_retrieval(bench, system, data, USUAL)
    second = evaluate_retrieval(bench, system, data, USUAL)
    for result in (first, second):
        assert all(stage.seconds > 0 and stage.items > 0 for stage in result.cost.stages)
        assert result.cost.vector_bytes > 32 * 4
        assert result.cost.index_seconds > 0
        assert result.cost.queries_per_second > 0
        assert 0 < result.cost.memory_before <= result.cost.memory_loaded
        assert result.cost.memory_peak > 0
    pairs = QUERIES * 10
    assert [stage.cached for stage in first.cost.stages] == [0] * 7
    assert [stage.cached for stage in second.cost.stages] == [DOCUMENTS, QUERIES, 0, 0, 0, 0, pairs]
    assert first.cost.stages[-1].items == pairs
    assert [stage.tokens > 0 for stage in first.cost.stages] == [True, True, False, False, False, False, True]
    assert second.metrics == first.metrics
    assert second.cost.stages[0].seconds == pytest.approx(first.cost.stages[0].seconds)


def test_models_opened_before_count_as_memory_of_the_system(bench, dense, data):
    model = bench.embedder(dense)
    bench._bytes = dict.fromkeys(bench._bytes, 1000)
    result = evaluate_retrieval(bench, only(dense), data, USUAL)
    assert result.cost.memory_loaded - result.cost.memory_before == 1000
    assert model is bench.embedder(dense)


# Memory


class Synthetic(Embedder):
    """Vectors of 256 numbers, made from the text's number; remembers which arrays are alive."""

    fingerprint, max_length, truncation, dimension = "synthetic", 64, "right", 256  # type: ignore[assignment]
    card = ModelCard("synthetic", "embed", "bert", ("dense",), 64)  # type: ignore[assignment]

    def __init__(self, model: str, **options: Any) -> None:
        self.alive: list[weakref.ref[Any]] = []

    def stream(self, texts: Sequence[str], **options: Any) -> Iterator[Embeddings]:  # type: ignore[override]
        random = np.random.default_rng(len(texts[0]))
        dense = random.standard_normal((len(texts), 256)).astype(np.float32)
        self.alive.append(weakref.ref(dense))
        yield Embeddings(dense, np.ones(len(texts), np.int32), np.zeros(len(texts), np.bool_))

    def close(self) -> None:
        pass


@pytest.mark.parametrize("change", [{}, {"quantization": "int8", "rescore": 20}, {"dimensions": 200}])
def test_a_corpus_is_never_in_memory_as_a_whole(bench, monkeypatch, change):
    monkeypatch.setattr(store, "BLOCK", 256)
    monkeypatch.setattr("lagotto.search.candidates.PAIRS_AT_ONCE", 64)
    monkeypatch.setattr("lagotto.evaluation.workbench.Embedder", Synthetic)
    leg = DenseLeg("synthetic", **change)
    data = collection(corpus=ListCorpus({f"d{number}": str(number) for number in range(20_000)}))
    assert data.fingerprint  # read before memory is watched
    model = bench.embedder(leg)
    gc.collect()
    tracemalloc.start()
    try:
        ranked = rank(bench, only(leg, top_k=10), data)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (ranked.places >= 0).all()
    assert len(model.alive) == 79 + 1
    assert sum(ref() is not None for ref in model.alive) <= 1
    assert peak < 5_000_000 < 20_000 * 256 * 4 / 4  # all vectors would be 20 MB
