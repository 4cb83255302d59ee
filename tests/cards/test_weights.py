"""`Weights`: which files are read, that tensors come back as they were written, and that damage is named."""

from __future__ import annotations

import json
import mmap
import random
import struct
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import save_file

from lagotto.cards.stored import StoredTensor, release_pages
from lagotto.cards.weights import Weights, read_tensors
from lagotto.core.errors import (
    CheckpointError,
    InvalidInputError,
    LagottoError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from lagotto.core.memory import resident_bytes

Tensors = Mapping[str, npt.NDArray[Any]]
DTYPES = ["f8", "f4", "f2", "i8", "i4", "i2", "i1", "u8", "u4", "u2", "u1", "?"]


def some(value: float = 1) -> dict[str, npt.NDArray[Any]]:
    return {"a": np.full((2, 3), value, np.float32)}


def write_raw(path: Path, header: object, body: bytes = b"", length: int | None = None) -> Path:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + body)
    return path


def entry(start: int, end: int, shape: object = (1,), dtype: object = "F32") -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


def write_shards(folder: Path, shards: Mapping[str, Tensors], **changes: str) -> None:
    for name, tensors in shards.items():
        save_file(dict(tensors), folder / name)
    places = {key: name for name, tensors in shards.items() for key in tensors} | changes
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


# What is read.


def test_every_dtype_comes_back_as_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    tensors = {dtype: (rng.standard_normal((3, 4)) * 50).astype(dtype) for dtype in DTYPES}
    tensors |= {"scalar": np.array(2.5), "empty": np.zeros((0, 4), np.float32)}
    save_file(tensors, tmp_path / "model.safetensors")
    weights = Weights.open(tmp_path)
    assert set(weights) == set(tensors)
    assert len(weights) == len(tensors)
    for name, tensor in tensors.items():
        assert weights.shape(name) == tensor.shape
        assert weights.dtype(name) == weights[name].dtype == tensor.dtype
        assert weights[name].flags.aligned
        np.testing.assert_array_equal(weights[name], tensor)


def test_bfloat16_becomes_float32(tmp_path: Path) -> None:
    exact = np.array([0.0, -0.0, 1.0, -2.5, 3.0e38, 1e-40, np.inf, np.nan], np.float32)
    bits = (exact.view(np.uint32) >> 16).astype("<u2")
    write_raw(tmp_path / "model.safetensors", {"a": entry(0, 16, (8,), "BF16")}, bits.tobytes())
    weights = Weights.open(tmp_path)
    wanted = (bits.astype(np.uint32) << 16).view(np.float32)
    assert weights.dtype("a") == weights["a"].dtype == np.float32
    assert weights.stored_as("a") == "BF16"
    np.testing.assert_array_equal(weights["a"], wanted)
    assert weights["a"][3] == -2.5


def test_values_are_a_read_only_view_of_the_file(tmp_path: Path) -> None:
    save_file(some(), tmp_path / "model.safetensors")
    values = Weights.open(tmp_path)["a"]
    assert not values.flags.writeable
    base: object = values
    while getattr(base, "base", None) is not None:
        base = getattr(base, "base", None)
    assert isinstance(base, mmap.mmap)


def test_unaligned_tensors_are_aligned(tmp_path: Path) -> None:
    values = np.array([1.0, 2.0], "<f4")
    header = b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    assert len(header) % 4 != 0
    write_raw(tmp_path / "model.safetensors", header, values.tobytes())
    found = Weights.open(tmp_path)["a"]
    assert found.flags.aligned
    np.testing.assert_array_equal(found, values)


def test_nothing_is_read_before_it_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_file(some(), tmp_path / "model.safetensors")
    monkeypatch.setattr(StoredTensor, "read", lambda self: pytest.fail("read"))
    weights = Weights.open(tmp_path)
    assert "a" in weights
    assert "b" not in weights
    assert list(weights.keys()) == ["a"]
    assert (weights.shape("a"), weights.dtype("a")) == ((2, 3), np.dtype(np.float32))
    assert str(tmp_path) in repr(weights)


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    save_file(some(), tmp_path / "model.safetensors")
    weights = Weights.open(tmp_path)
    assert weights.get("b") is None
    with pytest.raises(KeyError):
        weights["b"]


# Which files.


def test_safetensors_come_before_pickles(tmp_path: Path) -> None:
    (tmp_path / "pytorch_model.bin").write_bytes(b"never opened")
    write_shards(tmp_path, {"x-1.safetensors": some(1)})
    assert Weights.open(tmp_path)["a"][0, 0] == 1
    save_file(some(2), tmp_path / "model.safetensors")
    assert Weights.open(tmp_path)["a"][0, 0] == 2


def test_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, {"x-1.safetensors": {"a": np.zeros(2)}, "x-2.safetensors": {"b": np.ones(3)}})
    weights = Weights.open(tmp_path)
    assert set(weights) == {"a", "b"}
    np.testing.assert_array_equal(weights["b"], np.ones(3))


