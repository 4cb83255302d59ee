"""`Part`: one submitted batch on its way through the queue, put together as its rows are computed."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.scheduler import Item
from lagotto.batch.sequences import Batch
from lagotto.engines.base import Output, plain

Values = NDArray[np.float32]
Place = tuple["Part", int]
"""A row of a part: it waits for an `Item`."""


class Part:
    """A batch whose rows may be computed apart, and with rows of others. Thread-safe."""

    def __init__(self, batch: Batch, output: Output) -> None:
        self.batch = batch
        self.output = output
        self.future: Future[Values] = Future()
        self.items: list[Item[Place]] = []
        """What its rows wait for, in their order; empty once the part is over."""
        self._lock = threading.Lock()
        self._left = len(batch.lengths)
        self._values: Values | None = None
        self._over = False

    def add(self, rows: list[int], values: Values) -> None:
        """What was computed for these rows: (rows, output), or (rows, tokens, hidden)."""
        with self._lock:
            if self._over:
                return
            whole = len(rows) == len(self.batch.lengths)
            if whole and rows == list(range(len(rows))):
                self._values = values
            else:
                self._write(rows, values)
            self._left -= len(rows)
            if self._left:
                return
        assert self._values is not None
        if self._end():
            self.future.set_result(self._values)

    def fail(self, error: BaseException) -> None:
        """A row of it could not be computed, and so the part can't be."""
        if self._end():
            self.future.set_exception(error)

    def settle(self) -> None:
        """The future is done; where it was cancelled, those who wait for several futures at once are told."""
        self._end()

    def _write(self, rows: list[int], values: Values) -> None:
        if self._values is None:
            shape = values.shape[1:]
            if plain(self.output) == "states":  # behind a row's length anything may stand but what isn't a number
                shape = (self.batch.ids.shape[1], *shape[1:])
            self._values = np.zeros((len(self.batch.lengths), *shape), np.float32)
        if plain(self.output) == "states":
            width = min(values.shape[1], self._values.shape[1])
            self._values[rows, :width] = values[:, :width]
        else:
            self._values[rows] = values

    def _end(self) -> bool:
        """Whether the future waits for its result; it is told only once."""
        with self._lock:
            if self._over:
                return False
            self._over = True
            return self.future.set_running_or_notify_cancel()
