"""What goes wrong in a batch is told to its callers and to nobody else, and the queue goes on."""

from __future__ import annotations

import gc
from threading import Event
from weakref import ref

import numpy as np
import pytest

from lagotto.batch.sequences import Batch
from lagotto.core.errors import EngineError, OutOfMemoryError
from lagotto.engines.base import Output
from lagotto.engines.merging import MergingQueue
from support.engines import ManualEngine, Vectors

PAD = 9


def batch(length: int, rows: int = 1, first: int = 5) -> Batch:
    """Rows that begin with ``first``, ``first + 1`` ..."""
    ids = np.full((rows, length), 7, np.int32)
    ids[:, 0] = first + np.arange(rows)
    return Batch(ids, np.full(rows, length, np.int32), np.full(rows, length - 1, np.int32), PAD)


def test_an_error_reaches_its_callers_alone_and_the_worker_goes_on() -> None:
    def compute(given: Batch, output: Output) -> Vectors:
        if given.ids[0, 0] == 1:
            raise ZeroDivisionError("a fault")
        return ManualEngine.answer(given)

    queue = MergingQueue(1, compute, "failing")
    for _ in range(3):
        with pytest.raises(EngineError, match="ZeroDivisionError") as raised:
            queue.submit(batch(4, first=1)).result()
        assert "a fault" in str(raised.value.__cause__)
        assert "a fault" not in str(raised.value), "which a server tells to clients"
    assert queue.submit(batch(4)).result().shape == (1, 3)
    assert queue.stats().failed == 3
    queue.close()


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_a_worker_that_breaks_down_is_an_engine_error_and_nobody_waits_for_ever(
    kind: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def compute(given: Batch, output: Output) -> Vectors:
        if given.ids[0, 0] == 1:
            raise kind("gone")
        return ManualEngine.answer(given)

    queue = MergingQueue(2, compute, "breaking")
    for _ in range(5):
        with pytest.raises(EngineError, match=kind.__name__):
            queue.submit(batch(4, first=1)).result(60)
    assert queue.submit(batch(4)).result().shape == (1, 3)
    queue.close()
    assert "broke down" in caplog.text


def test_too_little_memory_halves_the_batch_once() -> None:
    tried: list[int] = []

    def compute(given: Batch, output: Output) -> Vectors:
        tried.append(len(given.lengths))
        if len(given.lengths) > limit:
            raise MemoryError("too little")
        return ManualEngine.answer(given)

    queue, limit = MergingQueue(1, compute, "tight"), 4
    assert queue.submit(batch(10, 8)).result().shape == (8, 3)
    assert tried == [8, 4, 4]
    limit = 0
    for rows in (1, 8):
        with pytest.raises(OutOfMemoryError, match="does not fit the memory"):
            queue.submit(batch(10, rows)).result()
    assert tried[3:6] == [1, 8, 4]
    queue.close()


def test_a_row_that_fails_ends_its_call_and_drops_the_rest_of_it() -> None:
    gate, entered = Event(), Event()

    def compute(given: Batch, output: Output) -> Vectors:
        entered.set()
        gate.wait()
        raise ZeroDivisionError

    queue = MergingQueue(1, compute, "failing", budget=20)
    future = queue.submit(batch(10, 6))
    entered.wait()
    gate.set()
    with pytest.raises(EngineError):
        future.result()
    queue.close()
    assert (queue.stats().failed, queue.stats().cancelled) == (1, 4)


def test_arrays_go_with_their_call_without_a_collection_of_garbage() -> None:
    queue = MergingQueue(1, lambda given, output: ManualEngine.answer(given), "light")
    gc.disable()
    try:
        one = batch(10, 4)
        seen = ref(one.ids)
        future = queue.submit(one)
        future.result()
        del one, future
        queue.submit(batch(5)).result()  # the worker holds its last batch until it begins the next
        queue.submit(batch(6)).result()
        assert seen() is None
    finally:
        gc.enable()
    queue.close()
