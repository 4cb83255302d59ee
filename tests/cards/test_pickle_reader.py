"""The pickle reader: what torch writes is read, what is not tensors is refused and never executed."""

from __future__ import annotations

import copyreg
import mmap
import pickle
import random
import struct
import time
import warnings
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from lagotto.cards import pickle_reader
from lagotto.cards.pickle_reader import read_checkpoint
from lagotto.core.errors import CheckpointError, LagottoError, UnsafeWeightsError, UnsupportedModelError

# A small assembler of pickle programs. Each function gives the instructions that push one value.


def text(value: str) -> bytes:
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value: int) -> bytes:
    encoded = pickle.encode_long(value)
    return b"\x8a" + bytes([len(encoded)]) + encoded


def tuple_of(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def named(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


def named_by_stack(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + tuple_of(*arguments) + b"R"


def dict_of(items: Mapping[str, bytes]) -> bytes:
    return b"}(" + b"".join(text(name) + value for name, value in items.items()) + b"u"


def storage(key: str = "0", kind: str = "FloatStorage", count: int = 6, view: bytes = b"") -> bytes:
    return tuple_of(text("storage"), named("torch", kind), text(key), text("cpu"), number(count), view) + b"Q"


EMPTY_ORDERED_DICT = call(named("collections", "OrderedDict"))


def tensor(
    store: bytes | None = None,
    offset: bytes = number(0),
    shape: tuple[int, ...] = (2, 3),
    strides: tuple[int, ...] = (3, 1),
) -> bytes:
    sizes, steps = (tuple_of(*map(number, numbers)) for numbers in (shape, strides))
    function = named("torch._utils", "_rebuild_tensor_v2")
    return call(function, store or storage(), offset, sizes, steps, b"\x89", EMPTY_ORDERED_DICT)


VALUES = np.arange(6, dtype="<f4")
BLOCKS = {"0": VALUES.tobytes()}
Writer = Callable[[Path, bytes], Path]


def write_zip(
    folder: Path,
    program: bytes,
    blocks: Mapping[str, bytes] = BLOCKS,
    *,
    compression: int = zipfile.ZIP_STORED,
    extra: Mapping[str, bytes] | None = None,
) -> Path:
    path = folder / "weights.bin"
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02" + program + b".")
        for name, content in (extra or {"archive/byteorder": b"little"}).items():
            archive.writestr(name, content)
        for key, block in blocks.items():
            archive.writestr(f"archive/data/{key}", block)
    return path


def write_legacy(folder: Path, program: bytes, blocks: Mapping[str, bytes] = BLOCKS, *, item: int = 4) -> Path:
    path = folder / "weights.bin"
    head = [0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True}]
    content = b"".join(pickle.dumps(value, 2) for value in head) + b"\x80\x02" + program + b"."
    content += pickle.dumps(list(blocks), 2)
    for block in blocks.values():
        content += struct.pack("<q", len(block) // item) + block
    path.write_bytes(content)
    return path


@pytest.fixture(params=[write_zip, write_legacy], ids=["zip", "legacy"])
def write(request: pytest.FixtureRequest) -> Writer:
    writer: Writer = request.param
    return writer


# What is read.


def test_reads_a_state_dict(tmp_path: Path, write: Writer) -> None:
    path = write(tmp_path, dict_of({"a": tensor(), "b": tensor(offset=number(2), shape=(4,), strides=(1,))}))
    tensors = read_checkpoint(path)
    assert list(tensors) == ["a", "b"]
    np.testing.assert_array_equal(tensors["a"].read(), VALUES.reshape(2, 3))
    np.testing.assert_array_equal(tensors["b"].read(), VALUES[2:])


def test_metadata_hung_on_the_ordered_dict_is_dropped(tmp_path: Path, write: Writer) -> None:
    # What Module.state_dict() pickles to: OrderedDict(), SETITEMS, then BUILD with {"_metadata": OrderedDict(...)}.
    body = EMPTY_ORDERED_DICT + b"(" + text("a") + tensor() + b"u" + dict_of({"_metadata": EMPTY_ORDERED_DICT}) + b"b"
    assert list(read_checkpoint(write(tmp_path, body))) == ["a"]


@pytest.mark.parametrize("wrapper", ["state_dict", "model"])
def test_opens_a_wrapper(tmp_path: Path, write: Writer, wrapper: str) -> None:
    body = dict_of({"epoch": number(3), wrapper: dict_of({"a": tensor(), "step": number(1)})})
    assert list(read_checkpoint(write(tmp_path, body))) == ["a"]


@pytest.mark.parametrize(
    ("shape", "strides"), [((3, 2), (1, 3)), ((2, 2), (4, 1)), ((1, 6), (99999999999999999999, 1)), ((), ())]
)
def test_strides(tmp_path: Path, write: Writer, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    values = read_checkpoint(write(tmp_path, dict_of({"a": tensor(shape=shape, strides=strides)})))["a"].read()
    steps = [4 * step if size > 1 else 0 for size, step in zip(shape, strides, strict=True)]
    np.testing.assert_array_equal(values, np.lib.stride_tricks.as_strided(VALUES, shape, steps))
    assert values.shape == shape
    assert values.flags.c_contiguous
    assert values.flags.aligned


def test_empty_tensor(tmp_path: Path, write: Writer) -> None:
    tensors = read_checkpoint(write(tmp_path, dict_of({"a": tensor(shape=(0, 4), strides=(4, 1))})))
    assert tensors["a"].read().shape == (0, 4)


def test_window_of_a_storage_from_before_torch_0_4(tmp_path: Path) -> None:
    window = storage(view=tuple_of(text("1"), number(2), number(3)))
    tensors = read_checkpoint(write_legacy(tmp_path, dict_of({"a": tensor(window, shape=(3,), strides=(1,))})))
    np.testing.assert_array_equal(tensors["a"].read(), [2, 3, 4])


def test_parameters_and_protocol_4_names(tmp_path: Path, write: Writer) -> None:
    body = dict_of(
        {"a": call(named_by_stack("torch._utils", "_rebuild_parameter"), tensor(), b"\x88", EMPTY_ORDERED_DICT)}
    )
    np.testing.assert_array_equal(read_checkpoint(write(tmp_path, body))["a"].read(), VALUES.reshape(2, 3))


def test_values_are_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    # At an aligned place, as torch writes; the padding entry moves the storage there.
    for padding in range(4):
        path = write_zip(tmp_path, dict_of({"a": tensor()}), extra={"archive/padding": b" " * padding})
        values = read_checkpoint(path)["a"].read()
        base: object = values
        while getattr(base, "base", None) is not None:
            base = getattr(base, "base", None)
        if isinstance(base, mmap.mmap):
            assert not values.flags.writeable
            return
    pytest.fail("never a view")


# Everything else is refused. Each program but the last few would create the file, if something executed it.


def attacks(sentinel: Path) -> dict[str, bytes]:
    opens = tuple_of(text(str(sentinel)), text("w"))
    touch = text(f"open({str(sentinel)!r}, 'w')")
    open_call = named("builtins", "open") + opens + b"R"
    ordered, anything = named("collections", "OrderedDict"), named("builtins", "object")
    return {
        "builtins.open": open_call,
        "builtins.eval": call(named("builtins", "eval"), touch),
        "os.system": call(named("os", "system"), text(f"echo > {sentinel}")),
        "builtins.exec": call(named_by_stack("builtins", "exec"), touch),
        "builtins.open in a dict": dict_of({"a": tensor(), "b": open_call}),
        "builtins.open in BUILD": EMPTY_ORDERED_DICT + dict_of({"_metadata": open_call}) + b"b",
        "builtins.open in a call": dict_of({"a": call(named("torch._utils", "_rebuild_tensor_v2"), open_call)}),
        "builtins.open in INST": b"(" + text(str(sentinel)) + text("w") + b"ibuiltins\nopen\n",
        "builtins.open in OBJ": b"(" + named("builtins", "open") + text(str(sentinel)) + text("w") + b"o",
        "collections.OrderedDict in INST": b"(icollections\nOrderedDict\n",
        "NEWOBJ of builtins.object": anything + b")\x81",
        "OBJ": b"(" + ordered + b"o",
        "NEWOBJ": ordered + b")\x81",
        "NEWOBJ_EX": ordered + b")}\x92",
        "copyreg._reconstructor": call(named("copyreg", "_reconstructor"), anything, anything, b"N"),
        "builtins.getattr": call(named("builtins", "getattr"), ordered, text("__class__")),
        "collections.OrderedDict.__class__": call(named_by_stack("collections", "OrderedDict.__class__"), text("x")),
        "torch._utils.os.system": call(named_by_stack("torch._utils", "os.system"), text("x")),
        "torch.load": call(named("torch", "load"), text("x")),
        "torch.storage._load_from_bytes": call(named("torch.storage", "_load_from_bytes"), b"C\x01x"),
        "no text": number(1) + number(2) + b"\x93",
        "EXT1": b"\x82\xf0" + opens + b"R",
        "EXT2": b"\x83\xf0\x00" + opens + b"R",
        "EXT4": b"\x84\xf0\x00\x00\x00" + opens + b"R",
        "BUILD of a tensor": tensor() + dict_of({"__class__": number(1)}) + b"b",
        "sets the state": named("torch", "float32") + b"}b",
        "calls something": call(text("os.system"), text("x")),
        "calls a dtype": call(named("torch", "float32"), text("x")),
        "no storage": tuple_of(text("module"), named("torch", "FloatStorage"), text("0"), text("x"), number(1)) + b"Q",
        "no storage, a number": number(7) + b"Q",
        "no storage, a call": tuple_of(text("storage"), ordered, text("0"), text("cpu"), number(1)) + b"Q",
        "PERSID": b"Pos.system\n",
        "EMPTY_SET": b"\x8f",
    }


NAMES = list(attacks(Path("sentinel")))


@pytest.mark.parametrize("attack", NAMES)
def test_refuses_without_executing(tmp_path: Path, write: Writer, attack: str) -> None:
    sentinel = tmp_path / "executed"
    with pytest.raises(UnsafeWeightsError) as caught:
        read_checkpoint(write(tmp_path, attacks(sentinel)[attack]))
    assert not sentinel.exists()
    assert "weights.bin" in str(caught.value)
    assert "safetensors" in str(caught.value)
    if attack.count(".") and attack[0].islower():
        assert attack.split(" ")[0] in str(caught.value)


@pytest.mark.parametrize(
    "attack", [name for name in NAMES if name.startswith(("builtins.open", "builtins.e", "os")) and " a " not in name]
)
def test_the_attacks_are_real(tmp_path: Path, attack: str) -> None:
    sentinel = tmp_path / "executed"
    with warnings.catch_warnings(action="ignore"):  # of a file left open
        pickle.loads(b"\x80\x04" + attacks(sentinel)[attack] + b".")
    assert sentinel.exists()


def test_the_extension_registry_is_not_consulted(tmp_path: Path, write: Writer) -> None:
    copyreg.add_extension("builtins", "open", 0xF0)
    try:
        live = tmp_path / "live"
        # Fills the cache that the C unpickler serves the extension from without asking find_class.
        pickle.loads(b"\x80\x02" + attacks(live)["EXT1"] + b".").close()
        assert live.exists()
        for attack in ("EXT1", "EXT2", "EXT4"):
            sentinel = tmp_path / "executed"
            with pytest.raises(UnsafeWeightsError, match=attack):
                read_checkpoint(write(tmp_path, attacks(sentinel)[attack]))
            assert not sentinel.exists()
    finally:
        copyreg.remove_extension("builtins", "open", 0xF0)


def test_a_plain_pickle_of_objects_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(pickle.dumps({"a": np.zeros(3)}))
    with pytest.raises(UnsafeWeightsError, match=r"numpy.*multiarray"):
        read_checkpoint(path)


# Tensors stay inside their storages.


@pytest.mark.parametrize(
    "crafted",
    [
        pytest.param(tensor(offset=number(1)), id="offset too large"),
        pytest.param(tensor(offset=number(1 << 70)), id="offset huge"),
        pytest.param(tensor(offset=number(-1)), id="offset negative"),
        pytest.param(tensor(offset=b"\x88"), id="offset True"),
        pytest.param(tensor(offset=b"G?\xf0\0\0\0\0\0\0"), id="offset 1.0"),
        pytest.param(tensor(shape=(3, 3)), id="shape too large"),
        pytest.param(tensor(shape=(-2, 3)), id="shape negative"),
        pytest.param(tensor(shape=(2, 3), strides=(4, 1)), id="stride too large"),
        pytest.param(tensor(shape=(2, 3), strides=(-3, 1)), id="stride negative"),
        pytest.param(tensor(shape=(2, 3), strides=(1,)), id="strides too few"),
        pytest.param(tensor(shape=(1 << 40, 3), strides=(0, 1)), id="expanded without end"),
        pytest.param(tensor(shape=(0, 1 << 62, 1 << 62), strides=(1, 1, 1)), id="empty and huge"),
        pytest.param(tensor(shape=(1,) * 33, strides=(1,) * 33), id="33 dimensions"),
        pytest.param(tensor(storage(count=7)), id="storage longer than its bytes"),
        pytest.param(tensor(storage(kind="DoubleStorage")), id="storage of wider elements"),
        pytest.param(tensor(storage(count=-1)), id="storage of negative length"),
        pytest.param(tensor(storage(key="1")), id="no such storage"),
        pytest.param(tensor(storage(key="../../../etc/passwd")), id="storage elsewhere"),
        pytest.param(tensor(storage(view=tuple_of(text("1"), number(4), number(3)))), id="window too long"),
        pytest.param(tensor(text("0")), id="no storage"),
        pytest.param(call(named("torch._utils", "_rebuild_tensor_v2"), storage()), id="arguments missing"),
        pytest.param(call(named("torch._utils", "_rebuild_parameter")), id="no arguments"),
        pytest.param(call(named("collections", "OrderedDict"), b"]"), id="OrderedDict of pairs"),
    ],
)
def test_crafted_tensors(tmp_path: Path, write: Writer, crafted: bytes) -> None:
    with pytest.raises(CheckpointError, match=r"weights\.bin"):
        read_checkpoint(write(tmp_path, dict_of({"a": crafted})))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"}", id="an empty dict"),
        pytest.param(tensor(), id="a tensor without a name"),
        pytest.param(b"]" + tensor() + b"a", id="a list of tensors"),
        pytest.param(b"}" + number(0) + tensor() + b"s", id="a number for a name"),
        pytest.param(dict_of({"a": tensor(), "b": dict_of({"c": tensor()})}), id="tensors at two depths"),
        pytest.param(b"h\x05", id="a memo that is not there"),
        pytest.param(b"t", id="no mark"),
        pytest.param(b"}" + text("a") + b"a", id="append to a dict"),
        pytest.param(b"](" + text("a") + tensor() + b"u", id="items set on a list"),
        pytest.param(b"}(" + text("a") + b"u", id="a name without a value"),
        pytest.param(b"\xff", id="no instruction"),
    ],
)
def test_what_is_no_state_dict(tmp_path: Path, write: Writer, body: bytes) -> None:
    with pytest.raises(CheckpointError, match="not a readable torch checkpoint"):
        read_checkpoint(write(tmp_path, body))


def test_a_tuple_that_unfolds_without_end_takes_no_time(tmp_path: Path, write: Writer) -> None:
    bomb = b")" + b"2\x86".replace(b"2", b"q\x00h\x00") * 200  # t = (t, t), 200 times
    for body in (b"}" + bomb + b"Ns", dict_of({"a": tensor(offset=bomb)}), bomb + b"Q", bomb + bomb + b"\x93"):
        start = time.monotonic()
        with pytest.raises(CheckpointError):
            read_checkpoint(write(tmp_path, body))
        assert time.monotonic() - start < 5


def test_too_many_instructions(tmp_path: Path, write: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_reader, "_MAX_INSTRUCTIONS", 50)
    with pytest.raises(CheckpointError, match="more than 50 instructions"):
        read_checkpoint(write(tmp_path, b"]" * 100))


# Containers.


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path, dict_of({"a": tensor()}), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(CheckpointError, match="compressed"):
        read_checkpoint(path)


def test_a_large_program_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_reader, "MAX_PROGRAM_BYTES", 64)
    with pytest.raises(CheckpointError, match="larger than"):
        read_checkpoint(write_zip(tmp_path, dict_of({"a": tensor()})))


