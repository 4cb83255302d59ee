"""What a text has besides its one vector: `SparseVectors` (a weight a token) and `MultiVectors` (a vector a token)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True, eq=False)
class SparseVectors:
    """Weights of vocabulary entries for n texts, in compressed sparse rows; scipy's ``csr_array`` takes the parts.

    ``len(s)`` is n, ``s[i]`` text i as {token id: weight}, ``s[a:b]`` a part.
    """

    indptr: NDArray[np.int64]
    """(n + 1,) where each text's entries begin and end."""
    indices: NDArray[np.int32]
    """(entries,) token ids, rising within a text."""
    values: NDArray[np.float32]
    """(entries,) weights, all above 0."""
    vocabulary: int
    """Number of columns."""

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, index: int | slice) -> dict[int, float] | SparseVectors:
        if isinstance(index, slice):
            return self.part(index)
        ids, weights = self.row(range(len(self))[index])
        return dict(zip(ids.tolist(), weights.tolist(), strict=True))

    def __iter__(self) -> Iterator[dict[int, float]]:
        for index in range(len(self)):
            ids, weights = self.row(index)
            yield dict(zip(ids.tolist(), weights.tolist(), strict=True))

    def __repr__(self) -> str:
        return f"SparseVectors({len(self)} x {self.vocabulary}, {len(self.values)} entries)"

    def row(self, index: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(token ids, weights) of one text."""
        part = slice(int(self.indptr[index]), int(self.indptr[index + 1]))
        return self.indices[part], self.values[part]

    def part(self, index: slice) -> SparseVectors:
        """Some of the texts."""
        return SparseVectors.from_rows([self.row(row) for row in range(len(self))[index]], self.vocabulary)

    @staticmethod
    def concatenate(parts: Sequence[SparseVectors]) -> SparseVectors:
        """One value from one or more parts, in order."""
        sizes = np.concatenate([np.diff(part.indptr) for part in parts])
        return SparseVectors(
            np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)]),
            np.concatenate([part.indices for part in parts]),
            np.concatenate([part.values for part in parts]),
            parts[0].vocabulary,
        )

    @staticmethod
    def from_rows(rows: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]], vocabulary: int) -> SparseVectors:
        """Texts given one by one as (token ids, weights)."""
        indptr = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(ids) for ids, _ in rows], out=indptr[1:])
        ids = [ids for ids, _ in rows] or [np.zeros(0, np.int32)]
        weights = [weights for _, weights in rows] or [np.zeros(0, np.float32)]
        return SparseVectors(indptr, np.concatenate(ids), np.concatenate(weights), vocabulary)


@dataclass(frozen=True, slots=True, eq=False)
class MultiVectors:
    """A vector for every token of n texts, one below another.

    ``len(m)`` is n, ``m[i]`` the (tokens, dimension) float32 matrix of text i, ``m[a:b]`` a part. `half` and
    `int8` give smaller forms, which every score of `lagotto.heads.similarity` reads.
    """

    vectors: NDArray[np.float32] | NDArray[np.float16] | NDArray[np.int8]
    """(all tokens, dimension), unit length; float16 after `half`, whole numbers of -127..127 after `int8`."""
    offsets: NDArray[np.int64]
    """(n + 1,) where each text's vectors begin and end."""
    scales: NDArray[np.float32] | None = None
    """(all tokens,) what an int8 vector is multiplied by; None for the other forms."""

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int | slice) -> NDArray[np.float32] | MultiVectors:
        if isinstance(index, slice):
            return self.part(index)
        return self.row(range(len(self))[index])

    def __iter__(self) -> Iterator[NDArray[np.float32]]:
        return (self.row(index) for index in range(len(self)))

    def __repr__(self) -> str:
        return f"MultiVectors({len(self)} texts, {len(self.vectors)} x {self.dimension} {self.vectors.dtype})"

    @property
    def dimension(self) -> int:
        """Length of each vector."""
        return int(self.vectors.shape[1])

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors, scales included."""
        return self.vectors.nbytes + (0 if self.scales is None else self.scales.nbytes)

    def row(self, index: int) -> NDArray[np.float32]:
        """(tokens, dimension) float32 vectors of one text."""
        return self.flat(slice(index, index + 1))

    def flat(self, texts: slice) -> NDArray[np.float32]:
        """(their tokens, dimension) float32 vectors of neighbouring texts, one below another; ``texts`` has no step."""
        first, end, _ = texts.indices(len(self))
        tokens = slice(int(self.offsets[first]), int(self.offsets[max(first, end)]))
        out: NDArray[np.float32] = self.vectors[tokens].astype(np.float32, copy=False)
        return out if self.scales is None else out * self.scales[tokens, None]

    def part(self, index: slice) -> MultiVectors:
        """Some of the texts, in the same form."""
        rows = np.arange(len(self))[index]
        sizes = np.diff(self.offsets)[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[rows] - offsets[:-1], sizes)
        return MultiVectors(self.vectors[places], offsets, None if self.scales is None else self.scales[places])

    def half(self) -> MultiVectors:
        """The same in float16, half the memory."""
        return MultiVectors(self.flat(slice(None)).astype(np.float16), self.offsets)

    def int8(self) -> MultiVectors:
        """The same in whole numbers with one scale a vector: dimension + 4 bytes in place of 4 x dimension.

        A vector's largest number becomes 127 or -127, so every number is off by at most half a step, which is the
        largest / 254, and an inner product with a unit vector by at most half a step x sqrt(dimension). Seen with
        random unit vectors of 128 numbers: 0.0005 on average, 0.004 at most.
        """
        vectors = self.flat(slice(None))
        scales = np.abs(vectors).max(axis=1, initial=0.0) / np.float32(127)
        steps = np.where(scales > 0, scales, np.float32(1))
        return MultiVectors(np.rint(vectors / steps[:, None]).astype(np.int8), self.offsets, scales.astype(np.float32))

    def pooled(self, factor: int) -> MultiVectors:
        """About one ``factor``-th of the vectors: means of neighbouring tokens, brought to unit length, in float32.

        Raises `InvalidInputError` for a factor below 1. Source of the idea: Clavie, Chaffin and Adams 2024, "Reducing
        the Footprint of Multi-Vector Retrieval with Minimal Performance Impact via Token Pooling" (their sequential
        pooling).
        """
        if isinstance(factor, bool) or not isinstance(factor, int) or factor < 1:
            raise InvalidInputError(f"factor is {factor!r}; give an integer of at least 1")
        rows = []
        for row in self:
            starts = np.arange(0, len(row), factor)
            rows.append(normalize(np.add.reduceat(row, starts, axis=0)) if len(row) else row)
        return MultiVectors.from_rows(rows, self.dimension)

    @staticmethod
    def concatenate(parts: Sequence[MultiVectors]) -> MultiVectors:
        """One value from one or more parts of one form, in order. Raises `InvalidInputError` for different forms."""
        forms = sorted({str(part.vectors.dtype) for part in parts})
        if len(forms) > 1:
            raise InvalidInputError(f"parts hold {' and '.join(forms)}; bring them to one form first")
        sizes = np.concatenate([np.diff(part.offsets) for part in parts])
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes)])
        scales = [part.scales for part in parts if part.scales is not None]
        vectors = np.concatenate([part.vectors for part in parts])
        return MultiVectors(vectors, offsets, np.concatenate(scales) if scales else None)

    @staticmethod
    def from_rows(rows: Sequence[NDArray[np.float32]], dimension: int) -> MultiVectors:
        """Texts given one by one as (tokens, dimension) matrices."""
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(row) for row in rows], out=offsets[1:])
        return MultiVectors(np.concatenate(rows or [np.zeros((0, dimension), np.float32)]), offsets)
