"""Rows that wait side by side, from however many callers, are computed together where that pads little."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from itertools import count
from weakref import ref

import numpy as np

from lagotto.batch.demand import Demand, current
from lagotto.batch.scheduler import Item, Scheduler
from lagotto.batch.sequences import Batch
from lagotto.core.errors import ClosedError, EngineError, LagottoError, OutOfMemoryError
from lagotto.engines.base import TOKEN_BUDGET, Output, QueueStats
from lagotto.engines.counting import Counts
from lagotto.engines.parts import Part, Place, Values

logger = logging.getLogger(__name__)


class MergingQueue:
    """Runs ``compute`` on what is queued, in ``workers`` threads and in the order of the `Scheduler`.

    Batches are queued row by row. Batches of one large call are computed as they came, filled up with the texts of
    other calls; a batch over ``budget`` padded tokens is split, and a row that several want is computed once.
    """

    def __init__(
        self, workers: int, compute: Callable[[Batch, Output], Values], name: str, *, budget: int = TOKEN_BUDGET
    ) -> None:
        self._compute = compute
        self._budget = budget
        self._scheduler: Scheduler[Place] = Scheduler(budget)
        self._counts = Counts()
        self._lock = threading.Lock()
        self._closed = False
        self._size = workers
        self._number = count()
        self._called = 0  # workers that are in `_work`, or on their way there
        self._computing = 0
        self._workers = ThreadPoolExecutor(workers, thread_name_prefix=name)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[Values]:
        """Queue a batch for the call of this context; the future gives its rows. Raises `ClosedError` after `close`."""
        part, demand, sizes = Part(batch, output), current(), batch.sizes()
        keys = [
            (output, length, second, row[:size].tobytes())
            for row, size, length, second in zip(
                batch.ids, sizes, batch.lengths.tolist(), batch.second.tolist(), strict=True
            )
        ]
        with self._lock:
            if self._closed:
                raise ClosedError("the model has been closed; open it again")
            now = time.monotonic()
            group = next(self._number)
            for row, (key, size) in enumerate(zip(keys, sizes, strict=True)):
                item, new = self._scheduler.add(
                    Item(key, size, output, demand, group, demand.priority, now, demand.deadline, [(part, row)])
                )
                part.items.append(item)
                self._counts.shared += not new
            self._wake()
            if not self._called:  # the interpreter is ending, and starts no more threads
                self._withdraw(part)
                raise ClosedError("the program is ending; nothing is computed any more")
        # Weakly: part and future would hold each other, and their arrays, until the next collection of garbage.
        part.future.add_done_callback(partial(self._leave, ref(part)))
        demand.watch(part.future, sum(sizes))
        return part.future

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        with self._lock:
            oldest = self._scheduler.oldest()
            wait = 0.0 if oldest is None else time.monotonic() - oldest
            return self._counts.stats(self._scheduler.waiting, self._scheduler.waiting_tokens, wait, self._size)

    def close(self) -> None:
        """Finish what is queued, then end the threads."""
        with self._lock:
            self._closed = True
        self._workers.shutdown(wait=True)

    def _wake(self) -> None:
        """Call one more worker, where there is one and something to do; with the lock held."""
        if self._called < self._size and self._scheduler.waiting:
            with suppress(RuntimeError):  # no thread is started any more: the workers that are there do what is left
                self._workers.submit(self._work)
                self._called += 1

    def _work(self) -> None:
        """Compute batch after batch until nothing waits."""
        while True:
            with self._lock:
                turn = self._scheduler.next_batch(time.monotonic(), idle=self._size - self._computing)
                places, more = [item.waiters[0] for item in turn.items], self._scheduler.waiting > 0
                self._counts.expired += len(turn.expired)
                if places:
                    self._computing += 1
                    self._wake()
                else:
                    self._called -= 1
            _fail(turn.expired, Demand.late())
            if not places:
                return
            self._run(turn.items, places, more)
            with self._lock:
                self._computing -= 1

    def _run(self, items: list[Item[Place]], places: list[Place], more: bool, *, again: bool = True) -> None:
        """Compute rows and hand them to those who wait. What goes wrong is theirs alone.

        ``more``: other rows were left waiting.
        """
        batch = _assembled(items, places)
        start = time.monotonic()
        try:
            values = self._compute(batch, places[0][0].output)
        except MemoryError as error:
            if again and len(items) > 1:
                half = len(items) // 2
                self._run(items[:half], places[:half], more, again=False)
                self._run(items[half:], places[half:], more, again=False)
                return
            self._finish(items)
            _fail(items, error if isinstance(error, LagottoError) else _too_little_memory(batch, error))
        except LagottoError as error:
            self._finish(items)
            _fail(items, error)
        except BaseException as error:  # nothing may end a worker: callers would wait for ever
            logger.exception("an engine broke down on a batch; it goes on with the next one")
            self._finish(items)
            _fail(items, _broken_down(error))
        else:
            with self._lock:
                busy = more or 2 * batch.ids.size > self._budget
                self._counts.computed(batch, len({place[0] for place in places}), time.monotonic() - start, busy)
                self._scheduler.finish(items)
            _hand_out(items, values)

    def _finish(self, items: list[Item[Place]]) -> None:
        with self._lock:
            self._counts.failed += 1
            self._scheduler.finish(items)

    def _leave(self, found: ref[Part], _: Future[Values]) -> None:
        """A part is done, in whatever way: its rows wait no longer, and those that nobody else wants are dropped."""
        part = found()
        if part is not None:
            part.settle()
            with self._lock:
                self._withdraw(part)

    def _withdraw(self, part: Part) -> None:
        before = self._scheduler.waiting
        for row, item in enumerate(part.items):
            if item.state == "waiting":
                self._scheduler.withdraw(item, (part, row))
        self._counts.cancelled += before - self._scheduler.waiting
        part.items.clear()  # rows know their parts: that circle ends here


def _assembled(items: list[Item[Place]], places: list[Place]) -> Batch:
    """Rows one below another, padded to the longest; a part whose rows stayed together is taken as it is."""
    first = places[0][0]
    if len(places) == len(first.batch.lengths) and all(
        part is first and row == number for number, (part, row) in enumerate(places)
    ):
        return first.batch
    sizes = [item.length for item in items]
    lengths = np.array([part.batch.lengths[row] for part, row in places], np.int32)
    ids = np.full((len(places), max(sizes)), first.batch.pad_id, np.int32)
    for number, ((part, row), size) in enumerate(zip(places, sizes, strict=True)):
        ids[number, :size] = part.batch.ids[row, :size]
    second = np.array([part.batch.second[row] for part, row in places], np.int32)
    return Batch(ids, lengths, second, first.batch.pad_id)


def _hand_out(items: list[Item[Place]], values: Values) -> None:
    """Give each part its rows."""
    found: dict[Part, tuple[list[int], list[int]]] = {}
    for number, item in enumerate(items):
        for part, row in item.waiters:
            rows, numbers = found.setdefault(part, ([], []))
            rows.append(row)
            numbers.append(number)
        item.waiters = []
    for part, (rows, numbers) in found.items():
        part.add(rows, values if len(numbers) == len(values) == len(items) and _counting(numbers) else values[numbers])


def _broken_down(error: BaseException) -> EngineError:
    """What callers are told of a failure nobody foresaw: its kind, and the failure itself as the cause."""
    found = EngineError(f"the engine broke down on this batch ({type(error).__name__}); the log has the details")
    found.__cause__ = error
    return found


def _too_little_memory(batch: Batch, error: MemoryError) -> OutOfMemoryError:
    found = OutOfMemoryError(
        f"a batch of {len(batch.lengths)} texts, {batch.ids.shape[1]} tokens each, does not fit the memory of this "
        "machine; pass a smaller max_length"
    )
    found.__cause__ = error
    return found


def _counting(numbers: list[int]) -> bool:
    return all(number == place for place, number in enumerate(numbers))


def _fail(items: list[Item[Place]], error: BaseException) -> None:
    """Tell everyone who waits for these rows."""
    parts = {part for item in items for part, _ in item.waiters}
    for item in items:
        item.waiters = []
    for part in parts:
        part.fail(error)
