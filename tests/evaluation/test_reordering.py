"""What rescores: the first hits by exactly what plain numpy makes of the library's own values."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lagotto.evaluation import store
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, MultiVectorLeg, Rescore, SparseLeg, System
from lagotto.evaluation.retrieval import evaluate_retrieval, rank
from support.collection import DOCUMENTS, LONG, QUERIES, collection, documents
from support.token_scores import ALL, DOCUMENT_TEXTS, check, tables

NDCG = [parse_measure("ndcg@10")]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven documents a block, and their token vectors in parts of three."""
    monkeypatch.setattr(store, "BLOCK", 7)
    monkeypatch.setattr(store, "PART", 3)


@pytest.fixture
def dense(tiny_m3) -> DenseLeg:
    return DenseLeg(str(tiny_m3))


@pytest.fixture
def rescore(tiny_m3) -> Rescore:
    return Rescore(str(tiny_m3), weights=(0.15, 0.5, 0.35), top_k=9)


def expected(table: np.ndarray, before: np.ndarray, depth: int) -> np.ndarray:
    """Places with the first hits ordered by the table."""
    out = before.copy()
    for row, values in enumerate(table):
        first = [place for place in before[row, :depth] if place != -1]
        out[row, : len(first)] = sorted(first, key=lambda place, values=values: -values[place])
    return out


@pytest.mark.parametrize(
    ("weights", "outputs"),
    [
        ((0.15, 0.5, 0.35), set(ALL)),
        ((0, 0, 1), {"multivector"}),
        ((0.2, 0.8, 0), {"dense", "sparse"}),
        ((1, 0, 0), {"dense"}),
    ],
)
@pytest.mark.parametrize("leg", ["dense", "bm25"])
def test_the_first_hits_are_in_the_order_of_the_weighted_scores(
    bench, dense, rescore, data, counts, leg, weights, outputs
):
    chosen = dense if leg == "dense" else Bm25Leg("en")
    told = replace(rescore, weights=weights)
    system = System("x", (chosen,), rescore=told, top_k=20)
    before = rank(bench, replace(system, rescore=None), data)
    counts.clear()
    ranked = rank(bench, system, data)
    hits = np.unique(before.places[:, :9][before.places[:, :9] != -1])
    assert counts.texts <= len(hits) + QUERIES
    assert all(made <= outputs for _, made in counts.outputs)  # the queries' dense vectors may be there
    table = tables(bench.embedder(dense))
    total = sum(weight * table[name] for weight, name in zip(weights, ALL, strict=True)) / sum(weights)
    wanted = expected(total, before.places, 9)
    for row in range(QUERIES):
        first = [place for place in ranked.places[row, :9] if place != -1]
        np.testing.assert_allclose(ranked.scores[row, : len(first)], total[row, first], atol=1e-4)
        np.testing.assert_allclose(total[row, first], total[row, wanted[row, : len(first)]], atol=1e-4)
        assert sorted(first) == sorted(wanted[row, : len(first)])
    assert ranked.places[:, 9:].tolist() == before.places[:, 9:].tolist()
    assert ((ranked.places == -1) == np.isneginf(ranked.scores)).all()
    for row in ranked.scores:
        assert (np.diff(row[np.isfinite(row)])[8:] < 0).all()  # strictly, or trec_eval would order them by name


def test_what_rescoring_took(bench, dense, rescore, data):
    ranked = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    stage = ranked.stages[-1]
    hits = np.unique(rank(bench, System("x", (dense,), top_k=20), data).places[:, :9])
    assert (stage.name, stage.items, stage.cached) == (f"rescore: {dense.model}", 9 * QUERIES, 0)
    tokens = bench.embedder(dense).encode([DOCUMENT_TEXTS[place] for place in hits]).tokens
    assert stage.tokens == tokens.sum()
    assert [item.name.partition(":")[0] for item in ranked.stages] == ["index", "embed queries", "search", "rescore"]
    long = list(documents()).index(LONG)
    told = f"1 of {len(hits)} hits were longer than {dense.model} reads and lost their end"
    assert (told in ranked.warnings) == (long in hits)
    again = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    assert again.stages[-1].cached == len(hits)
    assert again.places.tolist() == ranked.places.tolist()


def test_rescoring_reads_what_legs_made_of_the_whole_corpus(bench, dense, rescore, data, counts):
    alone = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    bench.planned = frozenset({dense, SparseLeg(dense.model), MultiVectorLeg(dense.model)})
    ranked = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    np.testing.assert_allclose(ranked.scores, alone.scores, atol=1e-5)
    counts.clear()
    again = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    assert not counts.texts
    assert again.stages[-1].tokens == 0
    assert again.stages[0].name == f"index: {dense.model}"


def test_rescoring_deeper_than_what_is_kept_and_than_the_corpus(bench, dense, rescore, data):
    deep = rank(bench, System("x", (dense,), rescore=replace(rescore, top_k=30), top_k=30), data)
    kept = rank(bench, System("x", (dense,), rescore=replace(rescore, top_k=30), top_k=5), data)
    assert kept.places.tolist() == deep.places[:, :5].tolist()
    all_of_it = rank(bench, System("x", (dense,), rescore=replace(rescore, top_k=1000)), data)
    assert all_of_it.places.shape == (QUERIES, DOCUMENTS)
    check(all_of_it, weighted_table(bench, rescore), DOCUMENTS)


def weighted_table(bench, rescore: Rescore) -> np.ndarray:
    table = tables(bench.embedder(rescore))
    return sum(weight * table[name] for weight, name in zip(rescore.weights, ALL, strict=True)) / sum(rescore.weights)


def test_rescoring_comes_before_reranking(bench, dense, rescore, rerank, data):
    system = System("x", (dense,), rescore=rescore, rerank=replace(rerank, top_k=4), top_k=20)
    ranked = rank(bench, system, data)
    before = rank(bench, replace(system, rerank=None), data)
    assert [sorted(row) for row in ranked.places[:, :4].tolist()] == [
        sorted(row) for row in before.places[:, :4].tolist()
    ]
    assert ranked.places[:, 4:].tolist() == before.places[:, 4:].tolist()
    assert [stage.name.partition(":")[0] for stage in ranked.stages][-2:] == ["rescore", "rerank"]
    result = evaluate_retrieval(bench, replace(system, rerank=None), data, NDCG)
    assert sum(result.scores.relevant.counts) + sum(result.scores.other.counts) == 9 * QUERIES
    assert result.cost.queries_per_second > 0


def test_rescoring_nothing_at_all(bench, rescore):
    ranked = rank(bench, System("x", (Bm25Leg("en"),), rescore=rescore), collection(queries={"q0": "xyzzy"}))
    assert (ranked.places == -1).all()
    assert ranked.stages[-1].items == 0


def test_rescoring_by_another_model_than_the_leg(bench, tiny_bert, rescore, data):
    ranked = rank(bench, System("x", (DenseLeg(str(tiny_bert)),), rescore=rescore, top_k=20), data)
    assert [stage.name for stage in ranked.stages][:4] == [
        f"index: {tiny_bert}",
        f"embed queries: {tiny_bert}",
        f"embed queries: {rescore.model}",
        f"search: {tiny_bert}",
    ]
