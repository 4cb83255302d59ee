"""Write a safetensors file tensor by tensor.

The safetensors library's own writer asks for all tensors in memory, twice. The format: 8 bytes of header length, that
many bytes of JSON, then the tensors without gap or overlap (https://huggingface.co/docs/safetensors).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lagotto.core.errors import CheckpointError

ELEMENTS: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2"), "I8": np.dtype("i1")}
"""Element types that can be written, by their safetensors names."""

Layout = Mapping[str, tuple[str, tuple[int, ...]]]
"""Tensor -> element type and shape."""


def write_safetensors(path: Path, layout: Layout, values: Callable[[str], Iterable[npt.NDArray[Any]]]) -> None:
    """Write a file; ``values`` gives a tensor's numbers in row-major order, in as many pieces as it likes.

    Raises `CheckpointError` if the pieces do not add up to the shape or a number is not finite in its element type.
    """
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    position = 0
    for name in sorted(layout):
        kind, shape = layout[name]
        size = int(np.prod(shape)) * ELEMENTS[kind].itemsize
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": [position, position + size]}
        position += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the numbers begin at a multiple of 8 bytes
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name in sorted(layout):
            begin, end = header[name]["data_offsets"]
            item = ELEMENTS[layout[name][0]]
            written = sum(file.write(_converted(piece, item, name).data) for piece in values(name))
            if written != end - begin:
                raise CheckpointError(f"tensor {name}: {written} bytes in place of the {end - begin} of its shape")


def _converted(piece: npt.NDArray[Any], item: np.dtype[Any], name: str) -> npt.NDArray[Any]:
    with np.errstate(over="ignore"):  # an overflow becomes infinite and is reported below
        stored = np.ascontiguousarray(piece, dtype=item).reshape(-1)
    if not np.isfinite(stored).all():
        raise CheckpointError(f"tensor {name} holds a number that is not finite as {item.name}")
    return stored
