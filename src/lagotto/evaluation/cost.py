"""How much memory the process holds while it works."""

from __future__ import annotations

import threading
from types import TracebackType

from lagotto.core.memory import resident_bytes


class MemoryMeter:
    """Watches `resident_bytes` in a thread of its own, many times a second; `peak` is the most it saw."""

    def __init__(self, seconds: float = 0.05) -> None:
        self.peak = resident_bytes()
        self._seconds = seconds
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-meter", daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(self._seconds):
            self.peak = max(self.peak, resident_bytes())

    def __enter__(self) -> MemoryMeter:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = max(self.peak, resident_bytes())
