"""Which requests a model takes, and what the others are told."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest

from lagotto.batch.demand import Demand
from lagotto.core.errors import OverloadedError
from lagotto.server.admission import Admission, AdmissionStats, promised


def unknown() -> float:
    return 0.0


@pytest.fixture
def admission() -> Admission:
    return Admission(100)


@pytest.fixture
def open_requests() -> ExitStack:
    return ExitStack()


def test_what_fits_is_taken_and_what_does_not_is_refused_until_there_is_room(admission: Admission) -> None:
    with admission.admitted(60, Demand(), unknown):
        with (
            pytest.raises(OverloadedError, match="60 tokens are waiting, 100 may"),
            admission.admitted(41, Demand(), unknown),
        ):
            pytest.fail("it came in")
        with admission.admitted(40, Demand(), unknown):
            assert admission.stats() == AdmissionStats(open_requests=2, open_tokens=100, admitted=2, refused=1)
    with admission.admitted(100, Demand(), unknown):
        pass
    assert admission.stats() == AdmissionStats(open_requests=0, open_tokens=0, admitted=3, refused=1)


def test_a_request_larger_than_the_bound_comes_in_when_nothing_else_is_there(admission: Admission) -> None:
    with (
        admission.admitted(5000, Demand("bulk"), unknown),
        pytest.raises(OverloadedError),
        admission.admitted(1, Demand("bulk"), unknown),
    ):
        pytest.fail("it came in")
    with (
        admission.admitted(1, Demand("bulk"), unknown),
        pytest.raises(OverloadedError),
        admission.admitted(5000, Demand("bulk"), unknown),
    ):
        pytest.fail("it came in")


def test_bulk_keeps_no_interactive_request_out(admission: Admission, open_requests: ExitStack) -> None:
    with open_requests as stack:
        stack.enter_context(admission.admitted(100, Demand("bulk"), unknown))
        stack.enter_context(admission.admitted(90, Demand("interactive"), unknown))
        for priority, tokens in (("bulk", 1), ("interactive", 11)):
            with pytest.raises(OverloadedError), admission.admitted(tokens, Demand(priority), unknown):  # type: ignore[arg-type]
                pytest.fail("it came in")


def test_the_time_to_come_again_follows_from_the_speed(admission: Admission) -> None:
    with admission.admitted(90, Demand(), unknown):
        with pytest.raises(OverloadedError) as slow, admission.admitted(30, Demand(), lambda: 5.0):
            pytest.fail("it came in")
        with pytest.raises(OverloadedError) as not_known, admission.admitted(30, Demand(), unknown):
            pytest.fail("it came in")
    assert slow.value.retry_after == pytest.approx(20 / 5.0)
    assert not_known.value.retry_after == 1.0


def test_what_cant_be_done_in_time_is_refused_at_once(admission: Admission) -> None:
    with admission.admitted(50, Demand(), unknown):
        late = Demand(deadline=time.monotonic() + 2)
        with (
            pytest.raises(OverloadedError, match=r"5\.0 s, and this request gives itself"),
            admission.admitted(10, late, lambda: 10.0),
        ):
            pytest.fail("it came in")
        with admission.admitted(10, Demand(deadline=time.monotonic() + 2), lambda: 1000.0):
            pass
        with admission.admitted(10, Demand(deadline=time.monotonic() + 2), unknown):
            pass


def test_the_pace_is_that_of_requests_in_a_crowd(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lagotto.server.admission.time.monotonic", lambda: now)
    with admission.admitted(1, Demand(), unknown):
        now += 50  # alone: it tells nothing
    assert admission._pace == 0
    with admission.admitted(50, Demand(), unknown):
        with admission.admitted(5, Demand(), unknown):
            now += 1.1
        assert admission._pace == pytest.approx(0.02)
        with pytest.raises(OverloadedError) as refusal, admission.admitted(60, Demand(), lambda: 1e9):
            pytest.fail("it came in")
        assert refusal.value.retry_after == pytest.approx(10 * 0.02), "what was seen counts, not what the engine could"
        with pytest.raises(OverloadedError), admission.admitted(5, Demand(deadline=now + 1), lambda: 1e9):
            pytest.fail("it came in")
        with admission.admitted(5, Demand(deadline=now + 2), lambda: 1e9):
            pass  # at once
        seen = admission._pace
        assert seen < 0.02
    with admission.admitted(5, Demand(), unknown):
        now += 0.001
    assert admission._pace < seen, "one that is quick without a crowd says that a crowd is no slower"


def test_what_was_given_up_can_only_make_the_pace_slower(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("lagotto.server.admission.time.monotonic", lambda: now)
    for seconds, slower in ((1.1, True), (0.0, False), (5.0, True)):
        before = admission._pace
        with (
            admission.admitted(50, Demand(), unknown),
            pytest.raises(TimeoutError),
            admission.admitted(5, Demand(), unknown),
        ):
            now += seconds
            raise TimeoutError
        assert (admission._pace > before) == slower


def test_what_failed_gives_its_place_back_too(admission: Admission) -> None:
    with pytest.raises(ZeroDivisionError), admission.admitted(100, Demand(), unknown):
        raise ZeroDivisionError
    assert admission.stats().open_tokens == 0


def test_estimates_follow_what_was_computed(admission: Admission) -> None:
    for _ in range(200):
        demand = Demand()
        with admission.admitted(10, demand, unknown):
            demand.tokens = 30
    assert admission.tokens(10) == pytest.approx(30, abs=1)
    for _ in range(200):
        demand = Demand()
        with admission.admitted(10, demand, unknown):
            demand.tokens = 10**9
    assert admission.tokens(10) <= 500, "one odd request does not close the door for all"


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        (b"", 0),
        (b"a" * 400, 100),
        ("熊猫吃竹子".encode(), 5),
        (b"\\u718a\\u732b", 2),
        ("é".encode() * 3, 2),
        (b"\xff\x00", 1 / 3 + 1 / 4),
    ],
)
def test_a_bodys_tokens_are_guessed_from_its_bytes(body: bytes, tokens: float) -> None:
    assert promised(body) == pytest.approx(tokens)
