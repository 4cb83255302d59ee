"""`Counts`: what a queue has done, and how fast it computes."""

from __future__ import annotations

from lagotto.batch.sequences import Batch
from lagotto.engines.base import QueueStats

_HALF = 10.0
"""Seconds of computing after which a batch counts half for the speed: texts, and what else the machine does, change."""


class Counts:
    """Counters of a queue, whose lock guards them."""

    def __init__(self) -> None:
        self.batches = 0
        self.rows = 0
        self.tokens = 0
        self.padded_tokens = 0
        self.merged = 0
        self.shared = 0
        self.expired = 0
        self.cancelled = 0
        self.failed = 0
        self._recent_tokens = 0.0
        self._recent_seconds = 0.0

    def computed(self, batch: Batch, parts: int, seconds: float, busy: bool) -> None:
        """A batch with rows of so many parts took so many seconds of one worker.

        ``busy``: there was enough to do. A lone query says nothing of the speed: a fuller batch takes hardly longer.
        """
        tokens = int(batch.lengths.sum())
        self.batches += 1
        self.rows += len(batch.lengths)
        self.tokens += tokens
        self.padded_tokens += batch.ids.size
        self.merged += parts > 1
        if not busy:
            return
        fade = 0.5 ** (seconds / _HALF)
        self._recent_tokens = self._recent_tokens * fade + tokens
        self._recent_seconds = self._recent_seconds * fade + seconds

    def stats(self, waiting: int, waiting_tokens: int, oldest_wait: float, workers: int) -> QueueStats:
        """The counters, with what waits now."""
        speed = workers * self._recent_tokens / self._recent_seconds if self._recent_seconds else 0.0
        return QueueStats(
            waiting=waiting,
            waiting_tokens=waiting_tokens,
            oldest_wait=oldest_wait,
            batches=self.batches,
            rows=self.rows,
            tokens=self.tokens,
            padded_tokens=self.padded_tokens,
            merged=self.merged,
            shared=self.shared,
            expired=self.expired,
            cancelled=self.cancelled,
            failed=self.failed,
            tokens_per_second=speed,
        )
