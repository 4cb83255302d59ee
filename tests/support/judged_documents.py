"""Documents that say their own worth, for judges to read."""

from __future__ import annotations

from collections.abc import Iterable

from lagotto import RankedDocument

WORTHS = [3, 9, 1, 7, 0, 5]
DOCUMENTS = [f"document {number}, worth {worth}" for number, worth in enumerate(WORTHS)]
BEST = [1, 3, 5, 0, 2, 4]
"""Numbers of the documents in the order of their worth."""
STRATEGIES = ["pointwise", "pairwise", "listwise"]


def indexes(ranking: Iterable[RankedDocument]) -> list[int]:
    """Numbers of the documents, best first."""
    return [hit.index for hit in ranking]
