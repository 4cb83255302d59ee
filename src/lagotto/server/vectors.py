"""Vectors in the numbers a client asks for: float32, float16, int8, uint8, one bit a dimension; or their bytes."""

from __future__ import annotations

import base64
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

DType = Literal["f32", "f16", "int8", "uint8", "binary", "ubinary"]
"""``int8``: each vector is scaled so that its largest number becomes 127, which keeps cosines and not inner products.
``uint8``: the same plus 128. ``ubinary``: eight dimensions a byte, the first in its highest bit, 1 for a number above
0. ``binary``: the same minus 128, as int8."""

Array = NDArray[np.generic]


def typed(vectors: NDArray[np.float32], dtype: DType) -> Array:
    """(..., dimension) float32 in another type; (..., dimension / 8), rounded up, for bits.

    >>> typed(np.array([[0.5, -1.0, 0.25]], np.float32), "int8").tolist()
    [[64, -127, 32]]
    >>> typed(np.array([[0.5, -1.0, 0.25]], np.float32), "ubinary").tolist()
    [[160]]
    """
    if dtype == "f16":
        return vectors.astype(np.float16)
    if dtype in ("int8", "uint8"):
        units: NDArray[np.float32] = np.rint(vectors / scales(vectors))
        return (units + 128).astype(np.uint8) if dtype == "uint8" else units.astype(np.int8)
    if dtype in ("binary", "ubinary"):
        bits = np.packbits(vectors > 0, axis=-1)
        return bits if dtype == "ubinary" else (bits ^ 0x80).view(np.int8)  # the same as taking 128 off
    return vectors


def scales(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """(..., 1) what one unit of a vector's int8 numbers stands for; 1 for a vector of zeros."""
    step = np.abs(vectors).max(axis=-1, keepdims=True, initial=0.0) / np.float32(127)
    return np.where(step > 0, step, np.float32(1)).astype(np.float32)


def written(array: Array, encoding: str = "float") -> list[Any]:
    """One item a row: the little-endian bytes in base64, or what `json_response` writes as numbers."""
    if encoding == "base64":
        return [packed(row) for row in array]
    return list(np.ascontiguousarray(array))


def packed(array: Array) -> str:
    """The little-endian bytes of an array in base64."""
    return base64.b64encode(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes()).decode("ascii")
