"""`Bucket`: how much may be used in a minute, as a bucket of tokens that fills all the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Bucket:
    """Holds a minute's amount and fills evenly, so that a minute's worth may be used at once, but not twice.

    Time is `time.monotonic`: a clock that is set neither blocks a key nor frees it.
    """

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.per_minute = per_minute
        self._clock = clock
        self._level = float(per_minute)
        self._seen = clock()
        self._lock = threading.Lock()

    def take(self, amount: float = 1.0) -> float:
        """Use an amount; 0.0, or the seconds until it is there, and then nothing is used."""
        with self._filled():
            if self._level < amount:
                return (amount - self._level) * 60 / self.per_minute
            self._level -= amount
            return 0.0

    def charge(self, amount: float) -> None:
        """Use an amount that is known afterwards; the bucket may owe it."""
        with self._filled():
            self._level -= amount

    def wait(self) -> float:
        """Seconds until nothing is owed; 0.0 when nothing is."""
        with self._filled():
            return max(0.0, (1.0 - self._level) * 60 / self.per_minute)

    @contextmanager
    def _filled(self) -> Iterator[None]:
        """Have the bucket to oneself, with what has come into it up to now."""
        with self._lock:
            self._fill()
            yield

    def _fill(self) -> None:
        now = self._clock()
        self._level = min(self.per_minute, self._level + (now - self._seen) * self.per_minute / 60)
        self._seen = now
