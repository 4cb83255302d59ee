"""Exact search by late interaction (MaxSim over a vector a token), block by block: the search of ColBERT."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors
from lagotto.heads.similarity import max_sim_matrix
from lagotto.search.exact import Places, Scores, check_k, keep_best, no_hits


def max_sim_top_k(queries: MultiVectors, blocks: Iterable[tuple[int, MultiVectors]], k: int) -> tuple[Scores, Places]:
    """The k documents with the largest `lagotto.heads.similarity.max_sim` for each query.

    ``blocks`` are (place of the first, documents) pairs in the order of their places, read once and let go. Returns
    scores (q, k) float32, best first, and places (q, k) int64; -inf and -1 behind the last hit. A document without
    vectors is no hit, and a query without any finds nothing. Equal scores are ordered by place, however the corpus is
    cut into blocks. Raises `InvalidInputError` for vectors of another dimension, or that are not finite.

    >>> documents = MultiVectors.from_rows([np.eye(2, dtype=np.float32), np.array([[1, 0]], np.float32)], 2)
    >>> scores, places = max_sim_top_k(documents, [(0, documents)], k=2)
    >>> places.tolist(), scores.tolist()
    ([[0, 1], [0, 1]], [[1.0, 0.5], [1.0, 1.0]])
    """
    check_k(k)
    _check(queries, queries.dimension, "query vectors")
    best, places = no_hits(len(queries), k)
    silent = np.diff(queries.offsets) == 0
    for start, block in blocks:
        _check(block, queries.dimension, f"document vectors from place {start} on")
        scores = max_sim_matrix(queries, block)  # (queries, block)
        scores[silent] = -np.inf
        scores[:, np.diff(block.offsets) == 0] = -np.inf
        keep_best(scores, start, best, places)
    return best, places


def _check(vectors: MultiVectors, dimension: int, what: str) -> None:
    if vectors.dimension != dimension:
        raise InvalidInputError(f"{what} have {vectors.dimension} dimensions, queries {dimension}; they must agree")
    if not np.isfinite(vectors.vectors.sum(dtype=np.float64)):  # float32 can't overflow it, and nan stays nan
        raise InvalidInputError(f"{what} hold numbers that are not finite")
