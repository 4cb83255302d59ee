"""Safetensors files written piece by piece, read by the library whose format it is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from lagotto.cards.safetensors_writer import Layout, write_safetensors
from lagotto.core.errors import CheckpointError

RANDOM = np.random.default_rng(0)
TENSORS = {
    "b.half": RANDOM.standard_normal((5, 7)).astype(np.float16),
    "a.whole": RANDOM.integers(-128, 128, (3, 2), np.int8),
    "c.single": RANDOM.standard_normal(9).astype(np.float32),
    "d.empty": np.zeros((0, 4), np.float32),
}
LAYOUT: Layout = {
    name: ({"float16": "F16", "int8": "I8", "float32": "F32"}[array.dtype.name], array.shape)
    for name, array in TENSORS.items()
}


def rows(name: str) -> Iterator[NDArray[np.generic]]:
    """A tensor row by row."""
    yield from TENSORS[name]


def test_the_format_is_safetensors(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    write_safetensors(path, LAYOUT, rows)
    found = safetensors.numpy.load_file(path)
    assert set(found) == set(TENSORS)
    for name, array in TENSORS.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
    (length,) = struct.unpack("<Q", path.read_bytes()[:8])
    assert length % 8 == 0


def test_numbers_are_converted_to_the_layouts_type(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": ("F16", (2, 2))}, lambda _: [np.array([[1.0, 2.5], [-3.0, 1e-3]])])
    np.testing.assert_array_equal(safetensors.numpy.load_file(path)["a"], np.array([[1, 2.5], [-3, 1e-3]], np.float16))


def test_pieces_that_do_not_add_up_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="tensor a: 8 bytes in place of the 12 of its shape"):
        write_safetensors(tmp_path / "a", {"a": ("F32", (3,))}, lambda _: [np.zeros(2, np.float32)])


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e6])
def test_numbers_that_are_not_finite_are_refused(tmp_path: Path, value: float) -> None:
    with pytest.raises(CheckpointError, match="tensor a holds a number that is not finite as float16"):
        write_safetensors(tmp_path / "a", {"a": ("F16", (1,))}, lambda _: [np.array([value])])
