"""Late interaction: what a plain loop over texts finds."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors
from lagotto.heads import similarity
from lagotto.search.late_interaction import max_sim_top_k

D = 6


def random_vectors(number: int, seed: int, *, least: int = 1, dimension: int = D) -> MultiVectors:
    random = np.random.default_rng(seed)
    rows = [random.standard_normal((size, dimension)).astype(np.float32) for size in random.integers(least, 9, number)]
    return MultiVectors.from_rows(rows, dimension)


def plain(queries: MultiVectors, documents: MultiVectors) -> np.ndarray:
    """Chen et al. 2024: the mean over a query's terms of their best match."""
    return np.array([[(a @ b.T).max(axis=1).mean() for b in documents] for a in queries])


def blocks(vectors: MultiVectors, size: int):
    return [(start, vectors.part(slice(start, start + size))) for start in range(0, len(vectors), size)]


@pytest.mark.parametrize("size", [1, 7, 100])
@pytest.mark.parametrize("k", [1, 5, 50])
@pytest.mark.parametrize("products", [1, 200, 8_000_000])
def test_it_finds_what_a_loop_finds(size, k, products, monkeypatch):
    monkeypatch.setattr(similarity, "_PRODUCTS", products)
    queries, documents = random_vectors(7, 1), random_vectors(40, 2)
    scores, places = max_sim_top_k(queries, blocks(documents, size), k)
    wanted = plain(queries, documents)
    assert scores.shape == places.shape == (7, k)
    for row, values in enumerate(wanted):
        order = np.argsort(-values, kind="stable")[:k]
        assert places[row, :40].tolist() == order.tolist()
        np.testing.assert_allclose(scores[row, :40], values[order], atol=1e-5)
        assert (places[row, 40:] == -1).all()


def test_half_precision_documents():
    queries, documents = random_vectors(5, 3), random_vectors(20, 4).half()
    scores, places = max_sim_top_k(queries, blocks(documents, 6), 20)
    wanted = plain(queries, documents)
    np.testing.assert_allclose(scores, np.take_along_axis(wanted, places, axis=1), atol=1e-5)


def test_a_text_without_vectors_finds_nothing_and_is_never_found():
    """Its score would be 0, which is more than a poor match has."""
    away = np.array([[-1.0, 0.0]], np.float32)
    toward = np.array([[1.0, 0.0]], np.float32)
    nothing = np.zeros((0, 2), np.float32)
    documents = MultiVectors.from_rows([nothing, away, nothing, toward], 2)
    scores, places = max_sim_top_k(MultiVectors.from_rows([toward, nothing], 2), blocks(documents, 3), 4)
    assert places.tolist() == [[3, 1, -1, -1], [-1] * 4]
    assert scores[0].tolist() == [1.0, -1.0, -np.inf, -np.inf]
    empty = MultiVectors.from_rows([nothing], 2)
    assert max_sim_top_k(empty, [(0, empty)], 1)[1].tolist() == [[-1]]


def test_equal_scores_are_ordered_by_place():
    same = MultiVectors.from_rows([np.eye(2, dtype=np.float32)] * 5, 2)
    assert max_sim_top_k(same.part(slice(0, 1)), blocks(same, 2), 3)[1].tolist() == [[0, 1, 2]]


def test_what_does_not_fit():
    with pytest.raises(InvalidInputError, match="k is 0; give at least 1"):
        max_sim_top_k(random_vectors(1, 1), [], 0)
    with pytest.raises(InvalidInputError, match="document vectors from place 3 on have 5 dimensions, queries 6"):
        max_sim_top_k(random_vectors(1, 1), [(3, random_vectors(1, 1, dimension=5))], 1)
    bad = MultiVectors.from_rows([np.full((1, D), np.nan, np.float32)], D)
    with pytest.raises(InvalidInputError, match="query vectors hold numbers that are not finite"):
        max_sim_top_k(bad, [], 1)
    with pytest.raises(InvalidInputError, match="document vectors from place 0 on hold numbers that are not finite"):
        max_sim_top_k(random_vectors(1, 1), [(0, bad)], 1)
