"""Smaller vectors: float16, int8 with a scale for each dimension, and one bit a dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import Matrix
from lagotto.core.errors import InvalidInputError

Quantization = Literal["f32", "f16", "int8", "binary"]
"""How an index keeps its vectors; queries stay float32 (asymmetric scoring)."""

_BITS = {"f32": 32, "f16": 16, "int8": 8, "binary": 1}


def check_quantization(name: str) -> None:
    """Raise `InvalidInputError` unless it is a quantisation that exists."""
    if name not in get_args(Quantization):
        raise InvalidInputError(f"quantization is {name!r}; allowed are {', '.join(get_args(Quantization))}")


def vector_bytes(dimension: int, quantization: Quantization) -> int:
    """Bytes one vector takes.

    >>> vector_bytes(384, "f32"), vector_bytes(384, "binary")
    (1536, 48)
    """
    return -(-dimension * _BITS[quantization] // 8)


@dataclass(frozen=True, slots=True, eq=False)
class Quantizer:
    """What turns vectors into their stored form and back."""

    kind: Quantization
    scale: NDArray[np.float32]
    """(dimension,) step of one int8 unit; ones for the other kinds."""

    @staticmethod
    def fit(kind: Quantization, sample: Matrix) -> Quantizer:
        """A quantiser whose int8 steps cover the sample, (n, dimension); larger numbers are clipped.

        Symmetric around 0, one step a dimension: the largest absolute number of the sample becomes 127.
        """
        check_quantization(kind)
        if kind != "int8":
            return Quantizer(kind, np.ones(sample.shape[1], np.float32))
        step = (np.abs(sample).max(axis=0, initial=0.0) / np.float32(127)).astype(np.float32)
        return Quantizer(kind, np.where(step > 0, step, np.float32(1)))

    def encode(self, vectors: Matrix) -> NDArray[np.generic]:
        """(n, dimension) float32 -> float16, int8, or uint8 with eight dimensions a byte."""
        if self.kind == "int8":
            units: NDArray[np.int8] = np.clip(np.rint(vectors / self.scale), -127, 127).astype(np.int8)
            return units
        if self.kind == "binary":
            return np.packbits(vectors > 0, axis=1)
        return vectors.astype(np.float16 if self.kind == "f16" else np.float32)

    def decode(self, stored: NDArray[np.generic], dimension: int) -> Matrix:
        """Float32 numbers that the stored form stands for; a bit is +1 or -1, scaled to unit length.

        >>> q = Quantizer.fit("binary", np.zeros((0, 4), np.float32))
        >>> q.decode(q.encode(np.array([[0.3, -0.2, 0.9, -0.1]], np.float32)), 4).tolist()
        [[0.5, -0.5, 0.5, -0.5]]
        """
        if self.kind == "int8":
            out: Matrix = stored.astype(np.float32) * self.scale
            return out
        if self.kind == "binary":
            bits = np.unpackbits(stored.view(np.uint8), axis=1, count=dimension)
            return (bits.astype(np.float32) * 2 - 1) / np.float32(np.sqrt(dimension))
        return stored.astype(np.float32)
