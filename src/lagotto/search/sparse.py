"""Exact search by sparse vectors (a weight a token), block by block: what SPLADE and BGE-M3's lexical weights are for.

Each block is turned into an inverted index, so that a query reads the postings of its own tokens and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import SparseVectors
from lagotto.search.exact import QUERIES_AT_ONCE, Places, Scores, check_k, keep_best, no_hits


def sparse_top_k(queries: SparseVectors, blocks: Iterable[tuple[int, SparseVectors]], k: int) -> tuple[Scores, Places]:
    """The k documents with the largest inner products for each query, among those that share a token with it.

    ``blocks`` are (place of the first, documents) pairs in the order of their places, read once and let go. Returns
    scores (q, k) float32, best first, and places (q, k) int64; -inf and -1 behind the last hit. Equal scores are
    ordered by place, however the corpus is cut into blocks. Raises `InvalidInputError` for vectors of another
    vocabulary, and for weights that are not finite or not above 0.

    >>> rows = [{3: 1.0}, {3: 2.0, 5: 1.0}, {7: 9.0}]
    >>> vectors = [(np.array(list(row), np.int32), np.array(list(row.values()), np.float32)) for row in rows]
    >>> documents = SparseVectors.from_rows(vectors, vocabulary=10)
    >>> scores, places = sparse_top_k(documents.part(slice(1, 2)), [(0, documents)], k=3)
    >>> places.tolist(), scores.tolist()
    ([[1, 0, -1]], [[5.0, 2.0, -inf]])
    """
    check_k(k)
    _check(queries, queries.vocabulary, "query vectors")
    best, places = no_hits(len(queries), k)
    for start, block in blocks:
        _check(block, queries.vocabulary, f"document vectors from place {start} on")
        index = _Postings.of(block)
        for row in range(0, len(queries), QUERIES_AT_ONCE):
            part = slice(row, row + QUERIES_AT_ONCE)
            found = [index.scores(*queries.row(number)) for number in range(len(queries))[part]]
            keep_best(np.stack(found), start, best[part], places[part])
    return best, places


def _check(vectors: SparseVectors, vocabulary: int, what: str) -> None:
    if vectors.vocabulary != vocabulary:
        raise InvalidInputError(
            f"{what} are of a vocabulary of {vectors.vocabulary} tokens, queries of {vocabulary}; they must agree"
        )
    # Weights are above 0 by definition, which is what makes "shares a token" and "scores above 0" the same.
    if not (np.isfinite(vectors.values) & (vectors.values > 0)).all():
        raise InvalidInputError(f"{what} hold weights that are not finite numbers above 0")


@dataclass(frozen=True, slots=True, eq=False)
class _Postings:
    """The documents of a block, by token."""

    starts: NDArray[np.int64]
    """(vocabulary + 1,) where each token's postings begin and end."""
    documents: NDArray[np.int64]
    """(entries,) places in the block."""
    weights: NDArray[np.float32]
    """(entries,)"""
    size: int
    """Documents in the block."""

    @staticmethod
    def of(block: SparseVectors) -> _Postings:
        counts = np.bincount(block.indices, minlength=block.vocabulary)
        order = np.argsort(block.indices, kind="stable")
        owners = np.repeat(np.arange(len(block)), np.diff(block.indptr))
        starts = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        return _Postings(starts, owners[order], block.values[order], len(block))

    def scores(self, tokens: NDArray[np.int32], weights: NDArray[np.float32]) -> Scores:
        """(size,) inner products with a query; -inf for documents without any of its tokens."""
        first, counts = self.starts[tokens], self.starts[tokens + 1] - self.starts[tokens]
        # The postings of all tokens, one list behind the other: where each list begins, less what came before it.
        picked = np.repeat(first - (np.cumsum(counts) - counts), counts) + np.arange(counts.sum())
        products = np.repeat(weights, counts) * self.weights[picked]
        found = np.bincount(self.documents[picked], products, minlength=self.size).astype(np.float32)
        found[found <= 0] = -np.inf
        return found
