"""Scores of sparse and multi-vector forms, against loops that anyone can check."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.heads.similarity import (
    lexical_matching,
    lexical_matching_pairs,
    max_sim,
    max_sim_matrix,
    max_sim_pairs,
    weighted,
)

random = np.random.default_rng(7)


def sparse(number: int) -> SparseVectors:
    rows = []
    for size in random.integers(0, 12, number):
        ids = np.sort(random.choice(50, size, replace=False)).astype(np.int32)
        rows.append((ids, random.random(size).astype(np.float32) + np.float32(0.01)))
    return SparseVectors.from_rows(rows, 50)


def multi(number: int, least: int = 0) -> MultiVectors:
    sizes = random.integers(least, 9, number)
    return MultiVectors.from_rows([normalize(random.standard_normal((n, 8)).astype(np.float32)) for n in sizes], 8)


def test_lexical_matching_is_the_sum_over_shared_tokens() -> None:
    a, b = sparse(9), sparse(7)
    expected = [[sum(w * y.get(t, 0) for t, w in x.items()) for y in b] for x in a]
    np.testing.assert_allclose(lexical_matching(a, b), expected, atol=1e-6)
    pairs = lexical_matching_pairs(a[:7], b)  # type: ignore[arg-type]  # a slice is a part
    np.testing.assert_allclose(pairs, np.diag(np.array(expected)[:7]), atol=1e-6)


def test_max_sim_is_the_mean_of_the_best_matches() -> None:
    a, b = multi(6), multi(8)
    expected = [[np.mean([max(q @ d for d in y) for q in x]) if len(x) and len(y) else 0 for y in b] for x in a]
    np.testing.assert_allclose(max_sim_matrix(a, b), expected, atol=1e-5)
    np.testing.assert_allclose(max_sim_pairs(a, b.part(slice(6))), np.diag(np.array(expected)[:, :6]), atol=1e-5)


@pytest.mark.parametrize("tokens", [1, 5, 17])
def test_documents_in_blocks_score_the_same(monkeypatch: pytest.MonkeyPatch, tokens: int) -> None:
    a, b = multi(4), multi(30)
    whole = max_sim_matrix(a, b)
    monkeypatch.setattr("lagotto.heads.similarity._TOKENS", tokens)
    np.testing.assert_allclose(max_sim_matrix(a, b), whole, atol=1e-6)


def test_a_best_match_may_be_negative() -> None:
    one = np.array([[1.0, 0.0]], np.float32)
    assert max_sim(one, -one) == -1
    several = MultiVectors.from_rows([-one, np.concatenate([-one, -one, -one])], 2)
    np.testing.assert_array_equal(max_sim_matrix(MultiVectors.from_rows([one], 2), several), [[-1, -1]])


def test_scores_are_weighted_as_published() -> None:
    # BGE-M3's own figures for its first pair: dense, sparse, multi-vector, and all three with 0.4, 0.2, 0.4.
    parts = [np.array([value], np.float32) for value in (0.62598, 0.19556, 0.77965)]
    assert weighted(*parts)[0] == pytest.approx(0.6014, abs=1e-4)
    assert weighted(*parts, weights=(0.4, 0.2, 0))[0] == pytest.approx(0.4825, abs=1e-4)


@pytest.mark.parametrize("weights", [(1, 1), (0, 0, 0), (1, -1, 1)])
def test_weights_that_make_no_sense_are_refused(weights: tuple[float, ...]) -> None:
    one = np.ones(1, np.float32)
    with pytest.raises(InvalidInputError, match="weights are"):
        weighted(one, one, one, weights)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="vocabularies of 50 and 3"):
        lexical_matching(sparse(2), SparseVectors.from_rows([], 3))
    with pytest.raises(InvalidInputError, match="2 and 3 texts"):
        max_sim_pairs(multi(2), multi(3))


def test_half_precision_and_pooling_keep_most_of_a_score() -> None:
    a, b = multi(5, least=4), multi(5, least=4)
    np.testing.assert_allclose(max_sim_matrix(a, b.half()), max_sim_matrix(a, b), atol=2e-3)
    assert b.half().vectors.nbytes * 2 == b.vectors.nbytes
    np.testing.assert_allclose(max_sim_matrix(a.int8(), b.int8()), max_sim_matrix(a, b), atol=1e-2)
    np.testing.assert_allclose(max_sim_pairs(a, b.int8()), max_sim_pairs(a, b), atol=1e-2)
    pooled = b.pooled(2)
    assert [len(row) for row in pooled] == [-(-len(row) // 2) for row in b]
    np.testing.assert_allclose(np.linalg.norm(pooled.vectors, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(b.pooled(1).vectors, b.vectors, atol=1e-6)
    with pytest.raises(InvalidInputError, match="factor is 0"):
        b.pooled(0)
