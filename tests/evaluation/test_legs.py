"""Legs: what retrieves finds exactly what plain numpy finds over the library's own vectors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation import legs, store
from lagotto.evaluation.encoding import leg_wording, lengths
from lagotto.evaluation.instructions import TaskHint, Wording
from lagotto.evaluation.legs import retrieve, without_excluded
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25
from support.checkpoints import BERT, write_embedder
from support.collection import DOCUMENTS, EMPTY, LONG, QUERIES, UNKNOWN, collection, documents, queries
from support.token_models import write_splade

DOCUMENT_TEXTS = list(documents().values())
QUERY_TEXTS = list(queries().values())


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven documents a block, so that every search crosses blocks."""
    monkeypatch.setattr(store, "BLOCK", 7)


def best(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The oracle: sort everything; equal scores by place."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, order, axis=1), order


def vectors(model: Embedder, dimensions: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    return (
        model.encode_queries(QUERY_TEXTS, dimensions=dimensions).dense,
        model.encode_documents(DOCUMENT_TEXTS, dimensions=dimensions).dense,
    )


def check(ranked, scores: np.ndarray, k: int) -> None:
    """The same scores in the same order, and each the score of the document it stands by."""
    wanted, places = best(scores, k)
    np.testing.assert_allclose(ranked.scores, wanted, atol=1e-5)
    np.testing.assert_allclose(np.take_along_axis(scores, ranked.places, axis=1), wanted, atol=1e-5)
    clear = np.abs(np.diff(best(scores, k + 1)[0], axis=1)) > 1e-4  # the order of near ties may differ
    for row in range(len(places)):
        for column in range(k):
            if clear[row, max(0, column - 1) : column + 1].all():
                assert ranked.places[row, column] == places[row, column]


@pytest.mark.parametrize("k", [1, 5, DOCUMENTS - 1])
def test_a_dense_leg_is_brute_force_over_the_librarys_vectors(bench, dense, data, k):
    a, b = vectors(bench.embedder(dense))
    ranked = retrieve(bench, dense, data, k)
    check(ranked, a @ b.T, k)
    assert ranked.scores.dtype == np.float32


@pytest.mark.parametrize("dimensions", [1, 8, 32])
def test_fewer_dimensions_are_those_of_the_embedder(bench, dense, data, dimensions):
    a, b = vectors(bench.embedder(dense), dimensions)
    ranked = retrieve(bench, replace(dense, dimensions=dimensions), data, 10)
    check(ranked, a @ b.T, 10)
    assert ranked.vector_bytes == 4 * dimensions


def test_dimensions_the_model_lacks_are_refused_before_it_works(bench, dense, data, counts):
    with pytest.raises(InvalidInputError, match="dimensions is 33; this model allows 1 to 32"):
        retrieve(bench, replace(dense, dimensions=33), data, 10)
    assert not counts.texts


def test_a_model_without_dense_vectors_is_refused_before_it_works(bench, data, tmp_path):
    with pytest.raises(InvalidInputError, match="gives sparse output, not dense"):
        retrieve(bench, DenseLeg(str(write_splade(tmp_path / "splade"))), data, 10)


def quantised(kind: str, documents: np.ndarray) -> np.ndarray:
    """What an index of a kind knows of vectors, told anew."""
    if kind == "f16":
        return documents.astype(np.float16).astype(np.float32)
    if kind == "binary":
        return np.where(documents > 0, 1, -1).astype(np.float32) / np.float32(documents.shape[1] ** 0.5)
    step = np.abs(documents).max(axis=0) / 127
    return np.round(documents / step).astype(np.int8) * step


@pytest.mark.parametrize(("kind", "size"), [("f16", 2 * 16), ("int8", 16), ("binary", 2)])
def test_quantised_documents_and_full_queries(bench, dense, data, kind, size):
    leg = replace(dense, dimensions=16, quantization=kind)
    a, b = vectors(bench.embedder(leg), 16)
    ranked = retrieve(bench, leg, data, 10)
    check(ranked, a @ quantised(kind, b).T, 10)
    assert ranked.vector_bytes == size


@pytest.mark.parametrize("kind", ["f16", "int8", "binary"])
def test_rescoring_orders_what_was_found_by_full_vectors(bench, dense, data, kind):
    leg = replace(dense, quantization=kind, rescore=12)
    a, b = vectors(bench.embedder(leg))
    ranked = retrieve(bench, leg, data, 5)
    full = a @ b.T
    found = retrieve(bench, replace(leg, rescore=0), data, 12).places
    for row in range(QUERIES):
        wanted = sorted(found[row], key=lambda place, row=row: -full[row, place])[:5]
        np.testing.assert_allclose(ranked.scores[row], full[row, wanted], atol=1e-5)
        np.testing.assert_allclose(full[row, ranked.places[row]], full[row, wanted], atol=1e-5)
        assert set(ranked.places[row]) <= set(found[row])


def test_rescoring_everything_is_the_full_search(bench, dense, data):
    leg = replace(dense, quantization="binary", rescore=1000)
    ranked, full = retrieve(bench, leg, data, DOCUMENTS), retrieve(bench, dense, data, DOCUMENTS)
    np.testing.assert_allclose(ranked.scores, full.scores, atol=1e-6)


def test_rescoring_fewer_than_are_wanted_loses_none(bench, dense, data):
    leg = replace(dense, quantization="binary", rescore=3)
    assert (retrieve(bench, leg, data, 10).places >= 0).all()


def test_a_model_that_does_not_normalise_keeps_its_lengths(bench, data, tmp_path):
    leg = DenseLeg(str(write_embedder(tmp_path / "long", BERT, normalize=False)))
    model = bench.embedder(leg)
    a, b = vectors(model)
    assert np.linalg.norm(b, axis=1).max() > 2
    check(retrieve(bench, leg, data, 10), a @ b.T, 10)
    check(retrieve(bench, replace(leg, dimensions=8), data, 10), a[:, :8] @ b[:, :8].T, 10)


def test_prompts_of_the_leg(bench, dense, data):
    leg = replace(dense, query_prompt="find: ", document_prompt="panda: ")
    model = bench.embedder(leg)
    a = model.encode(QUERY_TEXTS, prompt="find: ").dense
    b = model.encode(DOCUMENT_TEXTS, prompt="panda: ").dense
    check(retrieve(bench, leg, data, 10), a @ b.T, 10)


def test_an_empty_prompt_is_a_prompt(bench, data, tmp_path):
    folder = write_embedder(tmp_path / "prefixed", BERT, prompts={"query": "query: ", "document": "document: "})
    leg = DenseLeg(str(folder), query_prompt="", document_prompt="")
    model = bench.embedder(leg)
    a, b = model.encode(QUERY_TEXTS, prompt="").dense, model.encode(DOCUMENT_TEXTS, prompt="").dense
    check(retrieve(bench, leg, data, 10), a @ b.T, 10)
    assert abs(vectors(model)[0] - a).max() > 0.01  # the card says something else


def test_an_instruction_of_the_leg(bench, dense, data):
    leg = replace(dense, query_instruction="what is ")
    model = bench.embedder(leg)
    a, b = model.encode_queries(QUERY_TEXTS, instruction="what is ").dense, vectors(model)[1]
    check(retrieve(bench, leg, data, 10), a @ b.T, 10)


def test_prompts_of_the_card_for_the_task(bench, tmp_path):
    prompts = {"NFCorpus-query": "medicine: ", "Retrieval-passage": "text: "}
    leg = DenseLeg(str(write_embedder(tmp_path / "tasks", BERT, prompts=prompts)))
    model = bench.embedder(leg)
    a = model.encode(QUERY_TEXTS, prompt="medicine: ").dense
    b = model.encode(DOCUMENT_TEXTS, prompt="text: ").dense
    check(retrieve(bench, leg, collection(task=TaskHint("NFCorpus", "Retrieval")), 10), a @ b.T, 10)


def test_the_leg_goes_before_the_card_and_a_prompt_before_an_instruction(bench, tmp_path, data):
    leg = DenseLeg(str(write_embedder(tmp_path / "tasks", BERT, prompts={"Retrieval": "card: "})))
    model = bench.embedder(leg)
    assert leg_wording(leg, model, data.task, "query").prompt == "card: "
    assert leg_wording(leg, model, data.task, "document").prompt is None
    told = replace(leg, query_prompt="leg: ", query_instruction="x", document_prompt="doc: ")
    assert leg_wording(told, model, data.task, "query").prompt == "leg: "
    assert leg_wording(told, model, data.task, "document").prompt == "doc: "
    assert leg_wording(replace(leg, query_instruction="x"), model, data.task, "query").instruction == "x"


@pytest.mark.parametrize("leg", ["dense", "bm25", "binary"])
def test_excluded_documents_are_never_hits_and_there_are_as_many(bench, dense, leg):
    chosen = {"dense": dense, "bm25": Bm25Leg("en"), "binary": replace(dense, quantization="binary")}[leg]
    plain = retrieve(bench, chosen, collection(), 6)
    first = {
        query: frozenset(f"d{place}" for place in plain.places[row, :4] if place >= 0)
        for row, query in enumerate(queries())
        if row % 2
    }
    data = collection(excluded={**first, "q0": frozenset({"not there"})})
    ranked = retrieve(bench, chosen, data, 6)
    everything = retrieve(bench, chosen, collection(), DOCUMENTS)
    assert ranked.places.shape == (QUERIES, 6)
    for row, query in enumerate(queries()):
        hidden = {int(key[1:]) for key in first.get(query, ())}
        wanted = [place for place in everything.places[row].tolist() if place >= 0 and place not in hidden][:6]
        assert [place for place in ranked.places[row].tolist() if place >= 0] == wanted
        assert np.isneginf(ranked.scores[row, len(wanted) :]).all()
        assert (ranked.places[row, len(wanted) :] == -1).all()


def test_excluding_all_but_one(bench, dense):
    data = collection(excluded={"q3": frozenset(documents()) - {"d5"}})
    ranked = retrieve(bench, dense, data, 3)
    assert ranked.places[3].tolist() == [5, -1, -1]
    assert (ranked.places[2] >= 0).all()


def test_without_exclusions_nothing_is_copied(data):
    scores, places = np.zeros((QUERIES, 5), np.float32), np.zeros((QUERIES, 5), np.int64)
    assert without_excluded(scores, places, data, 5)[0].base is scores


def test_more_hits_than_documents(bench, dense, data):
    for leg in (dense, Bm25Leg("en"), replace(dense, quantization="int8", rescore=500)):
        ranked = retrieve(bench, leg, data, 1000)
        rows = [[place for place in row if place >= 0] for row in ranked.places.tolist()]
        assert all(len(row) == len(set(row)) <= DOCUMENTS for row in rows)
        if isinstance(leg, DenseLeg):
            assert {len(row) for row in rows} == {DOCUMENTS}


def test_a_bm25_leg_is_bm25(bench, data):
    ranked = retrieve(bench, Bm25Leg("en", k1=0.9, b=0.4), data, 10)
    index = Bm25(k1=0.9, b=0.4, analyzer=Analyzer("en"))
    index.index(DOCUMENT_TEXTS)
    scores, places = index.search(QUERY_TEXTS, 10)
    assert (ranked.places == places).all()
    assert (ranked.scores == scores).all()
    assert (ranked.places[list(queries()).index(UNKNOWN)] == -1).all()
    assert ranked.vector_bytes == round(index.bytes / DOCUMENTS)
    assert [stage.name for stage in ranked.stages] == ["index: BM25 (en)", "search: BM25 (en)"]
    assert [stage.items for stage in ranked.stages] == [DOCUMENTS, QUERIES]
    assert all(stage.seconds > 0 for stage in ranked.stages)


def test_bm25_tells_the_language_by_the_texts(bench):
    german = collection(
        corpus=type(collection().corpus)({"a": "der Hund und die Katze sind in dem Haus", "b": "das ist ein Fluss"}),
        qrels={"q0": {"a": 1}},
    )
    assert retrieve(bench, Bm25Leg(), german, 2).stages[0].name == "index: BM25 (de)"


def test_what_embedding_took(bench, dense, data):
    ranked = retrieve(bench, dense, data, 10)
    index, embed, search = ranked.stages
    assert [stage.name for stage in ranked.stages] == [
        f"index: {dense.model}",
        f"embed queries: {dense.model}",
        f"search: {dense.model}",
    ]
    assert (index.items, embed.items, search.items) == (DOCUMENTS, QUERIES, QUERIES)
    model = bench.embedder(dense)
    assert index.tokens == model.encode(DOCUMENT_TEXTS).tokens.sum()
    assert embed.tokens == model.encode(QUERY_TEXTS).tokens.sum()
    assert all(stage.seconds > 0 and stage.cached == 0 for stage in ranked.stages)
    again = retrieve(bench, dense, collection(), 10)
    assert [stage.cached for stage in again.stages] == [DOCUMENTS, QUERIES, 0]
    assert [stage.seconds for stage in again.stages[:2]] == pytest.approx([index.seconds, embed.seconds])


def test_lengths_and_warnings_of_texts_that_were_cut(bench, dense, data):
    ranked = retrieve(bench, dense, data, 10)
    of_documents, of_queries = ranked.lengths
    tokens = bench.embedder(dense).encode(DOCUMENT_TEXTS).tokens
    assert (of_documents.what, of_queries.what) == (f"documents, {dense.model}", f"queries, {dense.model}")
    assert (of_documents.limit, of_documents.longest, of_documents.truncated) == (64, 64, 1)
    assert (of_documents.texts, of_queries.texts) == (DOCUMENTS, QUERIES)
    assert of_documents.mean == pytest.approx(tokens.mean())
    assert sum(of_documents.histogram.counts) == DOCUMENTS
    assert len(of_documents.histogram.edges) == len(of_documents.histogram.counts) + 1
    assert ranked.warnings == (f"1 of 40 documents were longer than {dense.model} reads and lost their end",)
    short = retrieve(bench, replace(dense, max_length=4), data, 10)
    assert short.lengths[0].limit == 4
    assert any(f"of {QUERIES} queries were longer" in line for line in short.warnings)
    without = documents()
    del without[LONG]
    assert not retrieve(bench, dense, collection(corpus=type(data.corpus)(without)), 10).warnings


def test_lengths_of_nothing(bench, dense):
    found = lengths("documents", 64, bench.store.embed(bench.embedder(dense), [], Wording()))
    assert (found.mean, found.longest, found.texts) == (0.0, 0, 0)


def test_an_empty_document_is_a_document(bench, dense, data):
    ranked = retrieve(bench, dense, data, DOCUMENTS)
    assert (ranked.places == list(documents()).index(EMPTY)).any(axis=1).all()


def test_systems_that_share_a_leg_share_its_ranking(bench, dense, data, counts):
    bench.shared = frozenset({dense})
    first = retrieve(bench, dense, data, 10)
    assert retrieve(bench, dense, collection(), 10) is first
    assert retrieve(bench, dense, data, 9) is not first
    other = retrieve(bench, dense, collection(queries={"q0": "panda"}), 10)
    assert len(other.places) == 1


def test_the_same_texts_under_another_task_are_searched_anew(bench, tmp_path):
    leg = DenseLeg(str(write_embedder(tmp_path / "tasks", BERT, prompts={"A-query": "medicine: "})))
    bench.shared = frozenset({leg})
    first = retrieve(bench, leg, collection(task=TaskHint("A")), 10)
    second = retrieve(bench, leg, collection(task=TaskHint("B")), 10)
    assert abs(first.scores - second.scores).max() > 1e-3


def test_a_leg_of_one_system_is_not_kept(bench, dense, data):
    retrieve(bench, dense, data, 10)
    assert not bench.ranked


def test_legs_read_a_corpus_once_a_search(bench, dense, monkeypatch):
    """No leg needs a corpus in memory: the texts are taken in order, a block at a time."""
    data = collection()
    taken = []
    real = data.corpus.texts

    def texts(start: int = 0):
        for number, text in enumerate(real(start)):
            taken.append(number)
            yield text

    monkeypatch.setattr(data.corpus, "texts", texts)
    retrieve(bench, dense, data, 5)
    fingerprint = list(range(DOCUMENTS))
    assert taken == fingerprint * 2  # once for its fingerprint


def test_a_quantiser_is_fitted_over_all_blocks(bench, dense, data):
    leg = replace(dense, quantization="int8")
    told = leg_wording(leg, bench.embedder(leg), data.task, "document")
    stored = bench.store.embed(bench.embedder(leg), DOCUMENT_TEXTS, told)
    fitted = legs._fitted(leg, stored.blocks())
    np.testing.assert_allclose(fitted.scale, np.abs(stored.values()).max(axis=0) / 127, rtol=1e-6)
