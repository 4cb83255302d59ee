"""Sparse and multi-vector legs, and what rescores: exactly what plain numpy finds over the library's own values."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import ModelNotFoundError, UnsupportedModelError
from lagotto.evaluation import store
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.legs import retrieve
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Fusion, MultiVectorLeg, Rescore, SparseLeg, System
from lagotto.evaluation.retrieval import evaluate_retrieval, rank
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from support.checkpoints import BERT, DenseLayer, write_embedder
from support.collection import DOCUMENTS, EMPTY, LONG, QUERIES, collection, documents, queries

DOCUMENT_TEXTS = list(documents().values())
QUERY_TEXTS = list(queries().values())
ALL = ("dense", "sparse", "multivector")
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
def sparse(tiny_m3) -> SparseLeg:
    return SparseLeg(str(tiny_m3))


@pytest.fixture
def multi(tiny_m3) -> MultiVectorLeg:
    return MultiVectorLeg(str(tiny_m3))


@pytest.fixture
def rescore(tiny_m3) -> Rescore:
    return Rescore(str(tiny_m3), weights=(0.15, 0.5, 0.35), top_k=9)


def tables(model: Embedder, query_prompt: str = "", document_prompt: str = "") -> dict[str, np.ndarray]:
    """(queries, documents) scores of every output. Token vectors are rounded as the store keeps them."""
    a = model.encode(QUERY_TEXTS, prompt=query_prompt, outputs=ALL)
    b = model.encode(DOCUMENT_TEXTS, prompt=document_prompt, outputs=ALL)
    return {
        "dense": a.dense @ b.dense.T,
        "sparse": lexical_matching(a.sparse, b.sparse),
        "multivector": max_sim_matrix(a.multivector.half(), b.multivector.half()),
    }


def check(ranked, table: np.ndarray, k: int, *, hits_only: bool = False) -> None:
    """The same scores in the same order, and each the score of the document it stands by."""
    for row, values in enumerate(table):
        there = (values > 0).sum() if hits_only else len(values)
        wanted = np.sort(values)[::-1][: min(k, there)]
        found = ranked.places[row, : len(wanted)]
        np.testing.assert_allclose(ranked.scores[row, : len(wanted)], wanted, atol=1e-4)
        np.testing.assert_allclose(values[found], wanted, atol=1e-4)
        assert (ranked.places[row, len(wanted) :] == -1).all()


# Legs


@pytest.mark.parametrize("k", [1, 5, DOCUMENTS])
def test_a_sparse_leg_is_brute_force_over_the_librarys_weights(bench, sparse, data, k):
    check(retrieve(bench, sparse, data, k), tables(bench.embedder(sparse))["sparse"], k, hits_only=True)


@pytest.mark.parametrize("k", [1, 5, DOCUMENTS])
def test_a_multi_vector_leg_is_brute_force_over_the_librarys_vectors(bench, multi, data, k):
    check(retrieve(bench, multi, data, k), tables(bench.embedder(multi))["multivector"], k)


def test_prompts_of_the_leg(bench, sparse, multi, data):
    for leg in (sparse, multi):
        told = replace(leg, query_prompt="find ", document_prompt="text ")
        table = tables(bench.embedder(leg), "find ", "text ")[leg.output]
        check(retrieve(bench, told, data, 10), table, 10, hits_only=leg.output == "sparse")


def test_an_empty_document_is_never_a_sparse_hit(bench, sparse, multi, data):
    place = list(documents()).index(EMPTY)
    assert not (retrieve(bench, sparse, data, DOCUMENTS).places == place).any()
    assert (retrieve(bench, multi, data, DOCUMENTS).places == place).any(axis=1).all()


def test_an_empty_query_finds_nothing_by_weights(bench, sparse):
    ranked = retrieve(bench, sparse, collection(queries={"q0": "", "q1": QUERY_TEXTS[0]}), 5)
    assert (ranked.places[0] == -1).all()
    assert ranked.places[1, 0] != -1


def test_excluded_documents_are_never_hits(bench, sparse, multi):
    for leg in (sparse, multi):
        plain = retrieve(bench, leg, collection(), 6)
        hidden = frozenset(f"d{place}" for place in plain.places[0, :4] if place >= 0)
        ranked = retrieve(bench, leg, collection(excluded={"q0": hidden}), 6)
        assert not hidden & {f"d{place}" for place in ranked.places[0]}
        assert ranked.places[1:].tolist() == plain.places[1:].tolist()


def test_what_a_leg_took(bench, sparse, multi, data):
    model = bench.embedder(sparse)
    found = model.encode_documents(DOCUMENT_TEXTS, outputs=ALL)
    sizes = {"sparse": 8 * len(found.sparse.values), "multivector": 2 * found.multivector.vectors.size}
    for leg in (sparse, multi):
        ranked = retrieve(bench, leg, data, 10)
        assert [stage.name for stage in ranked.stages] == [
            f"index: {leg.model}",
            f"embed queries: {leg.model}",
            f"search: {leg.model} ({leg.type})",
        ]
        assert [stage.items for stage in ranked.stages] == [DOCUMENTS, QUERIES, QUERIES]
        assert ranked.stages[0].tokens == found.tokens.sum()
        assert ranked.vector_bytes == round(sizes[leg.output] / DOCUMENTS)
        assert ranked.warnings == (f"1 of 40 documents were longer than {leg.model} reads and lost their end",)
        assert ranked.lengths[0].truncated == 1


# One pass for all


@pytest.mark.parametrize("first", ["dense", "sparse", "multivector"])
def test_planned_legs_of_one_model_are_encoded_in_one_pass(bench, dense, sparse, multi, data, counts, first):
    legs = sorted((dense, sparse, multi), key=lambda leg: leg.output != first)
    bench.planned = frozenset(legs)
    for leg in legs:
        retrieve(bench, leg, data, 10)
    assert counts.texts == DOCUMENTS + QUERIES
    assert all(outputs == set(ALL) for _, outputs in counts.outputs)


@pytest.mark.parametrize("change", [{"max_length": 16}, {"query_prompt": "x"}, {"document_prompt": "x"}])
def test_legs_that_word_or_cut_texts_otherwise_share_nothing(bench, dense, sparse, data, counts, change):
    other = replace(sparse, **change)
    bench.planned = frozenset({dense, other})
    ranked = {leg.output: retrieve(bench, leg, data, 10) for leg in (dense, other)}
    assert all(len(outputs) == 1 for _, outputs in counts.outputs)
    model = bench.embedder(other)
    table = tables(model, change.get("query_prompt", ""), change.get("document_prompt", ""))
    check(ranked["sparse"], table["sparse"], 10, hits_only=True)
    check(ranked["dense"], tables(bench.embedder(dense))["dense"], 10)


def test_a_system_counts_its_one_pass_once(bench, dense, sparse, multi, data):
    system = System("all", (dense, sparse, multi), Fusion("weighted", (0.4, 0.2, 0.4), scaling="none"))
    bench.planned = frozenset(system.encoders)
    result = evaluate_retrieval(bench, system, data, NDCG)
    names = [stage.name for stage in result.cost.stages]
    assert names[:2] == [f"index: {dense.model}", f"embed queries: {dense.model}"]
    assert [name.partition(":")[0] for name in names[2:]] == ["search", "search", "search", "fuse"]
    alone = [retrieve(bench, leg, data, DOCUMENTS) for leg in system.legs]
    assert result.cost.stages[0].seconds == max(ranked.stages[0].seconds for ranked in alone)
    assert result.cost.stages[0].cached == 0  # although the second and third leg found it done
    assert result.cost.vector_bytes == sum(ranked.vector_bytes for ranked in alone)
    assert len(result.lengths) == 2
    assert len(result.warnings) == 1
    again = evaluate_retrieval(bench, system, data, NDCG)
    assert [stage.cached for stage in again.cost.stages[:2]] == [DOCUMENTS, QUERIES]


def test_two_models_of_one_name_count_apart(bench, dense, sparse, data):
    system = System("two", (dense, replace(sparse, max_length=16)), Fusion())
    names = [stage.name.partition(":")[0] for stage in rank(bench, system, data).stages]
    assert sorted(names) == sorted(["index", "embed queries"] * 2 + ["search"] * 2 + ["fuse"])


def test_weighted_scores_of_two_outputs(bench, dense, sparse, data):
    """BGE-M3's hybrid: 0.2 of the dense and 0.8 of the sparse score, as they are."""
    system = System("hybrid", (dense, sparse), Fusion("weighted", (0.2, 0.8), scaling="none"))
    ranked = rank(bench, system, data)
    table = tables(bench.embedder(dense))
    check(ranked, 0.2 * table["dense"] + 0.8 * table["sparse"], DOCUMENTS)


