"""A tensor as it lies in a weights file, whatever the file's format: `StoredTensor`."""

from __future__ import annotations

import math
import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from lagotto.core.errors import CheckpointError, UnsupportedModelError

Bytes = npt.NDArray[np.uint8]

DTYPES: Final[Mapping[str, np.dtype[Any]]] = {
    "F64": np.dtype("<f8"), "F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "BF16": np.dtype("<u2"),
    "I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I16": np.dtype("<i2"), "I8": np.dtype("i1"),
    "U64": np.dtype("<u8"), "U32": np.dtype("<u4"), "U16": np.dtype("<u2"), "U8": np.dtype("u1"),
    "BOOL": np.dtype("u1"),
}  # fmt: skip
"""How each element type lies in a file, by its safetensors name. numpy has no bfloat16: its bits are read."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """One tensor as it lies in a file; its bytes are touched by `read` only."""

    file: Path
    kind: str
    """Element type by its safetensors name, a key of `DTYPES` unless it is one that cannot be read."""
    shape: tuple[int, ...]
    data: Bytes
    """The bytes from the first element to the last."""
    strides: tuple[int, ...] | None = None
    """Steps between elements, in elements; None for row-major order."""

    def __post_init__(self) -> None:
        # An empty tensor may claim any other dimension, and numpy counts bytes in 63 bits.
        if len(self.shape) > 32 or math.prod(size or 1 for size in self.shape) > 1 << 56:
            raise CheckpointError(f"{self.file}: a tensor of {len(self.shape)} dimensions is too large to be one")

    def read(self) -> npt.NDArray[Any]:
        """The values, row-major; a view of the file (read-only) wherever no conversion is needed.

        bfloat16 becomes float32. Raises `UnsupportedModelError` for an element type numpy cannot hold.
        """
        item = self._item()
        flat = self.data.view(item)
        if self.strides is None:
            values = flat.reshape(self.shape)
        else:
            steps = tuple(step * item.itemsize for step in self.strides)
            values = np.lib.stride_tricks.as_strided(flat, self.shape, steps, writeable=False)
        if self.kind == "BF16":
            return (values.astype(np.uint32) << 16).view(np.float32)  # bfloat16 is the upper half of a float32
        if self.kind == "BOOL":
            return cast("npt.NDArray[Any]", values != 0)
        return np.require(values, requirements=["C", "ALIGNED"])

    def bits(self) -> npt.NDArray[Any]:
        """As `read`, but bfloat16 as it is stored: the bits of each number in an uint16, without a copy."""
        if self.kind != "BF16" or self.strides is not None:
            return self.read()
        return self.data.view(self._item()).reshape(self.shape)

    def dtype(self) -> np.dtype[Any]:
        """The dtype that `read` returns."""
        return {"BF16": np.dtype(np.float32), "BOOL": np.dtype(np.bool_)}.get(self.kind) or self._item()

    def _item(self) -> np.dtype[Any]:
        if self.kind not in DTYPES:
            raise UnsupportedModelError(
                f"{self.file}: holds elements of type {self.kind}; readable are {', '.join(DTYPES)}. "
                "Convert the checkpoint to one of these"
            )
        return DTYPES[self.kind]


def release_pages(data: Bytes) -> None:
    """Take the pages of a mapped file out of this process's memory; they are read again where they are needed.

    The system may still keep them in its cache of files. Does nothing for bytes that are not mapped, and on Windows.
    """
    owner: Any = data
    while isinstance(owner, np.ndarray):
        owner = owner.base
    if isinstance(owner, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        owner.madvise(mmap.MADV_DONTNEED)


def map_file(path: Path) -> Bytes:
    """A file's bytes, memory-mapped and read-only. Raises `CheckpointError` if there are none to map."""
    try:
        if path.stat().st_size == 0:
            raise CheckpointError(f"{path}: is empty; download it again")
        data = np.memmap(path, dtype=np.uint8, mode="r").view(np.ndarray)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error
    if data[:32].tobytes().startswith(b"version https://git-lfs"):
        raise CheckpointError(f"{path}: is a git-lfs pointer, not the weights; run `git lfs pull` in its repository")
    return data