def test_big_endian_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="big-endian"):
        read_checkpoint(write_zip(tmp_path, dict_of({"a": tensor()}), extra={"archive/byteorder": b"big"}))


def test_two_programs_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="2 files named"):
        read_checkpoint(write_zip(tmp_path, dict_of({"a": tensor()}), extra={"other/data.pkl": b"N."}))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "not a readable torch checkpoint"),
        (pickle.dumps(7, 2), "neither a zip archive nor"),
        (b"PK\x03\x04" + b"\0" * 100, "not a readable torch checkpoint"),
    ],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        read_checkpoint(path)


def test_every_cut_and_many_flips_are_survived(tmp_path: Path, write: Writer) -> None:
    whole = write(tmp_path, dict_of({"a": tensor(), "b": tensor(shape=(3,), strides=(2,))})).read_bytes()
    path, rng = tmp_path / "damaged.bin", random.Random(0)

    def read(content: bytes) -> bool:
        path.unlink(missing_ok=True)  # a mapped file must not be written over
        path.write_bytes(content)
        try:
            with warnings.catch_warnings(action="ignore"):
                for stored in read_checkpoint(path).values():
                    stored.read()
        except LagottoError:
            return False
        return True

    assert read(whole)
    assert not any(read(whole[:size]) for size in range(len(whole)))
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 4)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        read(bytes(damaged))