# Rescoring


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


def test_rescoring_reads_what_legs_made_of_the_whole_corpus(bench, dense, sparse, multi, rescore, data, counts):
    alone = rank(bench, System("x", (dense,), rescore=rescore, top_k=20), data)
    bench.planned = frozenset({dense, sparse, multi})
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


# Models that lack an output


@pytest.mark.parametrize("kind", [SparseLeg, MultiVectorLeg])
def test_a_model_without_the_head_is_refused_before_it_works(bench, tiny_bert, counts, kind):
    system = System("x", (kind(str(tiny_bert)),))
    with pytest.raises(ModelNotFoundError, match=r"output needs .*_linear\.safetensors or .*; download the whole"):
        bench.fingerprints(system)
    with pytest.raises(ModelNotFoundError, match="output needs"):
        bench.fingerprints(System("y", (DenseLeg(str(tiny_bert)),), rescore=Rescore(str(tiny_bert))))
    assert not counts.texts


def test_the_first_system_that_shares_a_pass_says_that_an_output_is_missing(bench, tiny_bert):
    bench.planned = frozenset({DenseLeg(str(tiny_bert)), SparseLeg(str(tiny_bert))})
    with pytest.raises(ModelNotFoundError, match="sparse output needs"):
        bench.fingerprints(System("dense", (DenseLeg(str(tiny_bert)),)))


def test_a_model_with_dense_modules_has_no_token_outputs(bench, tmp_path):
    folder = write_embedder(tmp_path / "dense", BERT, dense=[DenseLayer()])
    with pytest.raises(UnsupportedModelError, match="has Dense modules"):
        bench.fingerprints(System("x", (SparseLeg(str(folder)),)))


# Memory


def test_token_vectors_of_a_corpus_are_never_in_memory_as_a_whole(bench, multi, sparse, monkeypatch):
    monkeypatch.setattr(store, "BLOCK", 64)
    monkeypatch.setattr(store, "PART", 16)
    data = collection(corpus=ListCorpus({f"d{n}": f"panda {n} " * 8 for n in range(1000)}))
    bench.planned = frozenset({multi, sparse})
    model = bench.embedder(multi)
    tokens = model.encode("panda 500 " * 8).tokens.sum()
    whole = 1000 * int(tokens) * 24 * 2  # in float16
    for leg in (multi, sparse):
        gc.collect()
        tracemalloc.start()
        try:
            ranked = rank(bench, System("x", (leg,), top_k=10), data)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert ranked.vector_bytes > 0
        assert peak < whole / 2
