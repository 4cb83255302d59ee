"""Fetching from hubs: a Hugging Face hub on localhost, asked by processes of their own, and a stand-in ModelScope."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lagotto.cards import hubs
from lagotto.core.errors import ConfigError, MissingDependencyError, ModelNotFoundError
from support.checkpoints import BERT, DenseLayer, encoder_tensors, write_embedder, write_weights
from support.hub import Hub, Repository, files_of, running_hub

_RESOLVE = """
import json, sys
from pathlib import Path
from lagotto import resolve
from lagotto.core.errors import LagottoError
answers = []
for name in json.loads(sys.argv[1]):
    try:
        folder = resolve(name, **json.loads(sys.argv[2]))
        files = sorted(p.relative_to(folder).as_posix() for p in Path(folder).rglob("*") if p.is_file())
        answers.append({"folder": str(folder), "files": files})
    except LagottoError as error:
        answers.append({"error": type(error).__name__, "message": str(error)})
print(json.dumps(answers))
"""
_ENCODE = """
import json, sys
from lagotto import Embedder
with Embedder(sys.argv[1], precision="f32", threads=1) as model:
    print(json.dumps([model.name, model.encode(["the dog", "a panda"]).dense.tolist()]))
"""
EXTRA = {"README.md": b"#", "onnx/model.onnx": b"o", "flax_model.msgpack": b"f", "tf_model.h5": b"t", "a.gguf": b"g"}
OFFLINE = {"HF_HUB_OFFLINE": "1"}
DOWN = Hub("http://127.0.0.1:9")  # the discard port: nobody listens


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the hub offers: a sentence-transformers folder with a Dense module."""
    return write_embedder(tmp_path_factory.mktemp("offered") / "model", BERT, dense=[DenseLayer()])


@pytest.fixture(scope="module")
def hub(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hub]:
    plain = files_of(folder)
    pickled = {name: content for name, content in plain.items() if name != "model.safetensors"}
    old = write_embedder(tmp_path_factory.mktemp("offered") / "old", BERT)
    changed = encoder_tensors(BERT)
    changed["embeddings.LayerNorm.bias"] += 1
    write_weights(old, changed)
    nested = files_of(write_embedder(tmp_path_factory.mktemp("offered") / "nested", BERT, transformer="0_Transformer"))
    int8 = {name: content for name, content in pickled.items() if not name.startswith("2_Dense")}
    int8 |= {"model.int8.safetensors": b"i", "quantization.json": b"{}"}
    with running_hub() as running:
        running.repositories = {
            "org/model": Repository({"main": {**plain, **EXTRA, "pytorch_model.bin": b"p"}, "v1": files_of(old)}),
            "org/pickled": Repository({"main": {**pickled, **EXTRA, "pytorch_model.bin": b"p"}}),
            "org/sharded": Repository({"main": {**pickled, **shards("model", "safetensors"), **EXTRA}}),
            "org/sharded-pickles": Repository({"main": {**pickled, **shards("pytorch_model", "bin"), **EXTRA}}),
            "org/nested": Repository({"main": nested}),
            "org/int8": Repository({"main": int8}),
            "org/gated": Repository({"main": plain}, gated=True),
            "org/private": Repository({"main": plain}, token="hf_secret"),
        }
        yield running


def shards(stem: str, suffix: str) -> dict[str, bytes]:
    names = [f"{stem}-0000{number}-of-00002.{suffix}" for number in (1, 2)]
    return {**dict.fromkeys(names, b"shard"), f"{stem}.{suffix}.index.json": b'{"weight_map": {}}'}


def environment(address: str, home: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.upper().endswith("_PROXY")}
    return kept | {
        "HF_ENDPOINT": address,
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "0",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "LAGOTTO_CACHE": str(home / "lagotto"),
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **more,
    }


