"""What a call asks of the queue: priority, deadline, and that it can be taken back."""

from __future__ import annotations

import contextvars
import time
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Timer

import pytest

import lagotto
from lagotto.batch.demand import Demand, current, demand, using
from lagotto.core.errors import CallCancelledError, DeadlineExceededError, InvalidInputError


def test_without_a_word_a_call_is_interactive_and_has_all_the_time() -> None:
    assert (current().priority, current().deadline, current().left()) == ("interactive", None, None)


def test_a_block_has_its_demand_and_blocks_may_stand_in_blocks() -> None:
    with lagotto.demand(priority="bulk") as outer:
        assert current() is outer
        assert outer.priority == "bulk"
        with demand(timeout=5) as inner:
            assert current() is inner
            assert 4 < (inner.left() or 0) <= 5
        assert current() is outer
    assert current() is not outer


def test_a_thread_has_it_only_where_its_context_was_copied() -> None:
    with demand(priority="bulk") as mine, ThreadPoolExecutor(1) as thread:
        assert thread.submit(current).result() is not mine
        assert thread.submit(contextvars.copy_context().run, current).result() is mine


@pytest.mark.parametrize("timeout", [0, -1, float("nan")])
def test_a_timeout_that_is_none_is_refused(timeout: float) -> None:
    with pytest.raises(InvalidInputError, match="number of seconds over 0"), demand(timeout=timeout):
        pytest.fail("it began")


def test_a_priority_that_does_not_exist_is_refused_with_the_choices() -> None:
    with pytest.raises(InvalidInputError, match="probe, interactive, bulk"):
        Demand("urgent")  # type: ignore[arg-type]


def test_cancelling_reaches_parts_queued_before_and_after() -> None:
    mine, before, after = Demand(), Future[int](), Future[int]()
    mine.watch(before, 3)
    mine.check()
    mine.cancel()
    mine.watch(after, 4)
    assert before.cancelled()
    assert after.cancelled()
    assert mine.tokens == 7
    for part in (before, after):
        with pytest.raises(CallCancelledError):
            mine.result(part)
    with pytest.raises(CallCancelledError):
        mine.check()
    mine.cancel()


def test_parts_that_are_done_are_forgotten() -> None:
    mine, part = Demand(), Future[int]()
    mine.watch(part, 1)
    part.set_result(5)
    assert mine.result(part) == 5
    assert not mine._parts


def test_the_wait_for_a_part_ends_at_the_deadline() -> None:
    mine = Demand(deadline=time.monotonic() + 0.02)
    with pytest.raises(DeadlineExceededError, match="time it was given"):
        mine.result(Future())
    with pytest.raises(TimeoutError):
        mine.check()
    done: Future[int] = Future()
    done.set_result(1)
    assert mine.result(done) == 1, "what is there is given"


def test_a_parts_own_timeout_is_not_taken_for_the_calls() -> None:
    part: Future[int] = Future()
    part.set_exception(TimeoutError("mine"))
    with pytest.raises(TimeoutError, match="mine"):
        Demand().result(part)


def test_another_thread_may_cancel_who_waits() -> None:
    mine, part = Demand(), Future[int]()
    mine.watch(part, 1)
    Timer(0.02, mine.cancel).start()
    with using(mine), pytest.raises(CallCancelledError):
        current().result(part)
