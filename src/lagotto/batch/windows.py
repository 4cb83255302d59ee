"""Windows over a long document, in tokens."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise


def windows(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Half-open ranges that cover ``length`` tokens with windows of ``size``, each sharing ``overlap`` with the last.

    The final window is moved back so that it is full too: a short tail alone would be judged without its context.

    >>> windows(10, size=4, overlap=1)
    [(0, 4), (3, 7), (6, 10)]
    >>> windows(3, size=4, overlap=1)
    [(0, 3)]
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must be at least 0 and less than the window of {size} tokens")
    if length <= size:
        return [(0, length)]
    starts = list(range(0, length - size, size - overlap))
    starts.append(length - size)
    return [(start, start + size) for start in starts]


def shares(spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """The part of each window that counts, so that every token counts once: where it is farther from the window's edge.

    ``spans`` are what `windows` gives. No part is empty, unless there is nothing in the only window.

    >>> shares([(0, 4), (2, 6), (4, 8)])
    [(0, 3), (3, 5), (5, 8)]
    """
    borders = [(after[0] + before[1] + 1) // 2 for before, after in pairwise(spans)]
    return list(zip([spans[0][0], *borders], [*borders, spans[-1][1]], strict=True))