def test_missing_shards_are_named(tmp_path: Path) -> None:
    write_shards(tmp_path, {"x-1.safetensors": some()}, b="x-2.safetensors", c="x-3.safetensors")
    with pytest.raises(ModelNotFoundError, match=r"2 of 3 .* missing: x-2\.safetensors, x-3\.safetensors"):
        Weights.open(tmp_path)


def test_a_tensor_that_is_not_in_its_shard(tmp_path: Path) -> None:
    write_shards(tmp_path, {"x-1.safetensors": some()}, b="x-1.safetensors")
    with pytest.raises(CheckpointError, match=r"tensor b should be in x-1\.safetensors"):
        Weights.open(tmp_path)


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    write_shards(tmp_path, {"x-1.safetensors": some(), "x-2.safetensors": some()}, b="x-1.safetensors")
    with pytest.raises(CheckpointError, match="tensor a is both in"):
        Weights.open(tmp_path, ["x-1.safetensors", "x-2.safetensors"])


@pytest.mark.parametrize("shard", ["../x.safetensors", "/etc/passwd", "a/b.safetensors"])
def test_an_index_reaches_no_other_folder(tmp_path: Path, shard: str) -> None:
    write_shards(tmp_path, {"x-1.safetensors": some()}, b=shard)
    with pytest.raises(CheckpointError, match="files beside it only"):
        Weights.open(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": []}}', "[" * 100000])
def test_a_damaged_index(tmp_path: Path, content: str) -> None:
    (tmp_path / "model.safetensors.index.json").write_text(content)
    with pytest.raises(CheckpointError, match="weight_map"):
        Weights.open(tmp_path)


def test_named_files_are_taken_together(tmp_path: Path) -> None:
    save_file({"a": np.zeros(1)}, tmp_path / "one.safetensors")
    (tmp_path / "head").mkdir()
    save_file({"b": np.ones(1)}, tmp_path / "head" / "model.safetensors")
    assert set(Weights.open(tmp_path, ["one.safetensors", "head/model.safetensors"])) == {"a", "b"}
    with pytest.raises(ModelNotFoundError, match=r"two\.safetensors: no such file"):
        Weights.open(tmp_path, ["two.safetensors"])


def test_no_weights(tmp_path: Path) -> None:
    with pytest.raises(
        ModelNotFoundError,
        match=r"looked for model\.safetensors, .*, model\.int8\.safetensors$",
    ):
        Weights.open(tmp_path)
    for name in ("tf_model.h5", "flax_model.msgpack", "onnx/model.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    with pytest.raises(ModelNotFoundError, match=r"Not read as weights: flax_model\.msgpack, onnx/model\.onnx, tf_mo"):
        Weights.open(tmp_path)
    with pytest.raises(ModelNotFoundError, match="no such folder"):
        Weights.open(tmp_path / "nowhere")


def test_read_tensors(tmp_path: Path) -> None:
    save_file(some(), tmp_path / "head.safetensors")
    assert list(read_tensors(tmp_path / "head.safetensors")) == ["a"]
    with pytest.raises(ModelNotFoundError, match=r"nothing\.pt: no such file"):
        read_tensors(tmp_path / "nothing.pt")
    with pytest.raises(InvalidInputError, match=r"\.safetensors, \.bin, \.pt, \.pth"):
        read_tensors(tmp_path / "model.onnx")


@pytest.mark.parametrize("name", ["pytorch_model.bin", "colbert_linear.pt"])
def test_torch_files(tmp_path: Path, name: str) -> None:
    torch = pytest.importorskip("torch")
    layer = torch.nn.Linear(3, 2)
    torch.save(layer.state_dict(), tmp_path / name)
    tensors = read_tensors(tmp_path / name)
    np.testing.assert_array_equal(tensors["weight"], layer.weight.detach().numpy())
    if name == "pytorch_model.bin":
        assert set(Weights.open(tmp_path)) == {"weight", "bias"}


def test_torch_shards(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model-1.bin")
    index = {"weight_map": {"a": "pytorch_model-1.bin"}}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    np.testing.assert_array_equal(Weights.open(tmp_path)["a"], [1, 1])


# Damage.


def test_a_file_cut_short_says_how_much_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(some(), path)
    whole = path.read_bytes()
    for size in range(1, len(whole)):
        path.unlink()
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"model\.safetensors") as caught:
            Weights.open(tmp_path)
        if size > 8:
            assert f"found {size}" in str(caught.value)
    assert f"expected {len(whole)} bytes" in str(caught.value)


F32 = {"a": entry(0, 4)}


@pytest.mark.parametrize(
    ("header", "body", "says"),
    [
        pytest.param(F32, b"\0" * 8, "4 more than its header accounts for", id="left-over bytes"),
        pytest.param({"a": entry(0, 4, (2,))}, b"\0" * 4, r"shape \(2,\) of F32 needs 8 bytes, it has 4", id="size"),
        pytest.param({"a": entry(4, 8)}, b"\0" * 8, "takes bytes 4 to 8", id="gap"),
        pytest.param({"a": entry(0, 4), "b": entry(2, 6)}, b"\0" * 6, "takes bytes 2 to 6", id="overlap"),
        pytest.param({"a": entry(0, 4), "b": entry(0, 4)}, b"\0" * 4, "takes bytes 0 to 4", id="same bytes"),
        pytest.param({"a": entry(0, 4), "b": entry(4, 0)}, b"\0" * 4, "takes bytes 4 to 0", id="backwards"),
        pytest.param({"a": entry(0, 1 << 40)}, b"\0" * 4, "expected 10", id="far outside"),
        pytest.param({"a": entry(-4, 0)}, b"", "header is damaged", id="negative offset"),
        pytest.param({"a": entry(0, 4, (-1, -1))}, b"\0" * 4, "header is damaged", id="negative shape"),
        pytest.param({"a": entry(0, 4, (1.0,))}, b"\0" * 4, "header is damaged", id="fractional shape"),
        pytest.param({"a": entry(0, 4, (True,))}, b"\0" * 4, "header is damaged", id="true for a number"),
        pytest.param({"a": entry(0, 4, 3)}, b"\0" * 4, "header is damaged", id="shape is no list"),
        pytest.param({"a": entry(0, 4, (1,), ["F32"])}, b"\0" * 4, "header is damaged", id="dtype is no text"),
        pytest.param({"a": entry(0, 0, (0, 1 << 60, 1 << 60))}, b"", "too large", id="empty and huge"),
        pytest.param({"a": {"dtype": "F32"}}, b"", "header is damaged", id="no offsets"),
        pytest.param({"a": 3}, b"", "header is damaged", id="no entry"),
        pytest.param([], b"", "header is damaged", id="a list"),
        pytest.param(b"{", b"", "header is damaged", id="no JSON"),
        pytest.param(b"\xff\xfe", b"", "header is damaged", id="no text"),
        pytest.param(b"[" * 100_000, b"", "header is damaged", id="deep"),
        pytest.param(b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],'
                     b'"data_offsets":[4,8]}}', b"\0" * 8, "a name stands there twice", id="a name twice"),
    ],
)  # fmt: skip
def test_crafted_headers(tmp_path: Path, header: object, body: bytes, says: str) -> None:
    write_raw(tmp_path / "model.safetensors", header, body)
    with pytest.raises(CheckpointError, match=says):
        Weights.open(tmp_path)


@pytest.mark.parametrize("length", [1 << 62, (1 << 64) - 1, 100_000_001])
def test_a_header_of_impossible_length(tmp_path: Path, length: int) -> None:
    write_raw(tmp_path / "model.safetensors", F32, b"\0" * 4, length)
    with pytest.raises(CheckpointError, match="is no safetensors file"):
        Weights.open(tmp_path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "git lfs pull"),
        (b"<!DOCTYPE html><html></html>", "is no safetensors file, it begins with b'<!DOCTYP'"),
    ],
)
def test_files_that_are_something_else(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointError, match=says):
        Weights.open(tmp_path)


