"""Buckets: a minute's worth at once, and no more than that; clocks that are set change nothing."""

from __future__ import annotations

import time

import pytest

from lagotto.server.quotas import Bucket


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_a_minutes_worth_may_come_at_once_and_then_evenly(clock: Clock) -> None:
    bucket = Bucket(6, clock)
    assert [bucket.take() for _ in range(6)] == [0.0] * 6
    assert bucket.take() == pytest.approx(10)
    clock.now += 4
    assert bucket.take() == pytest.approx(6)
    clock.now += 6
    assert bucket.take() == 0.0
    assert bucket.take() == pytest.approx(10)


def test_what_is_refused_is_not_used(clock: Clock) -> None:
    bucket = Bucket(1, clock)
    bucket.take()
    for _ in range(100):
        assert bucket.take() == pytest.approx(60)


def test_a_quiet_hour_saves_no_more_than_a_minute(clock: Clock) -> None:
    bucket = Bucket(3, clock)
    clock.now += 3600
    assert [bucket.take() > 0 for _ in range(4)] == [False, False, False, True]


def test_what_is_known_afterwards_may_be_owed(clock: Clock) -> None:
    bucket = Bucket(60, clock)
    assert bucket.wait() == 0.0
    bucket.charge(180)
    assert bucket.wait() == pytest.approx(121)
    clock.now += 121
    assert bucket.wait() == 0.0


def test_a_clock_that_is_set_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = Bucket(2)
    assert [bucket.take(), bucket.take()] == [0.0, 0.0]
    for jump in (time.time() + 1e6, 0.0):
        monkeypatch.setattr(time, "time", lambda jump=jump: jump)
        assert 25 < bucket.take() <= 30
