"""Array helpers every floor shares: normalise, cut dimensions, encode as base64."""

from __future__ import annotations

import base64

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError

Matrix = NDArray[np.float32]


def normalize(vectors: Matrix) -> Matrix:
    """Rows divided by their L2 norm, (n, d) -> (n, d); a zero row stays zero.

    >>> [f"{x:.2f}" for x in normalize(np.array([[3.0, 4.0]], np.float32))[0]]
    ['0.60', '0.80']
    """
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    out: Matrix = vectors / np.maximum(norms, np.float32(1e-12))
    return out


def shorten(vectors: Matrix, dimensions: int | None) -> Matrix:
    """The first ``dimensions`` numbers of each row (Matryoshka); normalise after it, not before.

    Raises `InvalidInputError` when the vectors are shorter than that.
    """
    width = vectors.shape[-1]
    if dimensions is None or dimensions == width:
        return vectors
    check_dimensions(dimensions, width)
    return np.ascontiguousarray(vectors[..., :dimensions])


def check_dimensions(dimensions: int, width: int) -> None:
    """Raise `InvalidInputError` unless ``dimensions`` lies in 1..width."""
    if isinstance(dimensions, bool) or not isinstance(dimensions, int) or not 1 <= dimensions <= width:
        raise InvalidInputError(f"dimensions is {dimensions!r}; this model allows 1 to {width}", param="dimensions")


def to_base64(vector: Matrix) -> str:
    """Little-endian float32 bytes in base64, the form OpenAI's clients ask for.

    >>> to_base64(np.array([1.0], np.float32))
    'AACAPw=='
    """
    return base64.b64encode(np.ascontiguousarray(vector, "<f4").tobytes()).decode("ascii")


def sigmoid(logits: Matrix) -> Matrix:
    """Logits to 0..1, in float64 so that large ones neither overflow nor tie.

    >>> f"{sigmoid(np.array([-1.52637], np.float32))[0]:.5f}"
    '0.17853'
    """
    wide = logits.astype(np.float64)
    out = np.where(wide >= 0, 1 / (1 + np.exp(-np.abs(wide))), np.exp(-np.abs(wide)) / (1 + np.exp(-np.abs(wide))))
    return out.astype(np.float32)
