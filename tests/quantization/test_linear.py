"""A linear layer in int8: the arithmetic, the steps, the corrected bias."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto.quantization import linear
from lagotto.quantization.linear import input_steps, int8_linear

Matrix = NDArray[np.float32]
RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.standard_normal((24, 16)).astype(np.float32)
BIAS = RANDOM.standard_normal(24).astype(np.float32)
ROWS = (RANDOM.standard_normal((400, 16)) + 0.7).astype(np.float32)


def with_outliers() -> Matrix:
    """Inputs of which one channel is fifty times as wide as the others, as encoders have them."""
    rows = ROWS.copy()
    rows[:, 3] *= 50
    return rows


def steps_of(rows: Matrix, weight: Matrix = WEIGHT) -> Matrix:
    return input_steps(np.abs(rows).max(axis=0), weight)


def test_it_computes_in_whole_numbers() -> None:
    layer = int8_linear(WEIGHT, BIAS, steps_of(ROWS), ROWS)
    assert layer.weight.dtype == np.int8
    assert layer.weight.min() >= -127
    whole = np.clip(np.round(ROWS / layer.input_scale), -128, 127).astype(np.int32)
    sums = whole @ layer.weight.T.astype(np.int32)
    np.testing.assert_allclose(layer(ROWS), sums * layer.weight_scale + layer.bias, rtol=1e-5, atol=1e-4)
    exact = ROWS @ WEIGHT.T + BIAS
    assert np.abs(layer(ROWS) - exact).max() < 0.05 * np.abs(exact).max()


def test_the_largest_input_and_weight_take_the_largest_number() -> None:
    layer = int8_linear(WEIGHT, BIAS, steps_of(ROWS), ROWS)
    assert round(float((np.abs(ROWS).max(axis=0) / layer.input_scale).max())) == 127
    assert (np.abs(layer.weight).max(axis=1) == 127).all()


def test_the_bias_takes_up_the_mean_error() -> None:
    rows = with_outliers()
    layer = int8_linear(WEIGHT, BIAS, steps_of(rows), rows)
    error = layer(rows) - (rows @ WEIGHT.T + BIAS)
    uncorrected = error - layer.bias + BIAS
    assert np.abs(error.mean(axis=0)).max() < 1e-3
    assert np.abs(uncorrected.mean(axis=0)).max() > 10 * np.abs(error.mean(axis=0)).max()


def test_noise_is_the_rest_of_the_error_over_the_variance() -> None:
    layer = int8_linear(WEIGHT, BIAS, steps_of(ROWS), ROWS)
    exact = ROWS @ WEIGHT.T + BIAS
    expected = np.square(layer(ROWS) - exact).mean() / exact.var(axis=0).mean()
    assert layer.noise == pytest.approx(float(expected), rel=1e-2)


def test_smoothing_saves_the_channels_beside_an_outlier(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = with_outliers()
    rows[:, 3] = 50  # always far out, as some channels are; it says nothing, and the others say all
    smooth = int8_linear(WEIGHT, BIAS, steps_of(rows), rows).noise
    monkeypatch.setattr(linear, "SMOOTHING", 0.0)
    assert smooth < 0.5 * int8_linear(WEIGHT, BIAS, steps_of(rows), rows).noise


def test_channels_and_rows_of_zeros_stay_finite() -> None:
    rows, weight = ROWS.copy(), WEIGHT.copy()
    rows[:, 2] = 0
    weight[:, 5], weight[7] = 0, 0
    layer = int8_linear(weight, BIAS, steps_of(rows, weight), rows)
    for part in (layer.input_scale, layer.weight_scale):
        assert np.isfinite(part).all()
        assert (part > 0).all()
    assert np.abs(layer(rows)[:, 7] - BIAS[7]).max() < 1e-6
    assert np.isfinite(layer.noise)


def test_one_constant_input_is_all_noise_and_no_division_by_zero() -> None:
    rows = np.ones((8, 16), np.float32)
    assert np.isfinite(int8_linear(WEIGHT, BIAS, steps_of(rows), rows).noise)