def resolve(hub: Hub, home: Path, *names: str, options: dict[str, Any] | None = None, **more: str) -> list[Any]:
    """What ``lagotto.resolve`` answers in a process of its own, for each name."""
    command = [sys.executable, "-c", _RESOLVE, json.dumps(names), json.dumps(options or {})]
    done = subprocess.run(command, env=environment(hub.address, home, **more), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    answers: list[Any] = json.loads(done.stdout)
    return answers


def vectors(hub: Hub, home: Path, name: str, **more: str) -> tuple[str, list[list[float]]]:
    command = [sys.executable, "-c", _ENCODE, name]
    done = subprocess.run(command, env=environment(hub.address, home, **more), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    called, found = json.loads(done.stdout)
    return called, found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Hugging Face cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def fetched(hub: Hub, home: Path) -> dict[str, Any]:
    """Everything that can be fetched without a token, fetched by one process."""
    names = ["org/model", "org/model@v1", "org/pickled", "org/sharded", "org/sharded-pickles", "org/nested", "org/int8"]
    return dict(zip(names, resolve(hub, home, *names), strict=True))


def weights(files: Sequence[str]) -> list[str]:
    return [name for name in files if name.endswith((".safetensors", ".bin")) and "/" not in name]


def test_int8_weights_are_fetched_with_what_is_said_of_them(fetched: dict[str, Any]) -> None:
    files = fetched["org/int8"]["files"]
    assert weights(files) == ["model.int8.safetensors"]
    assert "quantization.json" in files


def test_the_files_a_model_needs_are_fetched_and_no_others(hub: Hub, folder: Path, fetched: dict[str, Any]) -> None:
    assert fetched["org/model"]["files"] == sorted(files_of(folder))
    assert not [path for path in hub.downloads("org/model") if path in EXTRA or path.endswith(".bin")]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("org/model", ["model.safetensors"]),
        ("org/pickled", ["pytorch_model.bin"]),
        ("org/sharded", ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]),
        ("org/sharded-pickles", ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]),
    ],
)
def test_safetensors_where_there_are_some_else_pickles(fetched: dict[str, Any], name: str, expected: list[str]) -> None:
    assert weights(fetched[name]["files"]) == expected


def test_nothing_is_fetched_twice(hub: Hub, fetched: dict[str, Any]) -> None:
    for name in ("org/pickled", "org/sharded", "org/nested"):
        assert name in fetched
        assert len(set(hub.downloads(name))) == len(hub.downloads(name))


def test_a_transformer_in_a_sub_folder_comes_with_its_tokenizer(fetched: dict[str, Any]) -> None:
    files = fetched["org/nested"]["files"]
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "sentence_bert_config.json",
                 "model.safetensors"):  # fmt: skip
        assert f"0_Transformer/{name}" in files


def test_a_pinned_revision_is_another_folder(hub: Hub, home: Path, fetched: dict[str, Any]) -> None:
    assert fetched["org/model@v1"]["folder"] != fetched["org/model"]["folder"]
    commit = hub.repositories["org/model"].commit("v1")
    by_commit, by_argument = (
        resolve(hub, home, name, options=options)[0]["folder"]
        for name, options in ((f"org/model@{commit}", {}), ("org/model", {"revision": "v1"}))
    )
    assert by_commit == by_argument == fetched["org/model@v1"]["folder"]


def test_a_fetched_model_opens_and_opens_again_without_a_connection(
    hub: Hub, home: Path, fetched: dict[str, Any], folder: Path
) -> None:
    assert fetched
    expected = vectors(hub, home, str(folder))[1]
    assert vectors(hub, home, "org/model") == ("org/model", expected)
    before = len(hub.requests)
    assert vectors(hub, home, "org/model", **OFFLINE) == ("org/model", expected)
    assert len(hub.requests) == before
    name, pinned = vectors(DOWN, home, "org/model@v1", **OFFLINE)
    assert name == "org/model@v1"
    assert pinned != expected


def test_offline_asks_nobody(hub: Hub, home: Path, fetched: dict[str, Any]) -> None:
    before = len(hub.requests)
    names = list(fetched)
    by_variable = resolve(hub, home, *names, **OFFLINE)
    by_argument = resolve(hub, home, *names, options={"offline": True})
    assert len(hub.requests) == before
    folders = [answer["folder"] for answer in fetched.values()]
    assert [answer.get("folder") for answer in by_variable] == folders
    assert [answer.get("folder") for answer in by_argument] == folders


def test_offline_without_a_copy_says_what_and_where(hub: Hub, tmp_path: Path) -> None:
    before = len(hub.requests)
    (answer,) = resolve(hub, tmp_path, "org/model", **OFFLINE)
    assert len(hub.requests) == before
    assert answer["error"] == "ModelNotFoundError"
    for part in ("org/model", str(tmp_path / "hub"), "offline", "lagotto models pull org/model"):
        assert part in answer["message"]


def test_a_hub_that_is_down_is_no_matter_for_a_copy_and_named_without_one(
    home: Path, fetched: dict[str, Any], tmp_path: Path
) -> None:
    (copy,) = resolve(DOWN, home, "org/model")
    assert copy["folder"] == fetched["org/model"]["folder"]
    (answer,) = resolve(DOWN, tmp_path, "org/model")
    assert answer["error"] == "ModelNotFoundError"
    assert "org/model" in answer["message"]
    assert "Connect" in answer["message"]


