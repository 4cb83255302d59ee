"""The cache's file: bounded, lasting, and never the reason that a request fails."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import ConfigError
from lagotto.server.cache_disk import DiskCache

KB = 1 << 10
MB = 1 << 20


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vectors.sqlite"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def disk(path: Path, clock: Clock) -> Iterator[DiskCache]:
    disk = DiskCache(path, MB, clock)
    yield disk
    disk.close()


def keys(start: int, stop: int) -> list[bytes]:
    return [b"%032d" % number for number in range(start, stop)]


def filled(start: int, stop: int, size: int = KB) -> dict[bytes, bytes]:
    return {key: key[-1:] * size for key in keys(start, stop)}


def test_values_come_back_and_outlast_it(path: Path) -> None:
    for expected in ({}, filled(0, 3), filled(0, 3)):
        disk = DiskCache(path, MB)
        assert disk.get(keys(0, 5)) == expected
        disk.put(filled(0, 3))
        disk.close()


def test_thousands_of_keys_in_one_call(disk: DiskCache) -> None:
    disk.put(filled(0, 2500, 8))
    assert len(disk.get(keys(0, 3000))) == 2500


def test_it_stays_within_its_bound_and_drops_what_was_not_used_for_longest(path: Path) -> None:
    disk = DiskCache(path, 100 * KB)
    disk.put(filled(0, 40))
    for start in range(40, 400, 10):
        assert disk.get(keys(0, 5)), "what is used stays"
        disk.put(filled(start, start + 10))
        assert disk.bytes <= 100 * KB
    assert len(disk.get(keys(0, 5))) == 5
    assert disk.get(keys(5, 40)) == {}
    assert len(disk.get(keys(390, 400))) == 10
    disk.close()
    assert path.stat().st_size < 300 * KB
    again = DiskCache(path, 100 * KB)
    assert again.bytes <= 100 * KB
    assert len(again.get(keys(0, 5))) == 5
    again.close()


def test_two_servers_may_share_a_file(path: Path) -> None:
    first, second = DiskCache(path, MB), DiskCache(path, MB)
    first.put(filled(0, 3))
    second.put(filled(3, 6))
    assert len(first.get(keys(0, 6))) == len(second.get(keys(0, 6))) == 6
    first.close()
    second.close()


@pytest.mark.parametrize("content", [b"not a database at all" * 100, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_no_cache_is_set_aside_and_begun_anew(path: Path, content: bytes, caplog: Any) -> None:
    path.write_bytes(content)
    disk = DiskCache(path, MB)
    disk.put(filled(0, 3))
    assert disk.get(keys(0, 3)) == filled(0, 3)
    disk.close()
    assert path.with_name("vectors.sqlite.damaged").read_bytes() == content
    assert "damaged" in caplog.text


def test_a_database_of_something_else_is_set_aside(path: Path) -> None:
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE vectors (id INTEGER)")
    other.close()
    disk = DiskCache(path, MB)
    disk.put(filled(0, 1))
    assert disk.get(keys(0, 1)) == filled(0, 1)
    disk.close()


def test_a_file_damaged_while_it_is_used_is_set_aside(disk: DiskCache, path: Path, caplog: Any) -> None:
    disk.put(filled(0, 500))
    disk._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * 400_000)
    disk._file.execute("PRAGMA cache_size = 0")
    disk.get(keys(0, 500))
    disk.put(filled(0, 3))
    assert disk.get(keys(0, 3)) == filled(0, 3)
    assert path.with_name("vectors.sqlite.damaged").is_file()
    assert "damaged" in caplog.text


def test_a_value_whose_bits_have_changed_is_not_there(disk: DiskCache) -> None:
    disk.put(filled(0, 2))
    with disk._file:
        disk._file.execute("UPDATE vectors SET value = zeroblob(1024) WHERE key = ?", keys(0, 1))
    assert disk.get(keys(0, 2)) == filled(1, 2)


def test_on_a_full_disk_nothing_is_written_for_a_while_and_reading_goes_on(
    disk: DiskCache, clock: Clock, caplog: Any
) -> None:
    disk.put(filled(0, 3))
    (pages,) = disk._file.execute("PRAGMA page_count").fetchone()
    disk._file.execute(f"PRAGMA max_page_count = {pages}")  # SQLite's own word for a disk that is full
    disk.put(filled(3, 500))
    assert "full" in caplog.text
    assert disk.get(keys(0, 500)) == filled(0, 3)
    disk._file.execute("PRAGMA max_page_count = 1000000")
    caplog.clear()
    disk.put(filled(3, 6))
    assert disk.get(keys(3, 6)) == {}, "not yet"
    assert caplog.text == "", "one warning is enough"
    clock.now += 61
    disk.put(filled(3, 6))
    assert disk.get(keys(3, 6)) == filled(3, 6)


def test_a_clock_that_is_set_changes_nothing(disk: DiskCache, monkeypatch: pytest.MonkeyPatch) -> None:
    disk.put(filled(0, 1))
    for jump in (time.time() + 1e9, 0.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        disk.put(filled(0, 3))
        assert disk.get(keys(0, 3)) == filled(0, 3)


def test_a_place_that_cant_be_written_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file/v.sqlite", tmp_path):
        with pytest.raises(ConfigError, match="cache_path"):
            DiskCache(place, MB)


def test_a_closed_cache_is_silent(path: Path) -> None:
    disk = DiskCache(path, MB)
    disk.put(filled(0, 1))
    disk.close()
    assert disk.get(keys(0, 1)) == {}
    disk.put(filled(0, 1))


def test_several_processes_keep_one_file_within_its_bound(path: Path) -> None:
    several = [DiskCache(path, MB) for _ in range(4)]
    for round_ in range(40):
        for number, disk in enumerate(several):
            start = 10_000 * number + 16 * round_
            disk.put(filled(start, start + 16))
    assert all(disk.get(keys(10_000 * n + 624, 10_000 * n + 640)) for n, disk in enumerate(several)), "the last of each"
    for disk in several:
        disk.close()
    whole = DiskCache(path, 100 * MB)
    assert whole.bytes <= MB * 1.25
    whole.close()


def test_a_damaged_file_is_set_aside_once(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = DiskCache(path, MB), DiskCache(path, MB)
    error = sqlite3.DatabaseError("file is not a database")
    error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
    first._recover(error)
    first.put(filled(0, 3))
    second._recover(error)
    assert second.get(keys(0, 3)) == filled(0, 3), "what the first has begun stays"
    assert caplog.text.count("set aside") == 1
    first.close()
    second.close()
