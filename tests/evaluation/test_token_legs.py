"""Sparse and multi-vector legs: exactly what plain numpy finds over the library's own values."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import pytest

from lagotto.core.errors import InvalidInputError, ModelNotFoundError, UnsupportedModelError
from lagotto.evaluation import store
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.legs import retrieve
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.pipeline import DenseLeg, Fusion, MultiVectorLeg, Rescore, SparseLeg, System
from lagotto.evaluation.retrieval import evaluate_retrieval, rank
from lagotto.heads.similarity import max_sim_matrix
from support.checkpoints import BERT, DenseLayer, write_embedder
from support.collection import DOCUMENTS, EMPTY, QUERIES, collection, documents
from support.token_models import write_colbert, write_splade
from support.token_scores import ALL, DOCUMENT_TEXTS, QUERY_TEXTS, check, tables

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


# Models without a dense vector


@pytest.mark.parametrize(("write", "kind"), [(write_splade, SparseLeg), (write_colbert, MultiVectorLeg)])
@pytest.mark.parametrize("prompts", [{}, {"query_prompt": "find ", "document_prompt": "text "}])
def test_splade_and_colbert_write_queries_and_documents_in_their_own_way(bench, data, tmp_path, write, kind, prompts):
    leg = kind(str(write(tmp_path / "m")), **prompts)
    model = bench.embedder(leg)
    queries = model.encode_queries(QUERY_TEXTS, prompt=prompts.get("query_prompt"))
    found = model.encode_documents(DOCUMENT_TEXTS, prompt=prompts.get("document_prompt"))
    ranked = retrieve(bench, leg, data, DOCUMENTS)
    if kind is SparseLeg:
        check(ranked, model.similarity(queries, found), DOCUMENTS, hits_only=True)
        return
    assert set(queries.tokens.tolist()) == {12}  # filled up
    assert ranked.stages[1].tokens == queries.tokens.sum()
    check(ranked, max_sim_matrix(queries.multivector.half(), found.multivector.half()), DOCUMENTS)


@pytest.mark.parametrize("write", [write_splade, write_colbert])
def test_what_such_a_model_does_not_give_is_refused(bench, data, tmp_path, write):
    name = str(write(tmp_path / "m"))
    other = MultiVectorLeg(name) if write is write_splade else SparseLeg(name)
    for leg in (DenseLeg(name), other):
        with pytest.raises(InvalidInputError, match="output, not (dense|sparse|multivector)"):
            retrieve(bench, leg, data, 10)


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
