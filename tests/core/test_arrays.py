"""Array helpers: normalise, cut, encode."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lagotto.core.arrays import check_dimensions, normalize, shorten, sigmoid, to_base64
from lagotto.core.errors import InvalidInputError

ROWS = np.array([[3.0, 4.0, 0.0], [0.0, 0.0, 0.0], [1e-30, 0.0, 0.0]], np.float32)


def test_rows_get_length_one() -> None:
    np.testing.assert_allclose(normalize(ROWS)[0], [0.6, 0.8, 0.0], rtol=1e-6)


def test_a_zero_row_stays_zero_and_nothing_warns() -> None:
    with np.errstate(all="raise"):
        assert not normalize(ROWS[:2])[1].any()


def test_normalising_keeps_float32() -> None:
    assert normalize(ROWS).dtype == np.float32


def test_shortening_keeps_the_first_numbers() -> None:
    cut = shorten(ROWS, 2)
    np.testing.assert_array_equal(cut, ROWS[:, :2])
    assert cut.flags.c_contiguous


@pytest.mark.parametrize("dimensions", [None, 3])
def test_nothing_to_shorten_gives_the_same_array(dimensions: int | None) -> None:
    assert shorten(ROWS, dimensions) is ROWS


@pytest.mark.parametrize("dimensions", [0, -1, 4, True, 2.0, "2"])
def test_bad_dimensions_are_refused_with_what_is_allowed(dimensions: int) -> None:
    with pytest.raises(InvalidInputError, match="1 to 3"):
        check_dimensions(dimensions, 3)


def test_base64_is_little_endian_float32() -> None:
    vector = np.array([1.5, -2.0], np.float32)
    assert np.frombuffer(base64.b64decode(to_base64(vector)), "<f4").tolist() == [1.5, -2.0]


def test_base64_of_a_strided_vector_is_its_values() -> None:
    matrix = np.arange(6, dtype=np.float32).reshape(3, 2)
    assert np.frombuffer(base64.b64decode(to_base64(matrix[:, 1])), "<f4").tolist() == [1, 3, 5]


@given(arrays.arrays(np.float32, 8, elements=st.floats(-1e6, 1e6, width=32)))
def test_sigmoid_lies_in_0_to_1_and_does_not_fall(logits: np.ndarray) -> None:
    with np.errstate(over="raise", invalid="raise"):
        out = sigmoid(np.sort(logits))
    assert out.dtype == np.float32
    assert ((out >= 0) & (out <= 1)).all()
    assert (np.diff(out) >= 0).all()


def test_sigmoid_values() -> None:
    np.testing.assert_allclose(sigmoid(np.array([0.0, 2.0, -2.0], np.float32)), [0.5, 0.880797, 0.119203], atol=1e-6)
