"""`Ledger`: quotas of keys in memory that several processes share, so that a quota holds for all of them together."""

from __future__ import annotations

import fcntl
import hashlib
import mmap
import struct
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO

from lagotto.core.errors import ConfigError
from lagotto.server.key_settings import KeySettings
from lagotto.server.quotas import Bucket

_ROW = struct.Struct("=16sdd")  # whose it is, level, when it was seen
_ROWS = 8192
_NOBODY = bytes(16)


class Ledger:
    """A table of buckets in a file that has no name and is mapped by every process that has its descriptor.

    A row is changed under a lock of the kernel's, which ends with the process that holds it: one that is killed holds
    up nobody. The clock is `time.monotonic`, which is one for all processes of a machine.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._table = mmap.mmap(descriptor, _ROW.size * _ROWS)
        self._lock = threading.Lock()  # the kernel's are held by processes, not by threads

    def bucket(
        self, key: KeySettings, kind: str, per_minute: int, clock: Callable[[], float] = time.monotonic
    ) -> Bucket:
        """What is left of a key's quota. Raises `ConfigError` when the table is full."""
        name = f"{key.hash} {kind} {per_minute}".encode()
        return SharedBucket(self, self._find(hashlib.blake2b(name, digest_size=16).digest()), per_minute, clock)

    @contextmanager
    def locked(self, row: int) -> Iterator[None]:
        """Keep others from a row."""
        offset = row * _ROW.size
        with self._lock:
            fcntl.lockf(self._descriptor, fcntl.LOCK_EX, _ROW.size, offset)
            try:
                yield
            finally:
                fcntl.lockf(self._descriptor, fcntl.LOCK_UN, _ROW.size, offset)

    def read(self, row: int) -> tuple[float, float]:
        """Level, and when it was seen; 0 and 0 in a row that nobody has used."""
        _, level, seen = _ROW.unpack_from(self._table, row * _ROW.size)
        return level, seen

    def write(self, row: int, level: float, seen: float) -> None:
        """Change a row that is `locked`."""
        whose, _, _ = _ROW.unpack_from(self._table, row * _ROW.size)
        _ROW.pack_into(self._table, row * _ROW.size, whose, level, seen)

    def _find(self, name: bytes) -> int:
        """The row of a name, or a new one. All look under the lock of the first row, so no two take the same."""
        with self.locked(0):
            for row in range(1, _ROWS):
                (whose,) = struct.unpack_from("16s", self._table, row * _ROW.size)
                if whose == name:
                    return row
                if whose == _NOBODY:
                    _ROW.pack_into(self._table, row * _ROW.size, name, 0.0, 0.0)
                    return row
        raise ConfigError(f"more than {_ROWS - 1} quotas of API keys since the start; restart the server")


class SharedBucket(Bucket):
    """A bucket whose level lies in a `Ledger`."""

    def __init__(self, ledger: Ledger, row: int, per_minute: int, clock: Callable[[], float]) -> None:
        super().__init__(per_minute, clock)
        self._ledger = ledger
        self._row = row

    @contextmanager
    def _filled(self) -> Iterator[None]:
        with self._ledger.locked(self._row):
            level, seen = self._ledger.read(self._row)
            if seen:
                self._level, self._seen = level, seen
            self._fill()
            yield
            self._ledger.write(self._row, self._level, self._seen)


def new_table() -> IO[bytes]:
    """An empty table's file, for `Ledger` of its descriptor."""
    file = tempfile.TemporaryFile()  # noqa: SIM115 - it stays open as long as there are workers
    file.truncate(_ROW.size * _ROWS)
    return file
