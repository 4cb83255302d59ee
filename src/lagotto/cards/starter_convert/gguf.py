"""Read a GGUF file: facts by name, and tensors that become float32 when they are asked for.

The layout, all little-endian: magic and version; the numbers of tensors and facts; the facts (name, type, value); the
tensors (name, dimensions, the innermost first, kind, offset); from the next multiple of the alignment on, the data.
Source: ``docs/gguf.md`` of ggml; the quantised kinds: ``dequantize_row_q4_1`` and ``dequantize_row_q8_0`` of
``ggml-quants.c``.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lagotto.cards.starter_convert.cursor import Cursor
from lagotto.cards.starter_convert.folder import Floats
from lagotto.cards.stored import Bytes, map_file
from lagotto.core.errors import CheckpointError

_BLOCKS_AT_ONCE = 1 << 18  # 8 million weights, 32 MB as float32
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _LIST = 8, 9

_PLAIN = np.dtype([("value", "<f4")])
_Q4_1 = np.dtype([("scale", "<f2"), ("least", "<f2"), ("nibbles", "u1", 16)])  # 32 weights in 20 bytes
_Q8_0 = np.dtype([("scale", "<f2"), ("levels", "i1", 32)])  # 32 weights in 34 bytes


def _plain(blocks: npt.NDArray[Any]) -> Floats:
    return np.asarray(blocks["value"], np.float32)


def _q4_1(blocks: npt.NDArray[Any]) -> Floats:
    """Of a block's 16 bytes the low halves are weights 0-15, the high ones 16-31."""
    nibbles = np.concatenate([blocks["nibbles"] & 15, blocks["nibbles"] >> 4], axis=1)  # (blocks, 32)
    scale, least = (blocks[name].astype(np.float32)[:, None] for name in ("scale", "least"))
    found: Floats = nibbles.astype(np.float32) * scale + least
    return found


def _q8_0(blocks: npt.NDArray[Any]) -> Floats:
    found: Floats = blocks["levels"].astype(np.float32) * blocks["scale"].astype(np.float32)[:, None]
    return found


_KINDS: Mapping[int, tuple[np.dtype[Any], int, Callable[[npt.NDArray[Any]], Floats]]] = {
    0: (_PLAIN, 1, _plain),
    3: (_Q4_1, 32, _q4_1),
    8: (_Q8_0, 32, _q8_0),
}
"""By ggml's number: how a block lies in the file, how many weights it has, and how it becomes numbers."""


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor as it lies in the file."""

    kind: int
    shape: tuple[int, ...]
    """Row-major."""
    raw: Bytes

    def pieces(self) -> Iterator[Floats]:
        """The numbers in row-major order, some millions at a time."""
        item, _, values = _KINDS[self.kind]
        blocks = self.raw.view(item)
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            yield values(blocks[start : start + _BLOCKS_AT_ONCE]).reshape(-1)

    def read(self) -> Floats:
        """All numbers at once, in their shape."""
        return np.concatenate(list(self.pieces())).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What a file holds, by the names it has there."""

    facts: Mapping[str, Any]
    """Numbers, strings and lists."""
    tensors: Mapping[str, GgufTensor]


def read_gguf(path: Path) -> GgufFile:
    """Read the file's tables; tensors stay in the mapped file. Raises `CheckpointError` if it is damaged."""
    try:
        return _read(Cursor(map_file(path)))
    except (ValueError, LookupError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable GGUF file: {error}") from error


def _read(cursor: Cursor) -> GgufFile:
    if cursor.take(4).tobytes() != b"GGUF" or cursor.numbers("I") not in ((2,), (3,)):
        raise ValueError("it does not begin with GGUF and version 2 or 3")
    tensors, facts = cursor.numbers("QQ")
    found = {_string(cursor): _value(cursor, *cursor.numbers("I")) for _ in range(facts)}
    listed = [_entry(cursor) for _ in range(tensors)]
    alignment = int(found.get("general.alignment", 32))
    start = -(-cursor.position // alignment) * alignment
    return GgufFile(
        found, {name: _tensor(cursor.data, name, start + at, kind, shape) for name, at, kind, shape in listed}
    )


def _string(cursor: Cursor) -> str:
    return cursor.take(*cursor.numbers("Q")).tobytes().decode()


def _value(cursor: Cursor, kind: int) -> Any:
    if kind == _STRING:
        return _string(cursor)
    if kind != _LIST:
        if kind not in _NUMBERS:
            raise ValueError(f"a fact is of type {kind}, which is not known")
        return cursor.numbers(_NUMBERS[kind])[0]
    inner, count = cursor.numbers("IQ")
    return [_value(cursor, inner) for _ in range(count)]


def _entry(cursor: Cursor) -> tuple[str, int, int, tuple[int, ...]]:
    """Name, offset, kind and shape of a tensor."""
    name = _string(cursor)
    (dimensions,) = cursor.numbers("I")
    sizes = cursor.numbers(f"{dimensions}Q")
    kind, offset = cursor.numbers("IQ")
    return name, offset, kind, sizes[::-1]


def _tensor(data: Bytes, name: str, start: int, kind: int, shape: tuple[int, ...]) -> GgufTensor:
    if kind not in _KINDS:
        raise ValueError(f"tensor {name} is of ggml's kind {kind}; read are {', '.join(map(str, _KINDS))}")
    item, block, _ = _KINDS[kind]
    end = start + math.prod(shape) // block * item.itemsize
    if math.prod(shape) % block or end > data.size:
        raise ValueError(f"tensor {name} of shape {shape} is no whole number of blocks, or ends outside the file")
    return GgufTensor(kind, shape, data[start:end])
