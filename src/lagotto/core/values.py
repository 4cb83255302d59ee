"""The values that leave the house: `Embeddings`, `Scores`, `Ranking`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors, SparseVectors


@dataclass(frozen=True, slots=True, eq=False)
class Embeddings:
    """Vectors of n texts, in the order the texts came in.

    ``len(e)`` is n, ``e[i]`` the vector of text i, ``e[a:b]`` a part, ``numpy.asarray(e)`` the matrix.
    """

    dense: NDArray[np.float32]
    """(n, dimension) float32; a single string gives n = 1. (n, 0) where ``outputs`` did not ask for ``"dense"``."""
    tokens: NDArray[np.int32]
    """(n,) tokens the model saw: prompt and special tokens included, cut-off tokens not; what windows share, once."""
    truncated: NDArray[np.bool_]
    """(n,) whether a text was longer than the limit and lost its end (or start)."""
    sparse: SparseVectors | None = None
    """A weight a token, where ``outputs`` asked for ``"sparse"``."""
    multivector: MultiVectors | None = None
    """A vector a token, where ``outputs`` asked for ``"multivector"``."""

    def __len__(self) -> int:
        return len(self.dense)

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return iter(self.dense)

    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | Embeddings:
        if isinstance(index, slice):
            sparse = None if self.sparse is None else self.sparse.part(index)
            multi = None if self.multivector is None else self.multivector.part(index)
            return Embeddings(self.dense[index], self.tokens[index], self.truncated[index], sparse, multi)
        vector: NDArray[np.float32] = self.dense[index]
        return vector

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.dense, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        n, dimension = self.dense.shape
        cut = int(self.truncated.sum())
        return f"Embeddings({n} x {dimension}, {int(self.tokens.sum())} tokens, {cut} truncated)"

    @staticmethod
    def concatenate(parts: Sequence[Embeddings], dimension: int) -> Embeddings:
        """One value from parts in order; ``dimension`` gives the width when there are none."""
        if len(parts) == 1:
            return parts[0]
        empty = Embeddings(np.zeros((0, dimension), np.float32), np.zeros(0, np.int32), np.zeros(0, np.bool_))
        sparse = [part.sparse for part in parts if part.sparse is not None]
        multi = [part.multivector for part in parts if part.multivector is not None]
        return Embeddings(
            np.concatenate([p.dense for p in parts] or [empty.dense]),
            np.concatenate([p.tokens for p in parts] or [empty.tokens]),
            np.concatenate([p.truncated for p in parts] or [empty.truncated]),
            SparseVectors.concatenate(sparse) if sparse else None,
            MultiVectors.concatenate(multi) if multi else None,
        )


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Scores of n (query, document) pairs, in the order the pairs came in; higher is more relevant.

    Behaves like the array of scores: ``len``, iteration, indexing, ``numpy.asarray``.
    """

    scores: NDArray[np.float32]
    """(n,) the model's raw logits, or values in 0..1 when normalised; (n, layers) for several layers."""
    tokens: NDArray[np.int32]
    """(n,) tokens the model saw for each pair, all its windows together."""
    truncated: NDArray[np.bool_]
    """(n,) whether a part of the pair was not read: the query cut, or windows beyond the allowed number."""

    def __len__(self) -> int:
        return len(self.scores)

    def __iter__(self) -> Iterator[float]:
        return iter(self.scores.tolist())

    def __getitem__(self, index: int) -> float:
        if self.scores.ndim > 1:
            raise InvalidInputError(
                "there is a score for each of several layers: index the array, .scores[pair, layer]"
            )
        return float(self.scores[index])

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.scores, dtype=dtype, copy=copy)


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """One document's place in a `Ranking`."""

    index: int
    """Place in the list of documents that was given."""
    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Ranking(Sequence[RankedDocument]):
    """Documents for one query, best first; equal scores keep the order given."""

    results: tuple[RankedDocument, ...]
    tokens: int
    """Tokens the model saw for all documents, those below ``top_n`` included."""
    truncated: tuple[int, ...] = ()
    """Indexes of documents of which a part was not read."""

    def __len__(self) -> int:
        return len(self.results)

    @overload
    def __getitem__(self, index: int) -> RankedDocument: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[RankedDocument]: ...

    def __getitem__(self, index: int | slice) -> RankedDocument | Sequence[RankedDocument]:
        return self.results[index]
