"""A checkpoint's tensors by name, read from its files one by one when asked for."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lagotto.cards.pickle_reader import read_checkpoint
from lagotto.cards.stored import DTYPES, StoredTensor, map_file, release_pages
from lagotto.core.errors import CheckpointError, InvalidInputError, ModelNotFoundError

ORDINARY_WEIGHTS: Final = (
    "model.safetensors",
    "model.safetensors.index.json",
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
)
"""Files that weights are looked for in, in this order."""
INT8_WEIGHTS: Final = "model.int8.safetensors"
"""Looked for after them; see `lagotto.cards.quantized`."""
_CANDIDATES: Final = (*ORDINARY_WEIGHTS, INT8_WEIGHTS)
_UNREAD: Final = (
    "tf_model*.h5",
    "*.ckpt*",
    "flax_model*.msgpack",
    "rust_model.ot",
    "*.onnx",
    "onnx/*.onnx",
    "openvino/*.bin",
    "*.gguf",
    "adapter_model.*",
)
_MAX_HEADER: Final = 100_000_000  # the format's own limit
_SUFFIXES: Final = (".safetensors", ".bin", ".pt", ".pth")


class Weights(Mapping[str, npt.NDArray[Any]]):
    """A read-only mapping from tensor name to array.

    ``weights[name]`` gives the values in the precision they are stored in (bfloat16 as float32, since numpy has none),
    as a read-only view of the memory-mapped file where possible. The files stay mapped as long as the mapping or one
    of its arrays lives, and must not be rewritten in place meanwhile; there is nothing to close. A name it does not
    hold is a `KeyError`, as in any mapping.
    """

    def __init__(self, tensors: Mapping[str, StoredTensor], source: Path) -> None:
        self._tensors = dict(tensors)
        self.source = source
        """The folder or file the tensors come from, for messages."""

    @classmethod
    def open(cls, folder: Path, files: Sequence[str] | None = None) -> Weights:
        """The weights of a checkpoint folder.

        Looks for ``model.safetensors``, ``model.safetensors.index.json``, ``pytorch_model.bin``,
        ``pytorch_model.bin.index.json`` and ``model.int8.safetensors`` and takes the first that is there; `files` names
        others, relative to the folder, which are then taken together. Only headers are read.

        Raises `ModelNotFoundError` if no such file or a part of a sharded checkpoint is missing, `CheckpointError` if
        a file is damaged, `UnsafeWeightsError` if a pickle file holds more than tensors.
        """
        if files is not None:
            return cls(_merge(_read_named(folder / name) for name in files), folder)
        for name in _CANDIDATES:
            if (folder / name).is_file():
                return cls(_read_named(folder / name), folder)
        raise ModelNotFoundError(_nothing_found(folder))

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        """The values of one tensor, row-major."""
        return self._tensors[name].read()

    def __iter__(self) -> Iterator[str]:
        return iter(self._tensors)

    def __len__(self) -> int:
        return len(self._tensors)

    def __contains__(self, name: object) -> bool:
        return name in self._tensors  # Mapping's own would read the tensor

    def __repr__(self) -> str:
        return f"Weights({len(self)} tensors of {self.source})"

    def files(self) -> list[Path]:
        """The files the tensors lie in."""
        return sorted({tensor.file for tensor in self._tensors.values()})

    def release(self) -> None:
        """Take what was read of the files out of this process's memory, for who has copied what they want of them."""
        for tensor in {tensor.file: tensor for tensor in self._tensors.values()}.values():
            release_pages(tensor.data)

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        """Raise `CheckpointError` where a tensor is missing or has another shape, without reading it."""
        if name not in self:
            raise CheckpointError(f"{self.source}: weight {name!r} {shape} is missing")
        if (found := self.shape(name)) != shape:
            raise CheckpointError(f"{self.source}: weight {name!r} has shape {found}, config.json asks for {shape}")

    def shape(self, name: str) -> tuple[int, ...]:
        """A tensor's shape, without reading it."""
        return self._tensors[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        """The dtype that ``weights[name]`` will have, without reading it."""
        return self._tensors[name].dtype()

    def bits(self, name: str) -> npt.NDArray[Any]:
        """The values of one tensor as they are stored; bfloat16, which numpy has not, as uint16 (`stored_as` tells).

        A transposed bfloat16 tensor of a pickle file comes as float32.
        """
        return self._tensors[name].bits()

    def rows(self, name: str, numbers: Sequence[int]) -> npt.NDArray[np.float32]:
        """Some rows of a tensor, as float32, without reading the others."""
        found = self.bits(name)[list(numbers)]
        if self.stored_as(name) == "BF16" and found.dtype == np.uint16:
            found = (found.astype(np.uint32) << 16).view(np.float32)
        return np.asarray(found, np.float32)

    def stored_as(self, name: str) -> str:
        """The element type in the file by its safetensors name, e.g. ``"BF16"``, without reading the tensor."""
        return self._tensors[name].kind


def read_tensors(path: Path) -> Weights:
    """The tensors of one weights file (``.safetensors``, ``.bin``, ``.pt``, ``.pth``), e.g. ``colbert_linear.pt``.

    Raises as `Weights.open` does, and `InvalidInputError` for another kind of file.
    """
    return Weights(_read_file(path), path)


def _read_named(path: Path) -> dict[str, StoredTensor]:
    return _read_sharded(path) if path.name.endswith(".index.json") else _read_file(path)


def _read_file(path: Path) -> dict[str, StoredTensor]:
    if path.suffix not in _SUFFIXES:
        raise InvalidInputError(f"{path}: weights are read from files ending in {', '.join(_SUFFIXES)}")
    if not path.is_file():
        raise ModelNotFoundError(f"{path}: no such file")
    return _read_safetensors(path) if path.suffix == ".safetensors" else read_checkpoint(path)


def _merge(parts: Iterable[Mapping[str, StoredTensor]]) -> dict[str, StoredTensor]:
    merged: dict[str, StoredTensor] = {}
    for part in parts:
        for name, tensor in part.items():
            if name in merged:
                raise CheckpointError(f"tensor {name} is both in {merged[name].file} and in {tensor.file}")
            merged[name] = tensor
    return merged


def _nothing_found(folder: Path) -> str:
    if not folder.is_dir():
        return f"{folder}: no such folder"
    unread = sorted({str(path.relative_to(folder)) for pattern in _UNREAD for path in folder.glob(pattern)})
    message = f"{folder}: holds no weights; looked for {', '.join(_CANDIDATES)}"
    return f"{message}. Not read as weights: {', '.join(unread)}" if unread else message


def _read_sharded(index: Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint in several files, listed by its index; all parts must lie beside the index."""
    if not index.is_file():
        raise ModelNotFoundError(f"{index}: no such file")
    try:
        shard_of = json.loads(index.read_bytes())["weight_map"]
        shards = sorted(set(shard_of.values()))
        plain = all(type(shard) is str and Path(shard).name == shard for shard in shards)
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{index}: no 'weight_map' of tensor names and file names: {error}") from error
    if not plain:  # a path would let an index reach files outside the checkpoint
        raise CheckpointError(f"{index}: 'weight_map' may name files beside it only, not {shards[:4]}")
    missing = [shard for shard in shards if not (index.parent / shard).is_file()]
    if missing:
        raise ModelNotFoundError(
            f"{index.parent}: {len(missing)} of {len(shards)} weight files are missing: {', '.join(missing)}"
        )
    tensors = _merge(_read_file(index.parent / shard) for shard in shards)
    for name, shard in shard_of.items():
        if name not in tensors or tensors[name].file.name != shard:
            raise CheckpointError(f"{index}: tensor {name} should be in {shard} and is not")
    return tensors


# safetensors' own numpy reader is not as good: it fails on bfloat16 ("data type 'bfloat16' not understood"), copies
# every tensor, and says only that a header is invalid where a user needs to hear that a download was cut short.


def _read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Check a safetensors file's header against the file and give its tensors.

    The format: 8 bytes of header length, that many bytes of JSON, then the tensors without gap or overlap
    (https://huggingface.co/docs/safetensors).
    """
    data = map_file(path)
    length = struct.unpack("<Q", data[:8].tobytes())[0] if data.size >= 8 else _MAX_HEADER + 1
    if length > _MAX_HEADER:
        raise CheckpointError(f"{path}: is no safetensors file, it begins with {data[:8].tobytes()!r}")
    if 8 + length > data.size:
        raise CheckpointError(_cut_short(path, 8 + length, data.size, "at least "))
    try:
        header = json.loads(data[8 : 8 + length].tobytes(), object_pairs_hook=_unique)
        header.pop("__metadata__", None)
        entries = {name: _entry(row) for name, row in header.items()}
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path}: its safetensors header is damaged: {error}") from error
    _check_layout(path, entries, 8 + length, data.size)
    body = data[8 + length :]
    return {name: StoredTensor(path, kind, shape, body[a:b]) for name, (kind, shape, a, b) in entries.items()}


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):  # readers differ in which of the two they take
        raise ValueError("a name stands there twice")
    return found


