"""Score chosen documents again, by something finer than what found them; the documents come block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sized
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lagotto.search.exact import NOTHING, Places, Scores

B = TypeVar("B", bound=Sized)
Rows = NDArray[np.intp]

PAIRS_AT_ONCE = 16384
"""Pairs scored together: 50 MB of vectors at 768 dimensions, whatever the number of queries."""


def score_candidates(
    places: Places, blocks: Iterable[tuple[int, B]], score: Callable[[Rows, B, Rows], Scores]
) -> Scores:
    """(queries, k) scores of the documents at these places; -inf where there is none.

    ``blocks`` are (place of the first, documents) pairs, read once and let go. ``score(rows, block, documents)`` gives
    the (n,) scores of n pairs: the numbers of their queries, and the places of their documents in the block.

    >>> documents = np.array([[1.0], [2.0], [3.0]])
    >>> queries = np.array([[1.0], [10.0]])
    >>> score_candidates(
    ...     np.array([[2, 0], [1, -1]]), [(0, documents)], lambda rows, block, at: (queries[rows] * block[at])[:, 0]
    ... ).tolist()
    [[3.0, 1.0], [20.0, -inf]]
    """
    scores = np.full(places.shape, -np.inf, np.float32)
    for start, block in blocks:
        rows, columns = np.nonzero((places >= start) & (places < start + len(block)) & (places != NOTHING))
        for first in range(0, len(rows), PAIRS_AT_ONCE):
            part = slice(first, first + PAIRS_AT_ONCE)
            found = score(rows[part], block, places[rows[part], columns[part]] - start)
            scores[rows[part], columns[part]] = found
    return scores
