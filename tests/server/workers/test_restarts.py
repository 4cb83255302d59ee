"""A worker that dies is started again at once; one that dies each time, at growing intervals."""

from __future__ import annotations

from lagotto.server.workers.restarts import LONG, MOST, Restarts


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_one_that_dies_each_time_is_started_ever_more_rarely() -> None:
    restarts = Restarts(Clock())
    delays = [restarts.plan(1, 0.5) for _ in range(9)]
    assert delays == [0, 1, 2, 4, 8, 16, MOST, MOST, MOST]
    assert restarts.total == 9
    assert restarts.plan(2, 0.5) == 0, "each for itself"


def test_one_that_has_worked_for_long_begins_anew() -> None:
    restarts = Restarts(Clock())
    assert [restarts.plan(1, 1), restarts.plan(1, 1), restarts.plan(1, LONG), restarts.plan(1, 1)] == [0, 1, 0, 1]


def test_what_is_due_is_told_once() -> None:
    clock = Clock()
    restarts = Restarts(clock)
    assert (restarts.due(), restarts.wait()) == ([], None)
    restarts.plan(1, 1)
    restarts.plan(2, 1)
    restarts.plan(2, 1)
    assert (restarts.wait(), restarts.due()) == (0, [1])
    assert (restarts.due(), restarts.wait()) == ([], 1)
    clock.now = 1
    assert (restarts.due(), restarts.wait()) == ([2], None)