_Entry = tuple[str, tuple[int, ...], int, int]  # element type, shape, first byte, byte after the last


def _entry(row: Any) -> _Entry:
    start, end = row["data_offsets"]
    shape = tuple(row["shape"])
    if type(row["dtype"]) is not str or any(type(number) is not int or number < 0 for number in (*shape, start, end)):
        raise ValueError("a dtype is no text, or a shape or an offset no whole number of at least 0")
    return row["dtype"], shape, start, end


def _check_layout(path: Path, entries: Mapping[str, _Entry], begin: int, size: int) -> None:
    expected = begin + max((end for *_, end in entries.values()), default=0)
    if expected > size:
        raise CheckpointError(_cut_short(path, expected, size))
    if expected < size:
        raise CheckpointError(f"{path}: has {size} bytes, {size - expected} more than its header accounts for")
    position = 0
    for name, (kind, shape, start, end) in sorted(entries.items(), key=lambda entry: entry[1][2:]):
        if start != position or end < start:
            raise CheckpointError(f"{path}: {name} takes bytes {start} to {end}, the tensor before ends at {position}")
        wanted = math.prod(shape) * DTYPES[kind].itemsize if kind in DTYPES else end - start
        if end - start != wanted:
            raise CheckpointError(f"{path}: {name}: shape {shape} of {kind} needs {wanted} bytes, it has {end - start}")
        position = end


def _cut_short(path: Path, expected: int, found: int, least: str = "") -> str:
    return f"{path}: is cut short: expected {least}{expected} bytes, found {found}; download it again"
