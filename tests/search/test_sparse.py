"""Sparse search: what plain numpy finds over dense matrices of the same weights."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import SparseVectors
from lagotto.search import sparse
from lagotto.search.sparse import sparse_top_k

VOCABULARY = 50


def random_vectors(number: int, seed: int, *, longest: int = 12, vocabulary: int = VOCABULARY) -> SparseVectors:
    """Texts of 0 to ``longest`` tokens, rising ids, weights above 0."""
    random = np.random.default_rng(seed)
    rows = []
    for size in random.integers(0, min(longest, vocabulary + 1), number):
        ids = np.sort(random.choice(vocabulary, size=size, replace=False)).astype(np.int32)
        rows.append((ids, (random.random(size) + 0.01).astype(np.float32)))
    return SparseVectors.from_rows(rows, vocabulary)


def matrix(vectors: SparseVectors) -> np.ndarray:
    out = np.zeros((len(vectors), vectors.vocabulary))
    for row, weights in enumerate(vectors):
        for token, weight in weights.items():
            out[row, token] = weight
    return out


def blocks(vectors: SparseVectors, size: int):
    return [(start, vectors.part(slice(start, start + size))) for start in range(0, len(vectors), size)]


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("k", [1, 5, 60])
def test_it_finds_what_a_matrix_product_finds(size, k):
    queries, documents = random_vectors(9, 1), random_vectors(40, 2)
    scores, places = sparse_top_k(queries, blocks(documents, size), k)
    assert scores.shape == places.shape == (9, k)
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)
    wanted = matrix(queries) @ matrix(documents).T
    for row, values in enumerate(wanted):
        order = [place for place in np.argsort(-values.astype(np.float32), kind="stable") if values[place] > 0][:k]
        assert places[row, : len(order)].tolist() == order
        np.testing.assert_allclose(scores[row, : len(order)], values[order], rtol=1e-6)
        assert (places[row, len(order) :] == -1).all()
        assert np.isneginf(scores[row, len(order) :]).all()


@given(st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_blocks_and_parts_of_queries_change_nothing(size, seed):
    queries, documents = random_vectors(5, seed, vocabulary=8), random_vectors(20, seed + 1, vocabulary=8)
    whole = sparse_top_k(queries, [(0, documents)], 4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sparse, "QUERIES_AT_ONCE", 2)
        parts = sparse_top_k(queries, blocks(documents, size), 4)
    assert (whole[1] == parts[1]).all()
    np.testing.assert_array_equal(whole[0], parts[0])


def test_equal_scores_are_ordered_by_place():
    same = SparseVectors.from_rows([(np.array([3], np.int32), np.array([2.0], np.float32))] * 6, 10)
    assert sparse_top_k(same.part(slice(0, 1)), blocks(same, 2), 4)[1].tolist() == [[0, 1, 2, 3]]


def test_a_text_without_weights_finds_nothing_and_is_never_found():
    empty = SparseVectors.from_rows([(np.zeros(0, np.int32), np.zeros(0, np.float32))], VOCABULARY)
    documents = SparseVectors.concatenate([empty, random_vectors(5, 3, longest=2), empty])
    assert (sparse_top_k(empty, [(0, documents)], 3)[1] == -1).all()
    assert not {0, 6} & set(sparse_top_k(documents, [(0, documents)], 7)[1].flatten().tolist())
    assert (sparse_top_k(documents, [], 3)[1] == -1).all()
    assert sparse_top_k(documents.part(slice(0, 0)), [(0, documents)], 3)[1].shape == (0, 3)


def test_blocks_are_let_go():
    """Twenty blocks take less than twice what one takes: the next is read while the last is still held."""

    def peak(count: int) -> int:
        queries = random_vectors(4, 1, vocabulary=1000)
        tracemalloc.start()
        sparse_top_k(queries, ((i * 400, random_vectors(400, i, vocabulary=1000)) for i in range(count)), 5)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(20) < 2 * peak(1)


@pytest.mark.parametrize(
    ("queries", "documents", "k", "message"),
    [
        (random_vectors(2, 1), random_vectors(2, 1), 0, "k is 0; give at least 1"),
        (random_vectors(2, 1), random_vectors(2, 1, vocabulary=51), 3, "of a vocabulary of 51 tokens, queries of 50"),
    ],
)
def test_what_does_not_fit(queries, documents, k, message):
    with pytest.raises(InvalidInputError, match=message):
        sparse_top_k(queries, [(0, documents)], k)


@pytest.mark.parametrize("weight", [np.nan, np.inf, 0.0, -1.0])
def test_weights_that_are_none(weight):
    bad = SparseVectors.from_rows([(np.array([1], np.int32), np.array([weight], np.float32))], VOCABULARY)
    with pytest.raises(InvalidInputError, match="query vectors hold weights that are not finite numbers above 0"):
        sparse_top_k(bad, [], 1)
    with pytest.raises(InvalidInputError, match="document vectors from place 7 on hold weights"):
        sparse_top_k(random_vectors(1, 1), [(7, bad)], 1)
