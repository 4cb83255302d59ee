"""Read PyTorch pickle checkpoints (``.bin``, ``.pt``) without executing anything they hold.

A pickle is a small program, and Python's own unpickler runs whatever that program names. Here the program is
interpreted by `_Machine`, which knows the few instructions that a dict of tensors needs and nothing else: it imports no
module, calls no constructor and sets no attribute. Subclassing `pickle.Unpickler` would not go as far: its C version
serves the EXT instructions from a process-wide cache without asking ``find_class``, makes objects by NEWOBJ, runs
``__setstate__`` by BUILD, and sizes its memo table by a number in the file.

Both containers are read, each memory-mapped: the zip archive of torch >= 1.6 (``<root>/data.pkl`` beside
``<root>/data/<key>``) and the older stream of five pickles followed by the storages.
Source of the formats: ``torch/serialization.py`` and ``torch/_utils.py`` of PyTorch 2.13.
"""

from __future__ import annotations

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from lagotto.cards.stored import DTYPES, Bytes, StoredTensor, map_file
from lagotto.core.errors import CheckpointError, UnsafeWeightsError

MAX_PROGRAM_BYTES: Final = 64 << 20
_MAX_INSTRUCTIONS: Final = 5_000_000  # some 80,000 tensors; an endless list of empty objects would fill memory
_ZIP_MAGIC: Final = b"PK\x03\x04"
_LEGACY_MAGIC: Final = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL: Final = 1001
_WRAPPERS: Final = ("state_dict", "model")
_DAMAGE: Final = (ValueError, TypeError, LookupError, OverflowError, EOFError, struct.error, RecursionError)


def read_checkpoint(path: Path) -> dict[str, StoredTensor]:
    """The tensors of one torch checkpoint by name; a dict under ``state_dict`` or ``model`` is opened too.

    Raises `UnsafeWeightsError` if the pickle asks for anything but tensors and plain containers, and `CheckpointError`
    if the file is damaged, is no torch checkpoint, or a tensor reaches outside its storage.
    """
    data = map_file(path)
    try:
        if data[:4].tobytes() == _ZIP_MAGIC:
            tree, storages = _read_zip(path, data)
        else:
            tree, storages = _read_legacy(path, data)
        named = _named_tensors(tree)
    except (*_DAMAGE, zipfile.BadZipFile, NotImplementedError) as error:
        # Only the messages written below are ValueErrors of use to a reader; the rest is what damaged bytes lead to.
        reason = error if isinstance(error, ValueError) else f"its pickle is damaged ({type(error).__name__}: {error})"
        raise CheckpointError(f"{path}: not a readable torch checkpoint: {reason}") from error
    return {name: _place(tensor, storages, path, name) for name, tensor in named.items()}


# Stand-ins for the objects that a pickle may name.


@dataclass(frozen=True, slots=True)
class _Kind:
    """A storage class or a dtype."""

    name: str


@dataclass(frozen=True, slots=True, eq=False)
class _Storage:
    """A run of `count` elements, from element `first` of the stored block `key` on."""

    key: str
    kind: str
    count: int
    first: int
    block_count: int


@dataclass(frozen=True, slots=True, eq=False)
class _Tensor:
    storage: _Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class _Call:
    """A function that REDUCE may apply; `apply` is ours and only ever builds a stand-in."""

    apply: Callable[[tuple[Any, ...]], object]


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("something other than a number where a size or an offset belongs")
    return value


def _counts(value: object) -> tuple[int, ...]:
    if not isinstance(value, tuple | list) or len(value) > 32:
        raise ValueError("a tensor's shape or strides are not a list of at most 32 numbers")
    return tuple(_count(item) for item in value)


def _tensor(args: tuple[Any, ...], kind: object = None) -> _Tensor:
    storage, offset, shape, strides = args[:4]
    if not isinstance(storage, _Storage):
        raise ValueError("a tensor without a storage")
    tensor = _Tensor(storage, storage.kind, _count(offset), _counts(shape), _counts(strides))
    if len(tensor.shape) != len(tensor.strides):
        raise ValueError(f"a tensor of shape {tensor.shape} with strides {tensor.strides}")
    if kind is None:
        return tensor
    if not isinstance(kind, _Kind):
        raise ValueError("a tensor whose dtype is no dtype")
    return _Tensor(storage, kind.name, tensor.offset, tensor.shape, tensor.strides)


