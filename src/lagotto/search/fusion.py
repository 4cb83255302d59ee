"""Join the rankings of several retrievers into one: reciprocal rank fusion, or a weighted sum of scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.search.exact import NOTHING

Method = Literal["rrf", "weighted"]
Scaling = Literal["min_max", "z_score", "none"]
"""How scores of one retriever and query are brought to a common scale before they are added."""

Ranked = tuple[NDArray[np.float32], NDArray[np.int64]]
"""Scores and places, (queries, k) each, best first; place -1 behind the last hit."""

RRF_K = 60
"""The constant of Cormack, Clarke and Buettcher, SIGIR 2009."""


def fuse(
    rankings: Sequence[Ranked],
    k: int,
    *,
    method: Method = "rrf",
    weights: Sequence[float] | None = None,
    rrf_k: int = RRF_K,
    scaling: Scaling = "min_max",
) -> Ranked:
    """One ranking from several, the best k of each query.

    - ``rrf``: the sum over rankings of weight / (``rrf_k`` + rank), ranks from 1.
    - ``weighted``: the sum of weight x score, scores scaled for each query: ``min_max`` to 0..1, ``z_score`` to mean 0
      and deviation 1, ``none`` as they are. A document that a ranking did not find gets the lowest scaled score of
      that ranking, which is 0 for ``min_max``. With ``none``, a ranking with room for more hits has found all that
      score above 0 (BM25 and sparse vectors find no others), so what it did not find gets no more than 0.

    Equal scores are ordered by place. Raises `InvalidInputError` for what `check_fusion` refuses, and for rankings of
    different numbers of queries.

    >>> a = (np.array([[9.0, 8.0]], np.float32), np.array([[4, 7]]))
    >>> b = (np.array([[0.5, 0.4]], np.float32), np.array([[7, 1]]))
    >>> fuse([a, b], 2)[1].tolist()
    [[7, 4]]
    """
    check_fusion(len(rankings), method=method, weights=weights, rrf_k=rrf_k, scaling=scaling)
    if k < 1:
        raise InvalidInputError(f"k is {k}; give at least 1")
    chosen = [1.0] * len(rankings) if weights is None else weights
    queries = len(rankings[0][0])
    if any(len(ranking[0]) != queries for ranking in rankings):
        raise InvalidInputError(f"rankings are of {[len(ranking[0]) for ranking in rankings]} queries; fuse equal ones")
    scores = np.full((queries, k), -np.inf, np.float32)
    places = np.full((queries, k), NOTHING, np.int64)
    for row in range(queries):
        parts = []
        for ranking in rankings:
            found = ranking[1][row] != NOTHING
            parts.append((ranking[0][row][found].astype(np.float64), ranking[1][row][found], len(found)))
        documents = np.unique(np.concatenate([part[1] for part in parts]))
        total = np.zeros(len(documents))
        for weight, (values, found, width) in zip(chosen, parts, strict=True):
            spots = np.searchsorted(documents, found)
            if method == "rrf":
                total[spots] += weight / (rrf_k + np.arange(1, len(found) + 1))
            elif len(found):
                scaled = _scale(values, scaling)
                # Where all scores are equal `min_max` makes them 1, which is not what a missing document gets.
                unfound = 0.0 if scaling == "min_max" else scaled.min()
                if scaling == "none" and len(found) < width:
                    unfound = min(unfound, 0.0)
                share = np.full(len(documents), unfound)
                share[spots] = scaled
                total += weight * share
        order = np.argsort(-total, kind="stable")[:k]
        scores[row, : len(order)] = total[order]
        places[row, : len(order)] = documents[order]
    return scores, places


def check_fusion(rankings: int, *, method: str, weights: Sequence[float] | None, rrf_k: int, scaling: str) -> None:
    """Raise `InvalidInputError` unless so many rankings can be fused so."""
    if method not in get_args(Method):
        raise InvalidInputError(f"fusion method is {method!r}; allowed are {', '.join(get_args(Method))}")
    if scaling not in get_args(Scaling):
        raise InvalidInputError(f"scaling is {scaling!r}; allowed are {', '.join(get_args(Scaling))}")
    if rrf_k < 0:
        raise InvalidInputError(f"rrf_k is {rrf_k}; give 0 or more ({RRF_K} is usual)")
    if rankings < 1:
        raise InvalidInputError("there is nothing to fuse; give at least one ranking")
    if weights is not None and (len(weights) != rankings or not all(map(_is_weight, weights)) or not sum(weights)):
        raise InvalidInputError(f"weights are {list(weights)}; give {rankings} numbers of at least 0, not all 0")


def _is_weight(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0


def _scale(values: NDArray[np.float64], scaling: Scaling) -> NDArray[np.float64]:
    """Scores on a common scale; equal ones all become 1 (``min_max``) or 0 (``z_score``)."""
    if scaling == "none":
        return values
    if scaling == "min_max":
        low, high = values.min(), values.max()
        return (values - low) / (high - low) if high > low else np.ones_like(values)
    spread = values.std()
    return (values - values.mean()) / spread if spread else np.zeros_like(values)
