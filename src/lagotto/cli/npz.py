"""Join .npz files array by array, without holding more than one part's array."""

from __future__ import annotations

import zipfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def save(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write one part, as `numpy.savez` does, whatever its name ends in."""
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **dict(arrays))


def join(parts: Sequence[Path], result: Path, running: Collection[str]) -> None:
    """Write the arrays of one or more parts one behind another; the same parts give the same bytes.

    ``running`` arrays hold lengths in the parts, and offsets in the result, which begin with 0. A scalar is the same in
    every part.
    """
    with np.load(parts[0], allow_pickle=False) as first:
        names = list(first.files)
    with zipfile.ZipFile(result, "w", allowZip64=True) as out:
        for name in names:
            # ZipInfo's own date, 1980, so that the bytes do not depend on the clock.
            with out.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as file:
                if name in running:
                    lengths = np.concatenate(list(_arrays(parts, name)))
                    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths, dtype=np.int64)])
                    np.lib.format.write_array(file, offsets, allow_pickle=False)
                else:
                    _write(file, parts, name)


def _write(file: Any, parts: Sequence[Path], name: str) -> None:
    shapes = [(array.shape, array.dtype) for array in _arrays(parts, name)]
    if not shapes[0][0]:
        np.lib.format.write_array(file, next(_arrays(parts, name)), allow_pickle=False)
        return
    dtype = np.result_type(*(kind for _, kind in shapes))  # the longest of strings of several lengths
    rows = sum(shape[0] for shape, _ in shapes)
    header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows, *shapes[0][0][1:])}
    np.lib.format.write_array_header_1_0(file, header)
    for array in _arrays(parts, name):
        file.write(np.ascontiguousarray(array, dtype).tobytes())


def _arrays(parts: Sequence[Path], name: str) -> Iterator[NDArray[Any]]:
    for part in parts:
        with np.load(part, allow_pickle=False) as arrays:
            yield arrays[name]
