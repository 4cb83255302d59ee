"""The one loop, on an engine whose batches are computed when the test says so."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from lagotto.batch.demand import demand
from lagotto.batch.sequences import Batch, Sequences
from lagotto.core.errors import CallCancelledError, DeadlineExceededError
from lagotto.engines.base import Output
from lagotto.models.pipeline import CHUNK, CHUNK_CHARACTERS, Computed, Pooled, chunks, run
from support.engines import ManualEngine


def sequences(lengths: list[int], first: int = 0, owner: list[int] | None = None) -> Sequences:
    """Sequences that begin with their own number, so that misplaced outputs are seen."""
    ids = [np.array([first + number, *[7] * (length - 1)], np.int32) for number, length in enumerate(lengths)]
    owners = list(range(len(ids))) if owner is None else owner
    return Sequences(ids, lengths, [False] * len(ids), owners, len(set(owners)))


def some(number: int, seed: int = 0) -> Sequences:
    lengths = np.random.default_rng(seed).integers(2, 100, number).tolist()
    return sequences(lengths, first=1000 * seed)


def collect(given: Sequences) -> Pooled:
    return Pooled(len(given), 3)


def check(part: Computed) -> None:
    expected = [[len(ids), ids[0], ids[1]] for ids in part.sequences.ids]
    np.testing.assert_array_equal(part.outputs, np.array(expected, np.float32).reshape(-1, 3))


def test_outputs_come_in_the_order_of_their_sequences() -> None:
    given = [some(40, seed) for seed in range(5)]
    parts = list(run(ManualEngine(), 0, given, collect))
    assert [part.sequences for part in parts] == given
    for part in parts:
        check(part)


def test_batches_may_finish_in_any_order() -> None:
    engine = ManualEngine()

    def encoded() -> Iterator[Sequences]:
        for seed in range(4):
            yield some(40, seed)
            for future in reversed(engine.waiting()):
                future.finish()

    parts = list(run(engine, 0, encoded(), collect))
    assert len(engine.started) > 8
    assert len(parts) == 4
    for part in parts:
        check(part)


def test_no_more_than_two_chunks_are_held() -> None:
    read = 0

    def encoded() -> Iterator[Sequences]:
        nonlocal read
        while True:
            read += 1
            yield some(3, read)

    parts = run(ManualEngine(), 0, encoded(), collect)
    for taken in range(1, 6):
        next(parts)
        assert read == taken + 1


def test_a_huge_chunk_does_not_fill_the_engines_queue() -> None:
    longest = 0

    class Watched(ManualEngine):
        def submit(self, batch: Batch, output: Output = "pooled"):  # type: ignore[no-untyped-def]
            nonlocal longest
            longest = max(longest, len(self.waiting()))
            return super().submit(batch)

    (part,) = run(Watched(), 0, [sequences([500] * 2000)], collect)
    check(part)
    assert longest < 100


def test_closing_early_cancels_what_has_not_started() -> None:
    engine = ManualEngine()
    parts = run(engine, 0, (some(40, seed) for seed in range(10)), collect)
    next(parts)
    waiting = engine.waiting()
    assert waiting
    parts.close()  # type: ignore[attr-defined]
    assert all(future.cancelled() for future in waiting)


def test_an_exception_in_the_input_cancels_what_has_not_started() -> None:
    engine = ManualEngine()

    def encoded() -> Iterator[Sequences]:
        yield some(40)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        next(run(engine, 0, encoded(), collect))
    assert engine.started
    assert all(future.cancelled() for future in engine.started)


def test_an_exception_of_the_engine_reaches_the_caller_and_cancels_the_rest() -> None:
    engine = ManualEngine()

    def encoded() -> Iterator[Sequences]:
        yield some(40)
        engine.started[0].set_running_or_notify_cancel()
        engine.started[0].set_exception(MemoryError("too little"))
        yield some(40, 1)

    with pytest.raises(MemoryError, match="too little"):
        next(run(engine, 0, encoded(), collect))
    assert len(engine.started) > 4
    assert all(future.cancelled() for future in engine.started[1:])


def test_an_interrupt_while_submitting_cancels_what_was_started() -> None:
    class Full(ManualEngine):
        def submit(self, batch: Batch, output: Output = "pooled"):  # type: ignore[no-untyped-def]
            if len(self.started) == 3:
                raise KeyboardInterrupt
            return super().submit(batch)

    engine = Full()
    with pytest.raises(KeyboardInterrupt):
        next(run(engine, 0, [some(100)], collect))
    assert len(engine.started) == 3
    assert all(future.cancelled() for future in engine.started)


def test_an_exception_in_the_progress_function_reaches_the_caller_and_cancels_the_rest() -> None:
    def stop(_: int) -> None:
        raise KeyboardInterrupt

    engine = ManualEngine()
    with pytest.raises(KeyboardInterrupt):
        list(run(engine, 0, [some(40), some(40, 1)], collect, stop))
    assert not engine.waiting()
    assert any(future.cancelled() for future in engine.started)


def test_a_call_that_was_taken_back_queues_nothing_more() -> None:
    engine = ManualEngine()
    with demand() as mine:
        parts = run(engine, 0, (some(40, seed) for seed in range(10)), collect)
        next(parts)
        started = len(engine.started)
        mine.cancel()
        with pytest.raises(CallCancelledError):
            list(parts)
    assert len(engine.started) == started
    assert not engine.waiting()


def test_a_call_that_is_late_queues_nothing_more() -> None:
    engine = ManualEngine()
    with demand() as mine, pytest.raises(DeadlineExceededError):
        parts = run(engine, 0, (some(40, seed) for seed in range(10)), collect)
        next(parts)
        mine.deadline = 0.0
        list(parts)
    assert not engine.waiting()


def test_progress_adds_up() -> None:
    told: list[int] = []
    list(run(ManualEngine(), 0, [some(40, 1), some(25, 2)], collect, told.append))
    assert sum(told) == 65
    assert all(number > 0 for number in told)


def test_progress_counts_an_input_when_its_last_window_is_done() -> None:
    told: list[int] = []
    list(run(ManualEngine(), 0, [sequences([90, 90, 90, 3, 50], owner=[0, 0, 0, 1, 2])], collect, told.append))
    assert sum(told) == 3


def test_nothing_runs_nothing() -> None:
    engine = ManualEngine()
    assert list(run(engine, 0, [], collect)) == []
    (part,) = run(engine, 0, [sequences([])], collect)
    assert part.outputs.shape == (0, 3)
    assert not engine.started


def test_chunks_hold_a_fixed_number_and_take_no_more() -> None:
    iterator = iter(range(2 * CHUNK + 5))
    made = chunks(iterator, lambda _: 1)
    assert next(made) == (0, list(range(CHUNK)))
    assert next(iterator) == CHUNK
    assert [(start, len(chunk)) for start, chunk in made] == [(CHUNK, CHUNK), (2 * CHUNK, 4)]


def test_chunks_of_long_inputs_are_shorter() -> None:
    half = CHUNK_CHARACTERS // 2
    assert [len(chunk) for _, chunk in chunks([half] * 5, lambda size: size)] == [2, 2, 1]


def test_a_sequence_that_comes_several_times_is_computed_once() -> None:
    engine, told = ManualEngine(), list[int]()
    given = sequences([5, 9, 5, 30, 9, 5])
    for row, first in ((2, 0), (4, 1), (5, 0)):
        given.ids[row] = given.ids[first].copy()
    (part,) = run(engine, 0, [given], collect, told.append)
    check(part)
    assert sum(len(future.batch.lengths) for future in engine.started) == 3
    assert sum(told) == 6


def test_the_same_tokens_as_another_pair_are_not_the_same() -> None:
    engine = ManualEngine()
    given = sequences([5, 5])
    given.ids[1] = given.ids[0].copy()
    given.second[1] = 2
    list(run(engine, 0, [given], collect))
    assert sum(len(future.batch.lengths) for future in engine.started) == 2
