"""The queue that computes waiting batches together: each caller gets its own rows, and only what pads little merges."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event

import numpy as np
import pytest

from lagotto.batch.planner import similar
from lagotto.batch.sequences import Batch
from lagotto.core.errors import ClosedError
from lagotto.engines.base import TOKEN_BUDGET, Output
from lagotto.engines.merging import MergingQueue
from support.engines import ManualEngine, Vectors

PAD = 9


def batch(length: int, rows: int = 1, first: int = 5) -> Batch:
    """Rows that begin with ``first``, ``first + 1`` ..."""
    ids = np.full((rows, length), 7, np.int32)
    ids[:, 0] = first + np.arange(rows)
    return Batch(ids, np.full(rows, length, np.int32), np.full(rows, length - 1, np.int32), PAD)


class Held:
    """A queue with one worker that is kept busy until `release`, and a record of what was computed after that."""

    def __init__(self) -> None:
        self.computed: list[Batch] = []
        self._gate, entered = Event(), Event()

        def compute(given: Batch, output: Output) -> Vectors:
            if not entered.is_set():
                entered.set()
                self._gate.wait()
            else:
                self.computed.append(given)
            return ManualEngine.answer(given)

        self.queue = MergingQueue(1, compute, "held")
        self._first = self.queue.submit(batch(2))
        entered.wait()

    def release(self) -> None:
        self._gate.set()
        self.queue.close()


@pytest.fixture
def held() -> Iterator[Held]:
    holder = Held()
    yield holder
    holder.release()


def check(given: Batch, future: Future[Vectors]) -> None:
    np.testing.assert_array_equal(future.result(), ManualEngine.answer(given))


def test_only_what_wants_the_same_output_is_merged(held: Held) -> None:
    given = [batch(9, first=10 * number) for number in range(4)]
    futures = [held.queue.submit(one, "states" if number % 2 else "pooled") for number, one in enumerate(given)]
    held.release()
    for one, future in zip(given, futures, strict=True):
        check(one, future)
    assert [sorted(done.ids[:, 0].tolist()) for done in held.computed] == [[0, 20], [10, 30]]


def test_similar_batches_are_computed_together(held: Held) -> None:
    given = [batch(40, 2), batch(50, 1, 20), batch(45, 3, 30)]
    futures = [held.queue.submit(one) for one in given]
    held.release()
    for one, future in zip(given, futures, strict=True):
        check(one, future)
    (merged,) = held.computed
    assert merged.ids.shape == (6, 50)
    assert sorted(merged.lengths.tolist()) == [40, 40, 45, 45, 45, 50]
    assert (merged.second == merged.lengths - 1).all()
    assert merged.pad_id == PAD
    for row, length in zip(merged.ids, merged.lengths, strict=True):
        assert (row[length:] == PAD).all()


def test_different_lengths_stay_apart(held: Held) -> None:
    given = [batch(20), batch(300), batch(100)]
    futures = [held.queue.submit(one) for one in given]
    held.release()
    for one, future in zip(given, futures, strict=True):
        check(one, future)
    assert [merged.ids.shape for merged in held.computed] == [(1, 20), (1, 300), (1, 100)]


def test_full_batches_stay_as_they_are(held: Held) -> None:
    given = [batch(50, TOKEN_BUDGET // 50) for _ in range(3)]
    futures = [held.queue.submit(one) for one in given]
    held.release()
    assert [merged.ids.shape for merged in held.computed] == [given[0].ids.shape] * 3
    for one, future in zip(given, futures, strict=True):
        check(one, future)


def test_a_batch_over_the_budget_is_computed_alone(held: Held) -> None:
    large, small = batch(50, TOKEN_BUDGET // 10), batch(50)
    futures = [held.queue.submit(one) for one in (large, small)]
    held.release()
    check(large, futures[0])
    check(small, futures[1])
    assert len(held.computed) == 2


def test_the_oldest_comes_first(held: Held) -> None:
    for length in (300, 20, 100, 21):
        held.queue.submit(batch(length))
    held.release()
    assert [merged.ids.shape[1] for merged in held.computed] == [300, 21, 100]


def test_what_was_cancelled_is_left_out(held: Held) -> None:
    given = [batch(40, first=10 * number) for number in range(4)]
    futures = [held.queue.submit(one) for one in given]
    assert futures[0].cancel()
    assert futures[2].cancel()
    held.release()
    check(given[1], futures[1])
    check(given[3], futures[3])
    (merged,) = held.computed
    assert merged.ids[:, 0].tolist() == [10, 30]


def test_closing_finishes_what_waits_and_refuses_more(held: Held) -> None:
    futures = [held.queue.submit(batch(40)) for _ in range(5)]
    held.release()
    assert all(future.done() for future in futures)
    with pytest.raises(ClosedError, match="closed"):
        held.queue.submit(batch(40))
    held.queue.close()


def test_random_batches_keep_to_the_limits_and_come_back_right(held: Held) -> None:
    random = np.random.default_rng(3)
    given = [
        batch(int(length), int(rows), 100 * number)
        for number, (length, rows) in enumerate(
            zip(random.integers(2, 300, 80), random.integers(1, 4, 80), strict=True)
        )
    ]
    futures = [held.queue.submit(one) for one in given]
    held.release()
    for one, future in zip(given, futures, strict=True):
        check(one, future)
    for merged in held.computed:
        assert similar(int(merged.lengths.min()), int(merged.lengths.max()))
        assert merged.ids.size <= max(TOKEN_BUDGET, 3 * 300)
    assert len(held.computed) < len(given)


def test_an_error_reaches_every_caller_and_the_worker_goes_on() -> None:
    def compute(given: Batch, output: Output) -> Vectors:
        if given.ids[0, 0] == 1:
            raise MemoryError("too little")
        return ManualEngine.answer(given)

    queue = MergingQueue(1, compute, "failing")
    for _ in range(3):
        with pytest.raises(MemoryError, match="too little"):
            queue.submit(batch(4, first=1)).result()
    check(batch(4), queue.submit(batch(4)))
    queue.close()


def test_many_threads_get_their_own_rows() -> None:
    queue = MergingQueue(3, lambda given, output: ManualEngine.answer(given), "busy")

    def work(seed: int) -> None:
        random = np.random.default_rng(seed)
        for _ in range(50):
            one = batch(int(random.integers(2, 60)), int(random.integers(1, 5)), int(random.integers(0, 1000)))
            check(one, queue.submit(one))

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, seed) for seed in range(8)]:
            done.result()
    queue.close()
