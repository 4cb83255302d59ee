"""`Cursor`: read a binary file's fields one after another."""

from __future__ import annotations

import struct
from typing import Any

from lagotto.cards.stored import Bytes


class Cursor:
    """A place in little-endian bytes that moves on with every field."""

    def __init__(self, data: Bytes) -> None:
        self.data = data
        self.position = 0

    def take(self, size: int) -> Bytes:
        """The next bytes. Raises `ValueError` at the end of the file."""
        end = self.position + size
        if size < 0 or end > self.data.size:
            raise ValueError(f"it is cut short: expected at least {end} bytes, found {self.data.size}")
        part = self.data[self.position : end]
        self.position = end
        return part

    def numbers(self, layout: str) -> tuple[Any, ...]:
        """The next numbers, in struct's notation."""
        return struct.unpack("<" + layout, self.take(struct.calcsize("<" + layout)).tobytes())
