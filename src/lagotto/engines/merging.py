"""Batches that wait side by side, from however many callers, are computed together where that pads little."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.planner import similar
from lagotto.batch.sequences import Batch
from lagotto.core.errors import ClosedError
from lagotto.engines.base import TOKEN_BUDGET, Output

Values = NDArray[np.float32]
_Waiting = tuple[Batch, Output, Future[Values]]


class MergingQueue:
    """Runs ``compute`` on queued batches in ``workers`` threads, first come first served.

    A worker takes the oldest batch and adds waiting ones of similar length, of which the same output is wanted, up to
    the token budget. Full batches of one large call stay as they are; single texts of many callers come together.
    """

    def __init__(
        self, workers: int, compute: Callable[[Batch, Output], Values], name: str, token_budget: int = TOKEN_BUDGET
    ) -> None:
        self._compute = compute
        self._budget = token_budget
        self._waiting: deque[_Waiting] = deque()
        self._lock = threading.Lock()
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[Values]:
        """Queue a batch; the future gives its rows. Raises `ClosedError` after `close`."""
        future: Future[Values] = Future()
        with self._lock:
            self._waiting.append((batch, output, future))
            try:
                # One turn a batch; a turn whose batch went along with another finds nothing left to do.
                self._workers.submit(self._turn)
            except RuntimeError:
                self._waiting.pop()
                raise ClosedError("the model has been closed; open it again") from None
        return future

    def close(self) -> None:
        """Finish what is queued, then end the threads."""
        self._workers.shutdown(wait=True)

    def _turn(self) -> None:
        taken = self._take()
        if not taken:
            return
        try:
            values = self._compute(_merged([batch for batch, _, _ in taken]), taken[0][1])
        except BaseException as error:  # whatever it is, callers must not wait for ever
            for _, _, future in taken:
                future.set_exception(error)
            return
        start = 0
        for batch, _, future in taken:
            end = start + len(batch.lengths)
            future.set_result(values[start:end])
            start = end

    def _take(self) -> list[_Waiting]:
        """The oldest batch that was not cancelled, and the waiting ones nearest to it in length."""
        with self._lock:
            while self._waiting:
                oldest = self._waiting.popleft()
                if oldest[2].set_running_or_notify_cancel():
                    break
            else:
                return []
            taken = [oldest]
            rows, tokens = oldest[0].ids.shape
            shortest = longest = tokens
            alike = [waiting for waiting in self._waiting if waiting[1] == oldest[1]]
            for waiting in sorted(alike, key=lambda w: abs(w[0].ids.shape[1] - tokens)):
                more, length = waiting[0].ids.shape
                low, high = min(shortest, length), max(longest, length)
                if (rows + more) * high > self._budget or not similar(low, high):
                    break
                self._waiting.remove(waiting)
                if waiting[2].set_running_or_notify_cancel():
                    taken.append(waiting)
                    rows, shortest, longest = rows + more, low, high
            return taken


def _merged(batches: list[Batch]) -> Batch:
    """Batches one below another, padded to the longest."""
    if len(batches) == 1:
        return batches[0]
    width = max(batch.ids.shape[1] for batch in batches)
    ids = np.full((sum(len(batch.lengths) for batch in batches), width), batches[0].pad_id, np.int32)
    row = 0
    for batch in batches:
        rows, tokens = batch.ids.shape
        ids[row : row + rows, :tokens] = batch.ids
        row += rows
    lengths = np.concatenate([batch.lengths for batch in batches])
    return Batch(ids, lengths, np.concatenate([batch.second for batch in batches]), batches[0].pad_id)