def _ordered_dict(args: tuple[Any, ...]) -> dict[object, object]:
    if args:  # SETITEMS fills it; copying the same long list of pairs again and again could fill memory
        raise ValueError("an OrderedDict made of a list of pairs")
    return {}


def _set_item(target: object, key: object, value: object) -> None:
    # Only keys that hash at once: hashing a tuple of tuples of tuples ... may take for ever.
    if type(target) is not dict or type(key) not in (str, int):
        raise ValueError("an item set on something that is no dict, or under a key that is no name")
    target[key] = value


_STORAGES: Final = {
    "Double": "F64", "Float": "F32", "Half": "F16", "BFloat16": "BF16", "Long": "I64", "Int": "I32", "Short": "I16",
    "Char": "I8", "Byte": "U8", "Bool": "BOOL",
}  # fmt: skip
_TORCH_DTYPES: Final = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64", "int32": "I32",
    "int16": "I16", "int8": "I8", "uint64": "U64", "uint32": "U32", "uint16": "U16", "uint8": "U8", "bool": "BOOL",
}  # fmt: skip
_IGNORED_CALL: Final = _Call(lambda args: None)

_ALLOWED: Final[Mapping[tuple[str, str], object]] = {
    ("collections", "OrderedDict"): _Call(_ordered_dict),
    ("torch", "Size"): _Call(lambda args: _counts(args[0])),
    ("torch", "device"): _IGNORED_CALL,
    ("torch.serialization", "_get_layout"): _IGNORED_CALL,
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v3"): _Call(lambda args: _tensor(args, args[6])),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda args: args[0]),
    ("torch._utils", "_rebuild_parameter_with_state"): _Call(lambda args: args[0]),
    ("torch.storage", "UntypedStorage"): _Kind("U8"),
    **{("torch", f"{name}Storage"): _Kind(kind) for name, kind in _STORAGES.items()},
    **{("torch", name): _Kind(kind) for name, kind in _TORCH_DTYPES.items()},
}

_LITERALS: Final = frozenset(
    ("BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
     "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8")
)  # fmt: skip
_CONSTANTS: Final[Mapping[str, object]] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}


