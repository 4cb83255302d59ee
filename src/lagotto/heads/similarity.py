"""Scores between texts by their sparse and multi-vector forms, and BGE-M3's weighted sum of all three."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors, SparseVectors

_TOKENS = 1 << 16  # 32 MB of vectors with 128 numbers

M3_WEIGHTS = (0.4, 0.2, 0.4)
"""Dense, sparse, multi-vector: the weights of BGE-M3's own examples."""
_PRODUCTS = 8_000_000  # inner products of tokens held at a time: 32 MB


def lexical_matching(queries: SparseVectors, documents: SparseVectors) -> NDArray[np.float32]:
    """(queries, documents) sums over shared tokens of the product of their weights."""
    if queries.vocabulary != documents.vocabulary:
        raise InvalidInputError(
            f"vocabularies of {queries.vocabulary} and {documents.vocabulary} entries can't be compared"
        )
    scores = np.zeros((len(queries), len(documents)), np.float32)
    owner = np.repeat(np.arange(len(documents)), np.diff(documents.indptr))
    weights = np.zeros(documents.vocabulary, np.float32)  # one query at a time as a whole row: 1 MB for BGE-M3
    for row in range(len(queries)):
        ids, values = queries.row(row)
        weights[ids] = values
        found = weights[documents.indices] * documents.values
        scores[row] = np.bincount(owner, found, minlength=len(documents))
        weights[ids] = 0
    return scores


def lexical_matching_pairs(left: SparseVectors, right: SparseVectors) -> NDArray[np.float32]:
    """(n,) the same for text i of one side with text i of the other."""
    _same_number(len(left), len(right))
    scores = np.zeros(len(left), np.float32)
    for row in range(len(left)):
        (a, x), (b, y) = left.row(row), right.row(row)
        _, at_a, at_b = np.intersect1d(a, b, assume_unique=True, return_indices=True)
        scores[row] = x[at_a] @ y[at_b]
    return scores


def max_sim(query: NDArray[np.float32], document: NDArray[np.float32]) -> float:
    """The mean over a query's vectors of the largest inner product with a document's vectors; 0 where one has none.

    >>> max_sim(np.eye(2, dtype=np.float32), np.array([[1, 0], [0.6, 0.8]], np.float32))
    0.8999999761581421
    """
    if not len(query) or not len(document):
        return 0.0
    return float((query @ document.T).max(axis=1).mean())


def max_sim_pairs(left: MultiVectors, right: MultiVectors) -> NDArray[np.float32]:
    """(n,) `max_sim` of text i of one side with text i of the other."""
    _same_number(len(left), len(right))
    return np.array([max_sim(a, b) for a, b in zip(left, right, strict=True)], np.float32)


def max_sim_matrix(queries: MultiVectors, documents: MultiVectors) -> NDArray[np.float32]:
    """(queries, documents) `max_sim`; some of the queries' terms at a time against all documents' tokens.

    Padding does not exist here: each document is its own tokens, so a term's best match may well be negative.
    FlagEmbedding pads documents with zero vectors, which floors each term at 0 whenever a longer document is near.
    Documents in float16 or int8 are brought to float32 some `_TOKENS` tokens at a time.
    """
    sizes, asked = np.diff(queries.offsets), queries.flat(slice(None))
    scores = np.zeros((len(queries), len(documents)), np.float32)
    owners = np.repeat(np.arange(len(queries)), sizes)
    for block in _blocks(documents):
        filled = block.start + np.flatnonzero(np.diff(documents.offsets[block.start : block.stop + 1]))
        if not len(filled):
            continue
        starts = documents.offsets[filled] - documents.offsets[block.start]
        flat = documents.flat(block)
        # Terms of several queries together: a product of few rows would wait for memory each time.
        terms = max(1, _PRODUCTS // len(flat))
        for first in range(0, len(owners), terms):
            part = slice(first, first + terms)
            best = np.maximum.reduceat(asked[part] @ flat.T, starts, axis=1)
            begins = np.flatnonzero(np.diff(owners[part], prepend=-1))  # the first term of each query
            scores[np.ix_(owners[part][begins], filled)] += np.add.reduceat(best, begins, axis=0)
    scores /= np.maximum(sizes, 1)[:, None]
    return scores


def _blocks(documents: MultiVectors) -> Iterator[slice]:
    """Neighbouring documents of some `_TOKENS` tokens together; a longer one by itself."""
    start = 0
    while start < len(documents):
        end = int(np.searchsorted(documents.offsets, documents.offsets[start] + _TOKENS, side="right")) - 1
        end = min(max(end, start + 1), len(documents))
        yield slice(start, end)
        start = end


def weighted(
    dense: NDArray[np.float32],
    sparse: NDArray[np.float32],
    multi: NDArray[np.float32],
    weights: Sequence[float] = M3_WEIGHTS,
) -> NDArray[np.float32]:
    """The weighted mean of three scores of the same pairs; weights of dense, sparse, multi-vector in this order."""
    check_weights(weights)
    out: NDArray[np.float32] = (weights[0] * dense + weights[1] * sparse + weights[2] * multi) / sum(weights)
    return out


def check_weights(weights: Sequence[float]) -> None:
    """Raise `InvalidInputError` for what can't be the weights of three scores."""
    numbers = all(isinstance(weight, int | float) and not isinstance(weight, bool) for weight in weights)
    if len(weights) != 3 or not numbers or not 0 < sum(weights) < math.inf or min(weights) < 0:
        raise InvalidInputError(f"weights are {list(weights)}; give three numbers of at least 0, not all 0")


def _same_number(left: int, right: int) -> None:
    if left != right:
        raise InvalidInputError(f"{left} and {right} texts can't be paired; give as many on both sides")
