"""`SpanEmbeddings`: vectors of parts of texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SpanEmbeddings:
    """A vector for every span of n texts, one below another, texts and spans in the order they came in.

    ``len(s)`` is n, ``s[i]`` the (spans, dimension) matrix of text i, ``numpy.asarray(s)`` the matrix of all spans.
    """

    dense: NDArray[np.float32]
    """(all spans, dimension)"""
    offsets: NDArray[np.int64]
    """(n + 1,) where each text's spans begin and end."""
    span_tokens: NDArray[np.int32]
    """(all spans,) tokens that each vector is the mean of."""
    tokens: NDArray[np.int32]
    """(n,) tokens of each text, prompt and special tokens included; those that windows share counted once."""
    truncated: NDArray[np.bool_]
    """(n,) whether a text was longer than the limit and lost its end (or start), of which no span asked."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: int) -> NDArray[np.float32]:
        place = range(len(self))[index]
        return self.dense[int(self.offsets[place]) : int(self.offsets[place + 1])]

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self[index] for index in range(len(self)))

    def __array__(self, dtype: np.dtype[np.generic] | None = None, copy: bool | None = None) -> NDArray[np.generic]:
        return np.array(self.dense, dtype=dtype, copy=copy)

    def __repr__(self) -> str:
        spans, dimension = self.dense.shape
        return f"SpanEmbeddings({len(self)} texts, {spans} spans x {dimension}, {int(self.tokens.sum())} tokens)"

    @staticmethod
    def concatenate(parts: Sequence[SpanEmbeddings], dimension: int) -> SpanEmbeddings:
        """One value from parts in order; ``dimension`` gives the width when there are none."""
        sizes = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
        return SpanEmbeddings(
            np.concatenate([np.zeros((0, dimension), np.float32), *(part.dense for part in parts)]),
            np.cumsum(np.concatenate(sizes)),
            np.concatenate([np.zeros(0, np.int32), *(part.span_tokens for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.tokens for part in parts)]),
            np.concatenate([np.zeros(0, np.bool_), *(part.truncated for part in parts)]),
        )
