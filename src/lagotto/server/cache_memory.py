"""`MemoryCache`: values by key in memory, the least recently used going first when there are too many bytes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping

_OVERHEAD = 200
"""Bytes that an entry costs beside its key and value, as measured on CPython."""


class MemoryCache:
    """A bounded mapping of bytes to bytes. Thread-safe."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._values: OrderedDict[bytes, bytes] = OrderedDict()
        self._lock = threading.Lock()
        self.bytes = 0
        """What it holds now, overhead included."""

    def get(self, keys: Iterable[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are there."""
        found = {}
        with self._lock:
            for key in keys:
                if (value := self._values.get(key)) is not None:
                    self._values.move_to_end(key)
                    found[key] = value
        return found

    def put(self, values: Mapping[bytes, bytes]) -> None:
        """Keep values; what is larger than the whole cache is not kept."""
        with self._lock:
            for key, value in values.items():
                if (old := self._values.pop(key, None)) is not None:
                    self.bytes -= _size(key, old)
                size = _size(key, value)
                if size > self._max_bytes:
                    continue
                self._values[key] = value
                self.bytes += size
            while self.bytes > self._max_bytes:
                self.bytes -= _size(*self._values.popitem(last=False))


def _size(key: bytes, value: bytes) -> int:
    return len(key) + len(value) + _OVERHEAD