def test_what_the_hub_refuses_is_explained(hub: Hub, tmp_path: Path) -> None:
    unknown, revision, gated, private = resolve(
        hub, tmp_path, "org/nothing", "org/model@v9", "org/gated", "org/private"
    )
    assert {answer["error"] for answer in (unknown, revision, gated, private)} == {"ModelNotFoundError"}
    assert f"{hub.address} has no public model 'org/nothing'" in unknown["message"]
    assert "org/model has no revision 'v9'" in revision["message"]
    assert "org/gated is gated" in gated["message"]
    assert f"{hub.address}/org/gated" in gated["message"]
    assert "HF_TOKEN" in gated["message"]
    assert "HF_TOKEN" in private["message"]


def test_the_token_is_sent(hub: Hub, tmp_path: Path) -> None:
    (answer,) = resolve(hub, tmp_path, "org/private", HF_TOKEN="hf_secret")
    assert "model.safetensors" in answer["files"]
    sent = [request.authorization for request in hub.requests if "org/private" in request.path]
    assert sent[-1] == "Bearer hf_secret"


def test_an_interrupted_download_is_not_taken_for_a_model(hub: Hub, tmp_path: Path) -> None:
    (answer,) = resolve(hub, tmp_path, "org/model")
    (Path(answer["folder"]) / "model.safetensors").unlink()
    (offline,) = resolve(hub, tmp_path, "org/model", **OFFLINE)
    assert offline["error"] == "ModelNotFoundError"
    (again,) = resolve(hub, tmp_path, "org/model")
    assert again["files"] == answer["files"]


# ModelScope, whose package is not installed here.


class FakeModelScope(ModuleType):
    """Its ``snapshot_download``, as far as it is used."""

    def __init__(self, folder: Path) -> None:
        super().__init__("modelscope")
        self.calls: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self._folder = folder

    def snapshot_download(self, model_id: str, **options: Any) -> str:
        self.calls.append({"model_id": model_id, **options})
        if self.error:
            raise self.error
        return str(self._folder)


@pytest.fixture
def modelscope(monkeypatch: pytest.MonkeyPatch, folder: Path) -> FakeModelScope:
    module = FakeModelScope(folder)
    monkeypatch.setitem(sys.modules, "modelscope", module)
    return module


def test_modelscope_is_asked_for_the_same_files(modelscope: FakeModelScope, folder: Path) -> None:
    assert hubs.fetch("modelscope", "org/model", "v1", offline=False) == folder
    (call,) = modelscope.calls
    assert call["model_id"] == "org/model"
    assert call["revision"] == "v1"
    assert call["local_files_only"] is False
    assert {"config.json", "tokenizer.json", "model.safetensors"} <= set(call["allow_patterns"])
    assert "pytorch_model.bin" not in call["allow_patterns"]


def test_modelscope_gives_pickles_where_there_is_nothing_else(
    modelscope: FakeModelScope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope, "_folder", tmp_path)
    assert hubs.fetch("modelscope", "org/model", None, offline=True) == tmp_path
    assert [call["local_files_only"] for call in modelscope.calls] == [True, True]
    assert "pytorch_model.bin" in modelscope.calls[1]["allow_patterns"]


def test_errors_of_modelscope_are_translated(modelscope: FakeModelScope) -> None:
    modelscope.error = ValueError("no such model\nand a long trace")
    with pytest.raises(ModelNotFoundError, match=r"org/model could not be fetched.*no such model$"):
        hubs.fetch("modelscope", "org/model", None, offline=False)


def test_without_modelscope_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "modelscope", None)
    with pytest.raises(MissingDependencyError, match=r"lagotto\[modelscope\]"):
        hubs.fetch("modelscope", "org/model", None, offline=False)


def test_an_unknown_hub_is_refused_with_the_choices() -> None:
    with pytest.raises(ConfigError, match="huggingface, modelscope"):
        hubs.fetch("gitlab", "org/model", None, offline=False)


def test_an_adapter_is_fetched_where_there_is_no_model(
    modelscope: FakeModelScope, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(modelscope, "_folder", tmp_path)
    (tmp_path / "adapter_config.json").write_text("{}")
    hubs.fetch("modelscope", "org/adapter", None, offline=True)
    wanted = [call["allow_patterns"] for call in modelscope.calls]
    assert "adapter_config.json" not in wanted[0]
    assert {"adapter_config.json", "adapter_model.safetensors"} <= set(wanted[1])
    assert "adapter_model.bin" in wanted[2]
    (tmp_path / "config.json").write_text("{}")
    modelscope.calls.clear()
    hubs.fetch("modelscope", "org/model", None, offline=True)
    assert not any("adapter" in pattern for call in modelscope.calls for pattern in call["allow_patterns"])
