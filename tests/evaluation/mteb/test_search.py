"""Search over a corpus that comes in parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.search import candidate_rows, rank_candidates, search_all

QUERIES = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
DOCUMENTS = np.random.default_rng(1).standard_normal((50, 8)).astype(np.float32)
IDS = [f"q{i}" for i in range(4)]


def blocks(size: int) -> Any:
    return ((start, DOCUMENTS[start : start + size]) for start in range(0, len(DOCUMENTS), size))


def corpus(number: int = 50) -> Any:
    from datasets import Dataset

    return Dataset.from_dict({"id": [f"d{i}" for i in range(number)], "text": ["x"] * number})


def naive(row: int, places: list[int], k: int) -> dict[str, float]:
    scores = {f"d{place}": float(QUERIES[row] @ DOCUMENTS[place]) for place in places}
    return dict(sorted(scores.items(), key=lambda item: -item[1])[:k])


@pytest.mark.parametrize("k", [1, 9, 50, 80])
def test_the_best_of_the_corpus(k: int, mteb: Any) -> None:
    hits = search_all(QUERIES, IDS, blocks(7), corpus(), k)
    for row, query in enumerate(IDS):
        wanted = naive(row, list(range(50)), k)
        assert list(hits[query]) == list(wanted)
        assert hits[query] == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("pairs", [3, 4096])
@pytest.mark.parametrize("size", [7, 50])
def test_the_best_of_the_candidates(pairs: int, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.evaluation.mteb.search._PAIRS", pairs)
    random = np.random.default_rng(2)
    chosen = {query: random.permutation(50)[:20].tolist() for query in IDS[:3]}  # the last query has none
    candidates = {query: [f"d{place}" for place in places] for query, places in chosen.items()}
    places = {f"d{i}": i for i in range(50)}
    hits = rank_candidates(QUERIES, IDS, blocks(size), places, candidates, 6)
    assert hits.pop("q3") == {}
    for row, query in enumerate(hits):
        wanted = naive(row, chosen[query], 6)
        assert list(hits[query]) == list(wanted)
        assert hits[query] == pytest.approx(wanted, abs=1e-5)


def test_rows_of_the_candidates(mteb: Any) -> None:
    assert candidate_rows(corpus(), {"q0": ["d30", "d2"], "q1": ["d2"]}) == {"d2": 2, "d30": 30}
    with pytest.raises(InvalidInputError, match="1 candidates to rerank are not in the task's corpus, 'x' for one"):
        candidate_rows(corpus(), {"q0": ["d1", "x"]})
