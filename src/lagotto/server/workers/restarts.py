"""`Restarts`: when a worker that has died is started again, so that one that dies each time costs little."""

from __future__ import annotations

import time
from collections.abc import Callable

LONG = 60.0
"""Seconds after which a worker counts as one that works: its death is the first one again."""
MOST = 30.0
"""Seconds between two starts at most."""


class Restarts:
    """At once the first time, then after 1, 2, 4 ... seconds, up to `MOST`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.total = 0
        """How many there were."""
        self._clock = clock
        self._deaths: dict[int, int] = {}
        self._at: dict[int, float] = {}

    def plan(self, number: int, lived: float) -> float:
        """Start a worker again that has lived so many seconds; after how many."""
        deaths = 0 if lived >= LONG else self._deaths.get(number, 0)
        self._deaths[number] = deaths + 1
        delay = min(MOST, 2.0 ** (deaths - 1)) if deaths else 0.0
        self._at[number] = self._clock() + delay
        self.total += 1
        return delay

    def due(self) -> list[int]:
        """Workers whose time has come."""
        now = self._clock()
        found = [number for number, at in self._at.items() if at <= now]
        for number in found:
            del self._at[number]
        return found

    def wait(self) -> float | None:
        """Seconds until the next one is due; None for none."""
        return max(0.0, min(self._at.values()) - self._clock()) if self._at else None
