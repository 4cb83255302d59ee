"""`DiskCache`: values by key in one SQLite file. It may lose things and be late; it never fails a request."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path

from lagotto.core.errors import ConfigError

logger = logging.getLogger(__name__)

_OVERHEAD = 100
"""Bytes that a row takes in the file beside its key and value."""
_SCHEMA = """
CREATE TABLE IF NOT EXISTS vectors (
    key BLOB NOT NULL UNIQUE, value BLOB NOT NULL, checksum INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE INDEX IF NOT EXISTS by_use ON vectors (used);
"""
_PAGES = "page_size = 16384"  # several vectors fit into one; of a new file alone
_AT_ONCE = 500  # keys in one query; SQLite allows 999 in its oldest versions
_PAUSE = 60.0
"""Seconds without writing after a write has failed."""


class DiskCache:
    """A bounded mapping of bytes to bytes that outlives the process. Thread-safe; several processes may share a file.

    A damaged file is set aside and a new one begun; on a full disk nothing is written for a while. Both are warned of.
    How recently something was used is counted, not read from a clock.
    """

    def __init__(self, path: Path, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises `ConfigError` where the file can be neither opened nor made."""
        self._path = path.expanduser()
        self._max_bytes = max_bytes
        self._clock = clock
        self._lock = threading.Lock()
        self._used: set[bytes] = set()
        self._turn = 0
        self._writes_from = 0.0
        self._file_bytes = 0
        """What the file took when its content was measured last, without what is free in it."""
        self._put_since = 0
        self.bytes = 0
        """What it holds now, overhead included; what other processes have put since it was measured is not counted."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._begin()
        except (OSError, sqlite3.Error) as error:
            raise ConfigError(f"cache_path {path} can't be used: {error}; give a file in a folder of ours") from None

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there and whole."""
        found: dict[bytes, bytes] = {}
        remaining = iter(keys)
        with self._lock, self._forgiving("read"):
            while part := list(islice(remaining, _AT_ONCE)):
                marks = ",".join("?" * len(part))
                query = f"SELECT key, value, checksum FROM vectors WHERE key IN ({marks})"
                rows = self._file.execute(query, part)
                found |= {key: value for key, value, checksum in rows if zlib.crc32(value) == checksum}
            self._used |= found.keys()
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values, and let the least recently used go when the file grows too large."""
        if not values or self._clock() < self._writes_from:
            return
        with self._lock, self._forgiving("written"), self._file:
            self._turn += 1
            self._file.executemany(
                "UPDATE vectors SET used = ? WHERE key = ?", [(self._turn, key) for key in self._used]
            )
            self._used.clear()
            rows = [(key, value, zlib.crc32(value), self._turn) for key, value in values.items()]
            self._file.executemany("INSERT OR REPLACE INTO vectors VALUES (?, ?, ?, ?)", rows)
            size = sum(len(key) + len(value) + _OVERHEAD for key, value in values.items())
            self.bytes, self._put_since = self.bytes + size, self._put_since + size
            if self._others_have_put():
                self._measure()
            if self.bytes > self._max_bytes:
                self._evict()

    def close(self) -> None:
        """Finish what is being written and close the file."""
        with self._lock, suppress(sqlite3.Error):
            self._file.close()

    def _begin(self) -> None:
        try:
            self._open()
        except sqlite3.DatabaseError as error:
            if not _is_damage(error):
                raise
            self._set_aside(error)
            self._open()

    def _open(self) -> None:
        self._file = sqlite3.connect(self._path, timeout=5, check_same_thread=False)
        self._identity = _identity(self._path)
        try:
            for pragma in (_PAGES, "journal_mode = WAL", "synchronous = NORMAL", "journal_size_limit = 16777216"):
                self._file.execute(f"PRAGMA {pragma}")
            self._file.executescript(_SCHEMA)
            self._identity = _identity(self._path)  # the file may have been made just now
            self._measure()
        except BaseException:
            self._file.close()
            raise

    def _measure(self) -> None:
        query = (
            f"SELECT coalesce(sum(length(key) + length(value) + {_OVERHEAD}), 0), coalesce(max(used), 0) FROM vectors"
        )
        self.bytes, turn = self._file.execute(query).fetchone()
        self._turn = max(turn, self._turn)
        self._file_bytes, self._put_since = self._taken(), 0

    def _others_have_put(self) -> bool:
        """Whether the file has grown by more than we have put, by so much that its content must be measured again."""
        return self._taken() - self._file_bytes - self._put_since > self._max_bytes // 16

    def _taken(self) -> int:
        """Bytes of the file that are in use, which is known at once."""
        pages, free, size = (
            self._file.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        return int((pages - free) * size)

    def _evict(self) -> None:
        """Delete what was not used for longest, down to nine tenths of the bound, so that it is not done each time."""
        self._measure()  # another process may have written too
        over = self.bytes - self._max_bytes * 9 // 10
        if over <= 0:
            return
        gone: list[tuple[bytes]] = []
        for key, size in self._file.execute("SELECT key, length(value) FROM vectors ORDER BY used"):
            if over <= 0:
                break
            freed = len(key) + size + _OVERHEAD
            gone.append((key,))
            over, self.bytes = over - freed, self.bytes - freed
        self._file.executemany("DELETE FROM vectors WHERE key = ?", gone)

    @contextmanager
    def _forgiving(self, doing: str) -> Iterator[None]:
        """Turn whatever goes wrong with the file into a warning."""
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if _is_damage(error):
                self._recover(error)
                return
            self._writes_from = self._clock() + _PAUSE
            logger.warning(
                "the cache %s can't be %s: %s; nothing is written for %g s", self._path, doing, error, _PAUSE
            )

    def _recover(self, error: Exception) -> None:
        with suppress(sqlite3.Error):
            self._file.close()
        try:
            self._set_aside(error)
            self._open()
        except (OSError, sqlite3.Error) as failure:
            self._writes_from = float("inf")
            logger.warning("the cache %s can't be begun anew: %s; it is off", self._path, failure)
            self._file = sqlite3.connect(":memory:", check_same_thread=False)
            self._file.executescript(_SCHEMA)

    def _set_aside(self, error: Exception) -> None:
        if _identity(self._path) != self._identity:
            return  # another process has done it, and has begun a new one
        aside = self._path.with_name(f"{self._path.name}.damaged")
        self._path.replace(aside)
        for ending in ("-wal", "-shm"):
            self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        logger.warning(
            "the cache %s is damaged (%s); it was set aside as %s, and is begun anew", self._path, error, aside
        )


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a path stands for at this moment; None for none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _is_damage(error: Exception) -> bool:
    """Whether the file itself is at fault: SQLITE_CORRUPT, SQLITE_NOTADB, or a table that is not ours."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)
