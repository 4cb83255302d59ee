"""Numbers are written short, with a minus that is one, and the same everywhere."""

from __future__ import annotations

import math

import pytest

from lagotto.evaluation.report import notation
from lagotto.evaluation.results import Estimate


@pytest.mark.parametrize(
    ("number", "written"),
    [(0.53214, "0.5321"), (-0.02, "−0.0200"), (math.nan, "n/a"), (12.345, "12.35"), (0, "0.0000")],
)
def test_value(number, written):
    assert notation.value(number) == written


@pytest.mark.parametrize(("number", "written"), [(0.0123, "+0.0123"), (-0.0123, "−0.0123"), (0, "+0.0000")])
def test_signed(number, written):
    assert notation.signed(number) == written


def test_interval():
    assert notation.interval(Estimate(0.0, -0.0512, 0.0488)) == "[−0.051, 0.049]"


@pytest.mark.parametrize(
    ("number", "written"), [(0.01234, "0.0123"), (0.00001, "< 0.0001"), (0.00005, "0.0001"), (1, "1.0000")]
)
def test_probability(number, written):
    assert notation.probability(number) == written


def test_count():
    assert notation.count(1234567) == "1,234,567"


@pytest.mark.parametrize(
    ("number", "written"),
    [(1234.5, "1,234"), (999.4, "999"), (56.78, "56.8"), (1.5, "1.50"), (0.01234, "0.0123"), (0, "–")],
)
def test_rate(number, written):
    assert notation.rate(number) == written


@pytest.mark.parametrize(
    ("seconds", "written"),
    [
        (0.0123, "12.3 ms"),
        (0.9999, "1.00 s"),
        (59.25, "59.2 s"),
        (200, "3 min 20 s"),
        (7199.9, "120 min 00 s"),
        (7500, "2 h 05 min"),
        (0, "–"),
    ],
)
def test_duration(seconds, written):
    assert notation.duration(seconds) == written


@pytest.mark.parametrize(
    ("number", "written"),
    [(512, "512 B"), (1536, "1.54 kB"), (999_600, "1.00 MB"), (2.5e9, "2.50 GB"), (3e15, "3,000 TB"), (0, "–")],
)
def test_size(number, written):
    assert notation.size(number) == written