class _Machine:
    """A pickle machine whose instructions can build dicts, lists, tuples, plain values and the stand-ins above."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.below_mark: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.storages: list[_Storage] = []

    def run(self, program: IO[bytes]) -> object:
        """Interpret one pickle, up to and including its STOP, and give the object it builds."""
        for number, (opcode, argument, _) in enumerate(pickletools.genops(program)):
            if number > _MAX_INSTRUCTIONS:
                raise ValueError(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions")
            if opcode.name == "STOP":
                return self.stack.pop()
            self._step(opcode.name, argument)
        raise ValueError("its pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        if name in _LITERALS:
            self.stack.append(argument)
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in ("BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self.memo[argument] = self.stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name == "GLOBAL":
            self._name(*argument.split(" ", 1))
        elif name == "INST":
            raise self._unsafe(f"makes an instance of {argument.replace(' ', '.'):.200}")
        elif name not in ("PROTO", "FRAME"):
            handler = _HANDLERS.get(name)
            if handler is None:
                raise self._unsafe(f"uses the pickle instruction {name}, which no dict of tensors needs")
            handler(self)

    def _name(self, module: object, name: object) -> None:
        if type(module) is not str or type(name) is not str:
            raise self._unsafe("asks for something by a name that is no text")
        # One exact look-up in a fixed table: no import, and a dotted name such as "OrderedDict.__class__" is not in it.
        if (module, name) not in _ALLOWED:
            raise self._unsafe(f"asks for {module:.200}.{name:.200}")
        self.stack.append(_ALLOWED[module, name])

    def _unsafe(self, what: str) -> UnsafeWeightsError:
        return UnsafeWeightsError(
            f"{self.path}: its pickle {what}; nothing was executed. Only tensors are read from pickle files: use the "
            "model's safetensors file, or convert this one to safetensors where you trust its source"
        )

    def above_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below_mark.pop()
        return items

    def mark(self) -> None:
        self.below_mark.append(self.stack)
        self.stack = []

    def stack_global(self) -> None:
        self._name(*self.pop(2))

    def reduce(self) -> None:
        function, arguments = self.pop(2)
        if not isinstance(function, _Call) or not isinstance(arguments, tuple):
            raise self._unsafe("calls something that is no function of the fixed list")
        self.stack.append(function.apply(arguments))

    def build(self) -> None:
        # torch hangs `_metadata` on the OrderedDict of a state dict; it is of no use here and is dropped.
        self.stack.pop()
        if type(self.stack[-1]) is not dict:
            raise self._unsafe("sets the state of something that is no dict")

    def persistent_id(self) -> None:
        identity = self.stack.pop()
        if type(identity) is not tuple or len(identity) < 5:
            raise self._unsafe("refers to an outside object that is no storage")
        tag, kind, key, _, count, *view = identity
        if tag != "storage" or not isinstance(kind, _Kind) or not isinstance(key, str):
            raise self._unsafe("refers to an outside object that is no storage")
        total = _count(count)
        first, length = 0, total
        if view and view[0] is not None:  # (key, offset, size): a window, written by torch before 0.4
            first, length = _count(view[0][1]), _count(view[0][2])
        self.storages.append(_Storage(key, kind.name, length, first, total))
        self.stack.append(self.storages[-1])

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("an item appended to something that is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            _set_item(self.stack[-1], key, value)

    def push_tuple(self, items: list[Any]) -> None:
        self.stack.append(tuple(items))

    def pop(self, count: int) -> list[Any]:
        return [self.stack.pop() for _ in range(count)][::-1]


_HANDLERS: Final[Mapping[str, Callable[[_Machine], None]]] = {
    "MARK": _Machine.mark,
    "EMPTY_DICT": lambda machine: machine.stack.append({}),
    "EMPTY_LIST": lambda machine: machine.stack.append([]),
    "TUPLE": lambda machine: machine.push_tuple(machine.above_mark()),
    "TUPLE1": lambda machine: machine.push_tuple(machine.pop(1)),
    "TUPLE2": lambda machine: machine.push_tuple(machine.pop(2)),
    "TUPLE3": lambda machine: machine.push_tuple(machine.pop(3)),
    "APPEND": lambda machine: machine.append(machine.pop(1)),
    "APPENDS": lambda machine: machine.append(machine.above_mark()),
    "SETITEM": lambda machine: machine.set_items(machine.pop(2)),
    "SETITEMS": lambda machine: machine.set_items(machine.above_mark()),
    "STACK_GLOBAL": _Machine.stack_global,
    "REDUCE": _Machine.reduce,
    "BUILD": _Machine.build,
    "BINPERSID": _Machine.persistent_id,
}


def _read_zip(path: Path, data: Bytes) -> tuple[object, Mapping[str, Bytes]]:
    with zipfile.ZipFile(path) as archive:
        entries = {entry.filename: entry for entry in archive.infolist()}
    programs = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(programs) != 1:
        raise ValueError(f"a zip archive with {len(programs)} files named <root>/data.pkl; torch.save writes one")
    root = programs[0].removesuffix("data.pkl")
    order = entries.get(root + "byteorder")
    if order is not None and _entry_bytes(data, order)[:16].tobytes() != b"little":
        raise ValueError("written on a big-endian machine; save it again on a little-endian one")
    if entries[programs[0]].file_size > MAX_PROGRAM_BYTES:
        raise ValueError(f"its data.pkl is larger than {MAX_PROGRAM_BYTES >> 20} MiB")
    machine = _Machine(path)
    tree = machine.run(io.BytesIO(_entry_bytes(data, entries[programs[0]]).tobytes()))
    places = {storage.key: entries.get(f"{root}data/{storage.key}") for storage in machine.storages}
    return tree, {key: _entry_bytes(data, entry) for key, entry in places.items() if entry is not None}


def _entry_bytes(data: Bytes, entry: zipfile.ZipInfo) -> Bytes:
    # Mapped, not unpacked: torch stores every entry as it is, so a compressed one is a zip bomb or no torch file. The
    # CRC is not compared, since torch can be told to leave it out.
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
        raise ValueError(f"entry {entry.filename!r:.200} is compressed or encrypted; torch.save does neither")
    header = data[entry.header_offset : entry.header_offset + 30].tobytes()
    magic, name_length, extra_length = struct.unpack("<4s22xHH", header)
    start = entry.header_offset + len(header) + name_length + extra_length
    if magic != _ZIP_MAGIC or start + entry.file_size > data.size:
        raise ValueError(f"entry {entry.filename!r:.200} reaches outside the file, which has {data.size} bytes")
    return data[start : start + entry.file_size]


def _read_legacy(path: Path, data: Bytes) -> tuple[object, Mapping[str, Bytes]]:
    head = io.BytesIO(data[:MAX_PROGRAM_BYTES].tobytes())
    if _Machine(path).run(head) != _LEGACY_MAGIC or _Machine(path).run(head) != _LEGACY_PROTOCOL:
        raise ValueError("neither a zip archive nor torch's older format")
    system = _Machine(path).run(head)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise ValueError("not written on a little-endian machine; save it again on one")
    machine = _Machine(path)
    tree, keys = machine.run(head), _Machine(path).run(head)
    if not isinstance(keys, list):
        raise ValueError("no list of storages follows its pickle")
    sizes = {storage.key: DTYPES[storage.kind].itemsize for storage in machine.storages}
    blocks, position = {}, head.tell()
    for key in keys:  # each block: its number of elements in 8 bytes, then the elements
        (count,) = struct.unpack("<q", data[position : position + 8].tobytes())
        end = position + 8 + _count(count) * sizes[key]
        if end > data.size:
            raise ValueError(f"it is cut short: expected at least {end} bytes, found {data.size}; download it again")
        blocks[key] = data[position + 8 : end]
        position = end
    return tree, blocks


def _named_tensors(tree: object) -> dict[str, _Tensor]:
    """The tensors of a state dict; numbers and texts beside them (an epoch, a version) are not weights."""
    layer = tree if isinstance(tree, dict) else {}
    if not _has_tensors(layer):
        layer = next((layer[key] for key in _WRAPPERS if _has_tensors(layer.get(key))), {})
    if not layer:
        raise ValueError(f"it holds no named tensors, neither at its top nor under {' or '.join(_WRAPPERS)}")
    for name, value in layer.items():
        if type(name) is not str or _has_tensors(value):
            raise ValueError(f"{name!r:.200} is no tensor's name or holds more tensors; save one flat state dict")
    return {name: value for name, value in layer.items() if isinstance(value, _Tensor)}


def _has_tensors(value: object) -> bool:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    return any(isinstance(item, _Tensor) for item in items)


def _place(tensor: _Tensor, blocks: Mapping[str, Bytes], path: Path, name: str) -> StoredTensor:
    """Find a tensor's bytes in its storage. Raises `CheckpointError` if any element would lie outside it."""
    storage, item = tensor.storage, DTYPES[tensor.kind].itemsize
    if storage.key not in blocks:
        raise CheckpointError(f"{path}: {name}: storage {storage.key:.200} is missing from the file")
    block, unit = blocks[storage.key], DTYPES[storage.kind].itemsize
    if storage.block_count * unit > block.size or storage.first + storage.count > storage.block_count:
        raise CheckpointError(
            f"{path}: {name}: storage {storage.key} should have {storage.block_count * unit} bytes, it has {block.size}"
        )
    window = block[storage.first * unit : (storage.first + storage.count) * unit]
    elements, available = math.prod(tensor.shape), window.size // item
    if elements == 0:
        return StoredTensor(path, tensor.kind, tensor.shape, window[:0])
    steps = tuple(step if size > 1 else 0 for size, step in zip(tensor.shape, tensor.strides, strict=True))
    reach = tensor.offset + 1 + sum((size - 1) * step for size, step in zip(tensor.shape, steps, strict=True))
    # More elements than the storage has would come of zero strides: a small file that unfolds without end.
    if reach > available or elements > available:
        raise CheckpointError(
            f"{path}: {name}: {elements} elements up to number {reach} of a storage that has {available}"
        )
    return StoredTensor(path, tensor.kind, tensor.shape, window[tensor.offset * item : reach * item], steps)
