"""The cache folder, and files that are never seen half written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lagotto.core.paths import cache_dir, write_atomically


def test_argument_beats_the_variable(tmp_path: Path) -> None:
    assert cache_dir(tmp_path) == tmp_path
    assert cache_dir(str(tmp_path)) == tmp_path


def test_variable_is_used(cache: Path) -> None:
    assert cache_dir() == cache


def test_home_is_expanded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAGOTTO_CACHE", "~/somewhere")
    assert cache_dir() == Path.home() / "somewhere"


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="the XDG variables are Linux's")
def test_platform_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LAGOTTO_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_dir() == tmp_path / "lagotto"
    assert not cache_dir().exists()


def test_parts_are_written_one_after_another(tmp_path: Path) -> None:
    path = tmp_path / "new/folder/file"
    write_atomically(path, b"ab", memoryview(b"cd"))
    assert path.read_bytes() == b"abcd"
    assert os.listdir(path.parent) == ["file"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(TypeError):
        write_atomically(path, b"new", "no bytes")  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_an_unwritable_folder_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        write_atomically(tmp_path / "file/inside", b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are POSIX's")
def test_a_file_has_the_permissions_that_others_have(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_atomically(tmp_path / "file", b"x")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