# The real thing.


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("as_zip", [True, False], ids=["zip", "legacy"])
def test_what_torch_writes(tmp_path: Path, protocol: int, as_zip: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.TransformerEncoderLayer(8, 2)
    state = module.state_dict()
    state |= {
        "bf16": torch.randn(3, 5).bfloat16(),
        "half": torch.randn(4).half(),
        "double": torch.randn(4).double(),
        "transposed": torch.randn(6, 4).t(),
        "sliced": torch.arange(100)[10:40:3],
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5),
        "position_ids": torch.arange(8).expand(1, -1),
        "empty": torch.empty(0, 4),
        "bytes": torch.tensor([0, 255], dtype=torch.uint8),
        "parameter": torch.nn.Parameter(torch.randn(2, 2)),
        "tied": state["linear1.weight"],
    }
    if as_zip:
        state["wide"] = torch.tensor([1, 65535], dtype=torch.uint16)  # by _rebuild_tensor_v3
    path = tmp_path / "model.pt"
    torch.save(state, path, _use_new_zipfile_serialization=as_zip, pickle_protocol=protocol)
    found = read_checkpoint(path)
    assert set(found) == set(state)
    for name, value in state.items():
        plain = value.detach()
        wanted = (plain.float() if plain.dtype == torch.bfloat16 else plain).numpy()
        values = found[name].read()
        assert (values.dtype, values.shape) == (wanted.dtype, wanted.shape) == (found[name].dtype(), found[name].shape)
        np.testing.assert_array_equal(values, wanted)


def test_a_pickled_module_is_refused(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    with pytest.raises(UnsafeWeightsError, match=r"torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "module.pt")


def test_element_types_numpy_has_not(tmp_path: Path) -> None:
    data = np.zeros(2, np.uint8)
    stored = pickle_reader.StoredTensor(tmp_path / "x.safetensors", "F8_E4M3", (2,), data)
    for attempt in (stored.read, stored.dtype):
        with pytest.raises(UnsupportedModelError, match="F8_E4M3"):
            attempt()
