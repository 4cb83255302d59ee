"""Sparse weights and token vectors as values: parts, forms, and what int8 loses."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.core.token_values import MultiVectors

random = np.random.default_rng(3)


def multi(sizes: list[int], dimension: int = 128) -> MultiVectors:
    rows = [normalize(random.standard_normal((size, dimension)).astype(np.float32)) for size in sizes]
    return MultiVectors.from_rows(rows, dimension)


def test_int8_takes_a_quarter_and_stays_close() -> None:
    exact = multi([5, 0, 40, 1])
    small = exact.int8()
    assert small.vectors.dtype == np.int8
    assert small.nbytes == 46 * (128 + 4)
    assert exact.nbytes == 46 * 128 * 4
    assert np.abs(small.vectors).max() == 127
    steps = np.abs(exact.vectors).max(axis=1, keepdims=True) / 127
    assert (np.abs(small.flat(slice(None)) - exact.vectors) <= steps / 2 + 1e-7).all()
    assert repr(small) == "MultiVectors(4 texts, 46 x 128 int8)"


def test_a_vector_of_zeros_stays_one() -> None:
    small = MultiVectors.from_rows([np.zeros((2, 4), np.float32)], 4).int8()
    np.testing.assert_array_equal(small.row(0), np.zeros((2, 4)))


@pytest.mark.parametrize("form", ["float32", "float16", "int8"])
def test_every_form_can_be_cut_and_put_together(form: str) -> None:
    exact = multi([3, 0, 7, 2, 5])
    value = {"float32": exact, "float16": exact.half(), "int8": exact.int8()}[form]
    assert str(value.vectors.dtype) == form
    for cut in (slice(1, 4), slice(None, None, -2), slice(2, 2)):
        part = value[cut]
        assert isinstance(part, MultiVectors)
        assert str(part.vectors.dtype) == form
        wanted = list(value)[cut]
        assert len(part) == len(wanted)
        for found, row in zip(part, wanted, strict=True):
            np.testing.assert_array_equal(found, row)
    again = MultiVectors.concatenate([value.part(slice(0, 2)), value.part(slice(2, 5))])
    assert str(again.vectors.dtype) == form
    for found, row in zip(again, value, strict=True):
        np.testing.assert_array_equal(found, row)
    np.testing.assert_allclose(value.flat(slice(1, 4)), exact.flat(slice(1, 4)), atol=2e-3)
    assert value.flat(slice(4, 2)).shape == (0, 128)
    np.testing.assert_allclose(value.pooled(1).vectors, exact.vectors, atol=2e-3)


def test_forms_are_not_mixed() -> None:
    exact = multi([3])
    with pytest.raises(InvalidInputError, match="parts hold float32 and int8"):
        MultiVectors.concatenate([exact, exact.int8()])
