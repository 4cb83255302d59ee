"""Vectors in other numbers than float32."""

from __future__ import annotations

import base64
from typing import Any, get_args

import numpy as np
import pytest

from lagotto.server.vectors import DType, packed, scales, typed, written

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.standard_normal((5, 20)).astype(np.float32)


def test_float32_stays_as_it_is() -> None:
    assert typed(VECTORS, "f32") is VECTORS
    assert typed(VECTORS, "f16").dtype == np.float16


def test_int8_times_its_scale_is_the_vector_within_half_a_step() -> None:
    units, step = typed(VECTORS, "int8"), scales(VECTORS)
    assert (units.dtype, units.shape, step.shape) == (np.int8, (5, 20), (5, 1))
    assert np.abs(units.astype(int)).max(axis=1).tolist() == [127] * 5
    assert (np.abs(units * step - VECTORS) <= step * 0.501).all()


def test_int8_keeps_cosines() -> None:
    def cosines(a: Any) -> Any:
        unit = a / np.linalg.norm(a, axis=1, keepdims=True)
        return unit @ unit.T

    np.testing.assert_allclose(cosines(typed(VECTORS, "int8").astype(float)), cosines(VECTORS), atol=0.01)


def test_uint8_is_int8_plus_128_and_binary_is_ubinary_minus_128() -> None:
    for signed, unsigned in (("int8", "uint8"), ("binary", "ubinary")):
        a, b = typed(VECTORS, signed), typed(VECTORS, unsigned)  # type: ignore[arg-type]
        assert (a.dtype, b.dtype) == (np.int8, np.uint8)
        np.testing.assert_array_equal(a.astype(int) + 128, b)


def test_bits_are_signs_from_the_highest_bit_on() -> None:
    bits = np.unpackbits(typed(VECTORS, "ubinary").astype(np.uint8), axis=1)
    assert bits.shape == (5, 24)
    np.testing.assert_array_equal(bits[:, :20], VECTORS > 0)
    assert not bits[:, 20:].any()


@pytest.mark.parametrize("dtype", get_args(DType))
def test_vectors_of_zeros_and_matrices_of_tokens_are_fine(dtype: DType) -> None:
    zeros = np.zeros((2, 8), np.float32)
    assert not np.isnan(typed(zeros, dtype).astype(np.float64)).any()
    stacked = typed(np.stack([VECTORS, VECTORS]), dtype)
    np.testing.assert_array_equal(stacked[0], typed(VECTORS, dtype))


@pytest.mark.parametrize("dtype", get_args(DType))
def test_base64_is_the_little_endian_bytes(dtype: DType) -> None:
    array = typed(VECTORS, dtype)
    for row, text in zip(array, written(array, "base64"), strict=True):
        found = np.frombuffer(base64.b64decode(text), array.dtype.newbyteorder("<"))
        np.testing.assert_array_equal(found, row)
    assert packed(array[0].byteswap().view(array.dtype.newbyteorder())) == packed(array[0])
