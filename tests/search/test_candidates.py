"""Scores of chosen documents, whatever the blocks they come in."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.search import candidates
from lagotto.search.candidates import score_candidates


@pytest.mark.parametrize("size", [1, 4, 30])
@pytest.mark.parametrize("at_once", [1, 3, 1000])
def test_every_pair_gets_its_score(monkeypatch, size, at_once):
    monkeypatch.setattr(candidates, "PAIRS_AT_ONCE", at_once)
    random = np.random.default_rng(0)
    queries = random.standard_normal((5, 3)).astype(np.float32)
    documents = random.standard_normal((30, 3)).astype(np.float32)
    places = random.integers(-1, 30, (5, 8))
    calls = []

    def score(rows, block, at):
        calls.append(len(rows))
        return np.einsum("ij,ij->i", queries[rows], block[at])

    blocks = [(start, documents[start : start + size]) for start in range(0, 30, size)]
    found = score_candidates(places, blocks, score)
    wanted = np.where(places == -1, -np.inf, np.take_along_axis(queries @ documents.T, places, axis=1))
    np.testing.assert_allclose(found, wanted, atol=1e-6)
    assert found.dtype == np.float32
    assert sum(calls) == (places != -1).sum()
    assert max(calls) <= at_once


def test_no_candidates():
    assert score_candidates(np.full((2, 3), -1), [(0, np.zeros((4, 2)))], pytest.fail).tolist() == [[-np.inf] * 3] * 2
    assert score_candidates(np.zeros((0, 3), np.int64), [], pytest.fail).shape == (0, 3)
