"""Exact nearest neighbours by brute force, block by block: flat memory for a corpus of any size.

The oracle that every index is tested against, and what evaluations search with, so that a figure speaks of the model
and not of an index.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError

Scores = NDArray[np.float32]
Places = NDArray[np.int64]

QUERIES_AT_ONCE = 512
"""Queries scored against a block together; with a block of 4,096 vectors their scores take 8 MB."""
NOTHING = -1
"""Place behind the last hit; its score is -inf."""


def top_k(
    queries: NDArray[np.float32],
    blocks: Iterable[tuple[int, NDArray[np.float32]]],
    k: int,
) -> tuple[Scores, Places]:
    """The k documents with the largest inner products for each query.

    ``queries`` are (q, d) float32; ``blocks`` are (place of the first, (n, d) float32) pairs, read once and let go.
    Returns scores (q, k) float32, best first, and places (q, k) int64; -inf and -1 behind the last hit. Equal scores
    are ordered by place, however the corpus is cut into blocks. Raises `InvalidInputError` for vectors that do not
    fit, or are not finite.

    >>> documents = np.array([[1, 0], [0, 1], [1, 1]], np.float32)
    >>> scores, places = top_k(np.array([[2, 1]], np.float32), [(0, documents)], k=2)
    >>> places.tolist(), scores.tolist()
    ([[2, 0]], [[3.0, 2.0]])
    """
    if queries.ndim != 2:
        raise InvalidInputError(f"queries have shape {queries.shape}; expected (queries, dimension)")
    check_k(k)
    if not _finite(queries):
        raise InvalidInputError("query vectors hold numbers that are not finite")
    best, places = no_hits(len(queries), k)
    for start, block in blocks:
        _check(queries, block, start)
        for row in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(row, row + QUERIES_AT_ONCE)
            scores = queries[part] @ block.T  # (queries, block)
            keep_best(scores, start, best[part], places[part])
    return best, places


def no_hits(queries: int, k: int) -> tuple[Scores, Places]:
    """What a search begins with: scores of -inf and places of `NOTHING`, (queries, k) each."""
    return np.full((queries, k), -np.inf, np.float32), np.full((queries, k), NOTHING, np.int64)


def check_k(k: int) -> None:
    """Raise `InvalidInputError` for a number of hits below 1."""
    if k < 1:
        raise InvalidInputError(f"k is {k}; give at least 1")


def _check(queries: NDArray[np.float32], block: NDArray[np.float32], start: int) -> None:
    if block.ndim != 2 or block.shape[1] != queries.shape[1]:
        raise InvalidInputError(f"documents have shape {block.shape}, queries {queries.shape}; dimensions must agree")
    if not _finite(block):
        raise InvalidInputError(f"document vectors from place {start} on hold numbers that are not finite")


def _finite(vectors: NDArray[np.float32]) -> bool:
    """Whether all numbers are: their sum tells (float32 can't overflow float64), without a matrix of flags."""
    return bool(np.isfinite(vectors.sum(dtype=np.float64)))


def keep_best(scores: Scores, start: int, best: Scores, places: Places) -> None:
    """Take what beats a query's k-th best so far; ``best`` and ``places``, (queries, k), are changed.

    ``scores`` are (queries, block) of the documents from place ``start`` on; -inf marks one that is no hit. Blocks come
    in the order of their places. After the first blocks few scores pass that bar, so most of a block costs one
    comparison a score.
    """
    k = best.shape[1]
    for i in np.flatnonzero((scores > best[:, -1:]).any(axis=1)):
        found = np.flatnonzero(scores[i] > best[i, -1])
        if len(found) > k:
            # Keep all that tie with the k-th, for the stable sort to choose among by place.
            bar = np.partition(scores[i, found], len(found) - k)[len(found) - k]
            found = found[scores[i, found] >= bar]
        candidates = np.concatenate([best[i], scores[i, found]])
        order = np.argsort(-candidates, kind="stable")[:k]  # what was there before has lower places
        places[i] = np.concatenate([places[i], found + start])[order]
        best[i] = candidates[order]
