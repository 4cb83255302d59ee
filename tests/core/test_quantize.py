"""Smaller vectors: sizes, the way there and back, and what is left of a ranking."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.core.quantize import Quantizer, check_quantization, vector_bytes

KINDS = ("f32", "f16", "int8", "binary")
VECTORS = arrays.arrays(
    np.float32,
    st.tuples(st.integers(1, 6), st.integers(1, 20)),
    elements=st.floats(-4, 4, width=32, allow_subnormal=True),
)


def there_and_back(kind, vectors, sample=None):
    quantizer = Quantizer.fit(kind, vectors if sample is None else sample)
    return quantizer.decode(quantizer.encode(vectors), vectors.shape[1])


@given(VECTORS)
def test_float32_comes_back_as_it_was(vectors):
    np.testing.assert_array_equal(there_and_back("f32", vectors), vectors)


@given(VECTORS)
def test_float16_comes_back_within_eleven_bits(vectors):
    back = there_and_back("f16", vectors)
    assert back.dtype == np.float32
    assert (np.abs(back - vectors) <= np.abs(vectors) * 2**-11 + 2**-25).all()


@given(VECTORS)
def test_int8_comes_back_within_half_a_step_of_its_dimension(vectors):
    back = there_and_back("int8", vectors)
    step = np.abs(vectors).max(axis=0) / 127
    assert back.dtype == np.float32
    assert (np.abs(back - vectors) <= step * 0.5001 + 1e-37).all()


@given(VECTORS)
def test_a_bit_is_the_sign_scaled_to_unit_length(vectors):
    back = there_and_back("binary", vectors)
    np.testing.assert_array_equal(back > 0, vectors > 0)
    np.testing.assert_allclose(np.linalg.norm(back, axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(np.abs(back), vectors.shape[1] ** -0.5, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dimension", [1, 7, 8, 9, 384])
def test_a_vector_takes_the_bytes_it_is_said_to(kind, dimension):
    vectors = np.ones((3, dimension), np.float32)
    stored = Quantizer.fit(kind, vectors).encode(vectors)
    assert stored.nbytes == 3 * vector_bytes(dimension, kind)


def test_bytes():
    assert [vector_bytes(768, kind) for kind in KINDS] == [3072, 1536, 768, 96]
    assert [vector_bytes(n, "binary") for n in (0, 1, 8, 9)] == [0, 1, 1, 2]


def test_each_dimension_has_its_own_step():
    sample = np.array([[127, 0.5], [-3, -1.27]], np.float32)
    quantizer = Quantizer.fit("int8", sample)
    np.testing.assert_allclose(quantizer.scale, [1, 0.01], rtol=1e-6)
    assert quantizer.encode(sample).tolist() == [[127, 50], [-3, -127]]


def test_numbers_beyond_the_sample_are_clipped_on_both_sides():
    quantizer = Quantizer.fit("int8", np.array([[1.27]], np.float32))
    assert quantizer.encode(np.array([[99], [-99], [0.004], [0.006]], np.float32)).tolist() == [[127], [-127], [0], [1]]


@pytest.mark.parametrize("smallest", [0.0, 1e-45, 1e-40])
def test_a_dimension_without_numbers_divides_by_nothing(smallest):
    vectors = np.array([[smallest, 1.0], [0.0, -1.0]], np.float32)
    with np.errstate(all="raise", under="ignore"):
        back = there_and_back("int8", vectors)
    np.testing.assert_allclose(back, vectors, atol=1e-40)


@pytest.mark.parametrize("kind", KINDS)
def test_no_vectors(kind):
    nothing = np.zeros((0, 5), np.float32)
    assert there_and_back(kind, nothing).shape == (0, 5)
    assert there_and_back(kind, np.ones((2, 5), np.float32), sample=nothing).shape == (2, 5)


def test_stored_bits_may_come_from_a_mapped_file_as_they_are():
    quantizer = Quantizer.fit("binary", np.zeros((0, 12), np.float32))
    stored = quantizer.encode(np.array([[1, -1] * 6], np.float32))
    assert stored.tolist() == [[0b10101010, 0b10100000]]
    assert (quantizer.decode(stored, 12) > 0).tolist() == [[True, False] * 6]


@pytest.mark.parametrize(("kind", "least"), [("f32", 1.0), ("f16", 0.99), ("int8", 0.97), ("binary", 0.35)])
def test_most_of_the_nearest_stay_near(kind, least):
    numbers = np.random.default_rng(0)
    documents = normalize(numbers.standard_normal((2000, 256)).astype(np.float32))
    queries = normalize(documents[:50] + 0.8 * normalize(numbers.standard_normal((50, 256)).astype(np.float32)))
    exact = queries @ documents.T
    coarse = queries @ there_and_back(kind, documents).T
    best = np.argsort(-exact, axis=1)[:, :10]
    found = np.argsort(-coarse, axis=1)[:, :10]
    shared = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(best.tolist(), found.tolist(), strict=True)])
    assert shared >= least
    assert (found[:, 0] == np.arange(50)).mean() >= 0.98


def test_a_kind_that_does_not_exist_names_those_that_do():
    for kind in KINDS:
        check_quantization(kind)
    for wrong in ("int4", "", "F32", None):
        with pytest.raises(InvalidInputError, match="allowed are f32, f16, int8, binary"):
            check_quantization(wrong)
    with pytest.raises(InvalidInputError, match="quantization is 'int4'"):
        Quantizer.fit("int4", np.ones((1, 1), np.float32))
