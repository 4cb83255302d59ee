"""The folder of compiled graphs stays within its limit."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from lagotto.core.errors import ConfigError
from lagotto.engines.openvino import blobs

KB = 1000
CONTENT = 1000 * b"g"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that takes three files of about 1 kB."""
    monkeypatch.setenv(blobs.LIMIT_VARIABLE, str(3.2 * KB / 1e9))
    return tmp_path / "compiled"


def keep(folder: Path, name: str, age: float = 0) -> Path:
    path = folder / f"{name}.blob"
    blobs.write(path, memoryview(CONTENT))
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def names(folder: Path) -> set[str]:
    return {path.stem for path in folder.iterdir()}


def test_the_least_recently_used_go_first(folder: Path) -> None:
    for age, name in enumerate(("young", "middle", "old")):
        keep(folder, name, 100 * (age + 1))
    assert names(folder) == {"young", "middle", "old"}
    keep(folder, "new")
    assert names(folder) == {"young", "middle", "new"}


def test_reading_counts_as_use(folder: Path) -> None:
    old, _, _ = keep(folder, "old", 300), keep(folder, "middle", 200), keep(folder, "young", 100)
    found = blobs.read(old)
    assert found is not None
    assert found.tobytes() == CONTENT
    keep(folder, "new")
    assert names(folder) == {"old", "young", "new"}


def test_what_is_larger_than_the_limit_is_not_kept_and_costs_nothing_else(folder: Path) -> None:
    keep(folder, "small")
    blobs.write(folder / "large.blob", memoryview(10 * CONTENT))
    assert names(folder) == {"small"}


def test_zero_keeps_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(blobs.LIMIT_VARIABLE, "0")
    blobs.write(folder / "any.blob", memoryview(CONTENT))
    assert not folder.exists()


def test_half_written_files_of_killed_processes_go_once_they_are_old(folder: Path) -> None:
    folder.mkdir()
    for name, age in ((".a.blob.1234", 2 * 24 * 3600), (".b.blob.5678", 60)):
        (folder / name).write_bytes(CONTENT)
        os.utime(folder / name, (time.time() - age,) * 2)
    keep(folder, "new")
    assert {path.name for path in folder.iterdir()} == {".b.blob.5678", "new.blob"}


@pytest.mark.parametrize("value", ["much", "-1", "nan", "inf"])
def test_a_limit_that_is_no_size_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(blobs.LIMIT_VARIABLE, value)
    with pytest.raises(ConfigError, match=blobs.LIMIT_VARIABLE):
        blobs.limit_bytes()


def test_the_default_has_room_for_large_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(blobs.LIMIT_VARIABLE, raising=False)
    assert blobs.limit_bytes() == 16_000_000_000
