"""The queue that computes waiting batches together: each caller gets its own rows, and only what pads little merges."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Barrier, Event

import numpy as np
import pytest

from lagotto.batch.demand import demand
from lagotto.batch.planner import similar
from lagotto.batch.sequences import Batch
from lagotto.core.errors import ClosedError, DeadlineExceededError
from lagotto.engines.base import TOKEN_BUDGET, Adapted, Output
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


@pytest.mark.parametrize(
    "outputs",
    [
        ("pooled", "states"),
        ("pooled", Adapted("pooled", "legal")),
        (Adapted("pooled", "medical"), Adapted("pooled", "legal")),
    ],
)
def test_only_what_wants_the_same_output_is_merged(held: Held, outputs: tuple[Output, Output]) -> None:
    given = [batch(9, first=10 * number) for number in range(4)]
    futures = [held.queue.submit(one, outputs[number % 2]) for number, one in enumerate(given)]
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
    given = [batch(50, TOKEN_BUDGET // 50, 100 * number) for number in range(3)]
    futures = [held.queue.submit(one) for one in given]
    held.release()
    assert all(merged is one for merged, one in zip(held.computed, given, strict=True))
    for one, future in zip(given, futures, strict=True):
        check(one, future)


def test_a_batch_over_the_budget_is_split_and_put_together_again(held: Held) -> None:
    large, small = batch(50, TOKEN_BUDGET // 10), batch(50, first=900)
    futures = [held.queue.submit(one) for one in (large, small)]
    held.release()
    check(large, futures[0])
    check(small, futures[1])
    assert len(held.computed) > 4
    assert all(merged.ids.size <= TOKEN_BUDGET for merged in held.computed)


def test_a_text_over_the_budget_is_computed_alone(held: Held) -> None:
    long, short = batch(TOKEN_BUDGET + 100), batch(TOKEN_BUDGET + 90)
    futures = [held.queue.submit(one) for one in (long, short)]
    held.release()
    check(long, futures[0])
    check(short, futures[1])
    assert [len(merged.lengths) for merged in held.computed] == [1, 1]


def test_a_budget_of_its_own_holds() -> None:
    shapes: list[tuple[int, ...]] = []

    def compute(given: Batch, output: Output) -> Vectors:
        shapes.append(given.ids.shape)
        return ManualEngine.answer(given)

    queue = MergingQueue(1, compute, "small", budget=20)
    check(batch(10, 5), queue.submit(batch(10, 5)))
    assert shapes == [(2, 10), (2, 10), (1, 10)]
    queue.close()


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


@pytest.mark.parametrize("asked", ["states", Adapted("states", "legal")])
def test_rows_of_states_are_put_together_again_whatever_they_were_padded_to(held: Held, asked: Output) -> None:
    def states(given: Batch, output: Output) -> Vectors:
        return np.repeat(given.ids[:, :, None], 2, axis=2).astype(np.float32)

    queue = MergingQueue(1, states, "states", budget=30)
    lengths = [12, 9, 7, 3]
    ids = np.full((4, 12), PAD, np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = 10 * row + np.arange(length)
    given = Batch(ids, np.array(lengths, np.int32), np.array(lengths, np.int32), PAD)
    found = queue.submit(given, asked).result()
    assert found.shape == (4, 12, 2)
    for row, length in enumerate(lengths):
        np.testing.assert_array_equal(found[row, :length, 0], ids[row, :length])
    assert np.isfinite(found).all()
    queue.close()


# The same rows.


def test_a_row_that_several_want_is_computed_once(held: Held) -> None:
    same = [batch(9, first=3), batch(9, 4, first=1), batch(9, first=3)]
    futures = [held.queue.submit(one) for one in same]
    held.release()
    for one, future in zip(same, futures, strict=True):
        check(one, future)
    assert sum(len(merged.lengths) for merged in held.computed) == 4
    assert held.queue.stats().shared == 2


def test_rows_that_differ_in_anything_are_not_the_same(held: Held) -> None:
    other = batch(9)
    other = Batch(other.ids, other.lengths, other.second - 1, PAD)
    outputs: list[Output] = ["states", Adapted("pooled", "legal"), Adapted("pooled", "medical")]
    held.queue.submit(other, "pooled")
    for output in ("pooled", *outputs):
        held.queue.submit(batch(9), output)
    held.release()
    assert sum(len(merged.lengths) for merged in held.computed) == 5


def test_who_shares_a_row_may_leave_and_the_other_gets_it(held: Held) -> None:
    futures = [held.queue.submit(batch(9)) for _ in range(3)]
    assert futures[0].cancel()
    held.release()
    check(batch(9), futures[1])
    check(batch(9), futures[2])


# Priorities, deadlines, taking back.


def test_interactive_calls_come_before_bulk(held: Held) -> None:
    with demand(priority="bulk"):
        bulk = [held.queue.submit(batch(100, 7, 10 * number)) for number in range(3)]
    query = held.queue.submit(batch(8))
    held.release()
    check(batch(8), query)
    assert [merged.ids.shape for merged in held.computed] == [(1, 8), (7, 100), (7, 100), (7, 100)]
    assert all(future.done() for future in bulk)


def test_what_is_late_is_dropped_and_its_caller_told(held: Held) -> None:
    with demand(timeout=0.01):
        late = held.queue.submit(batch(20, 3))
    good = held.queue.submit(batch(20, first=50))
    time.sleep(0.02)
    held.release()
    check(batch(20, first=50), good)
    with pytest.raises(DeadlineExceededError):
        late.result()
    assert [merged.ids.shape for merged in held.computed] == [(1, 20)]
    assert held.queue.stats().expired == 3


def test_a_call_that_is_taken_back_is_not_computed(held: Held) -> None:
    with demand() as mine:
        futures = [held.queue.submit(batch(20, 2, 10 * number)) for number in range(3)]
    assert held.queue.stats().waiting == 6
    mine.cancel()
    stats = held.queue.stats()
    assert (stats.waiting, stats.waiting_tokens, stats.cancelled) == (0, 0, 6)
    assert not wait(futures, timeout=0).not_done
    held.release()
    assert held.computed == []
    assert mine.tokens == 120


def test_the_figures_of_a_queue_add_up(held: Held) -> None:
    held.queue.submit(batch(40, 2))
    held.queue.submit(batch(50, first=70))
    time.sleep(0.001)
    before = held.queue.stats()
    assert (before.waiting, before.waiting_tokens) == (3, 130)
    assert before.oldest_wait > 0
    held.release()
    after = held.queue.stats()
    assert (after.waiting, after.waiting_tokens, after.oldest_wait) == (0, 0, 0)
    assert (after.batches, after.rows, after.tokens, after.padded_tokens) == (2, 4, 132, 152)
    assert (after.merged, after.failed) == (1, 0)


def test_the_speed_is_that_of_full_batches(held: Held) -> None:
    held.queue.submit(batch(40))
    held.release()
    assert held.queue.stats().tokens_per_second == 0, "a lone text says nothing of it"

    def slowly(given: Batch, output: Output) -> Vectors:
        time.sleep(0.01)
        return ManualEngine.answer(given)

    full = MergingQueue(2, slowly, "full")
    full.submit(batch(TOKEN_BUDGET // 2, 2)).result()
    full.close()
    assert 0 < full.stats().tokens_per_second <= 2 * TOKEN_BUDGET / 0.01


def test_every_worker_takes_its_part_of_what_one_call_has_planned() -> None:
    both, rows = Barrier(2), list[int]()

    def compute(given: Batch, output: Output) -> Vectors:
        rows.append(len(given.lengths))
        both.wait(60)  # neither goes on before the other has its part
        return ManualEngine.answer(given)

    queue = MergingQueue(2, compute, "pair")
    with demand():
        given = [batch(10, 4, 10 * number) for number in range(2)]
        futures = [queue.submit(one) for one in given]
    for one, future in zip(given, futures, strict=True):
        check(one, future)
    assert rows == [4, 4]
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