def test_an_element_type_numpy_has_not(tmp_path: Path) -> None:
    header = {"a": entry(0, 4), "b": entry(4, 6, (2,), "F8_E4M3")}
    write_raw(tmp_path / "model.safetensors", header, b"\0" * 6)
    weights = Weights.open(tmp_path)
    assert weights["a"][0] == 0
    with pytest.raises(UnsupportedModelError, match=r"model\.safetensors.*F8_E4M3"):
        weights["b"]


def test_flipped_bytes_are_survived(tmp_path: Path) -> None:
    path, rng = tmp_path / "damaged.safetensors", random.Random(0)
    save_file(some() | {"b": np.zeros(3, np.int8)}, path)
    whole = path.read_bytes()
    for _ in range(1500):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged) - 27)] = rng.randrange(256)
        path.unlink()  # a mapped file must not be written over
        path.write_bytes(damaged)
        with suppress(LagottoError):  # any other exception fails the test
            dict(read_tensors(path))


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what a process holds is told exactly on Linux alone")
def test_what_was_read_can_be_released_and_read_again(tmp_path: Path) -> None:
    values = np.random.default_rng(0).standard_normal((2048, 2048)).astype(np.float32)
    save_file({"a": values, "b": values[:1]}, str(tmp_path / "model.safetensors"))
    weights = Weights.open(tmp_path)
    read = weights["a"]
    assert read.sum() == values.sum()
    before = resident_bytes()
    weights.release()
    assert before - resident_bytes() > 0.9 * values.nbytes
    assert np.array_equal(read, values)
    assert np.array_equal(weights["b"], values[:1])


def test_bytes_that_are_not_mapped_are_left_alone() -> None:
    data = np.ones(5, np.uint8)
    release_pages(data[1:])
    assert data.sum() == 5
