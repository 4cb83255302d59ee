"""The scheduler, by its properties and with a clock of its own."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.batch.demand import Priority
from lagotto.batch.planner import similar
from lagotto.batch.scheduler import AGE_LIMIT, SHARE, Item, Scheduler

BUDGET = 100
CALLS = [object() for _ in range(4)]


@dataclass(frozen=True)
class Row:
    """One arrival."""

    length: int
    priority: Priority
    key: int
    kind: str
    patience: float | None
    call: object = None
    """None: a call of its own."""


ROWS = st.builds(
    Row,
    length=st.integers(1, 30) | st.sampled_from([50, 90, 101, 150]),
    priority=st.sampled_from(["probe", "interactive", "bulk"]),
    key=st.integers(0, 2),
    kind=st.sampled_from(["pooled", "states"]),
    patience=st.none() | st.floats(0.1, 5),
    call=st.none() | st.integers(0, 3),
)
STEPS = st.lists(
    st.tuples(
        st.lists(ROWS, max_size=12), st.floats(0, 1), st.integers(1, 3), st.lists(st.integers(0, 50), max_size=3)
    ),
    max_size=25,
)

Steps = list[tuple[list[Row], float, int, list[int]]]


class Simulation:
    """Arrivals, withdrawals and batches, and who heard what of them."""

    def __init__(self) -> None:
        self.scheduler: Scheduler[int] = Scheduler(BUDGET)
        self.now = 0.0
        self.waiting: dict[int, Item[int]] = {}
        self.gave_up: set[int] = set()
        self.computed: list[int] = []
        self.expired: list[int] = []
        self.batches: list[list[Item[int]]] = []
        self.arrivals = 0

    def add(self, row: Row, group: object = None) -> int:
        waiter, self.arrivals = self.arrivals, self.arrivals + 1
        deadline = None if row.patience is None else self.now + row.patience
        key = (row.key, row.kind, row.length)
        known = self.scheduler._known.get(key)
        call = object() if row.call is None else CALLS[row.call]
        item, new = self.scheduler.add(
            Item(key, row.length, row.kind, call, (call, group, row.kind), row.priority, self.now, deadline, [waiter])
        )
        assert new == (known is None)
        self.waiting[waiter] = item
        return waiter

    def withdraw(self, waiter: int) -> None:
        item = self.waiting.get(waiter)
        if item is not None and item.state == "waiting":
            self.scheduler.withdraw(item, waiter)
            del self.waiting[waiter]
            self.gave_up.add(waiter)

    def step(self, idle: int = 1) -> list[Item[int]]:
        turn = self.scheduler.next_batch(self.now, idle)
        for item in turn.expired:
            assert item.deadline is not None
            assert item.deadline <= self.now
            self._over(item, self.expired)
        if turn.items:
            self.batches.append(turn.items)
            self.scheduler.finish(turn.items)
            for item in turn.items:
                self._over(item, self.computed)
        return turn.items

    def _over(self, item: Item[int], into: list[int]) -> None:
        assert item.waiters, "nobody waited for it"
        for waiter in item.waiters:
            into.append(waiter)
            del self.waiting[waiter]

    def drain(self) -> None:
        while self.step():
            pass


def simulated(steps: Steps) -> Simulation:
    simulation = Simulation()
    for number, (rows, pause, idle, leaving) in enumerate(steps):
        for row in rows:
            simulation.add(row, number)
        for waiter in leaving:
            simulation.withdraw(waiter)
        simulation.step(idle)
        simulation.now += pause
    simulation.drain()
    return simulation


def queue(
    scheduler: Scheduler[str], key: object, length: int, kind: str, priority: Priority, deadline: float | None,
    waiter: str, now: float,
) -> tuple[Item[str], bool]:  # fmt: skip
    """Queue a row of a call of its own."""
    return scheduler.add(Item(key, length, kind, object(), object(), priority, now, deadline, [waiter]))


@given(STEPS)
def test_nothing_is_lost_and_nothing_comes_twice(steps: Steps) -> None:
    found = simulated(steps)
    ends = found.computed + found.expired + list(found.gave_up)
    assert sorted(ends) == list(range(found.arrivals))
    assert (found.scheduler.waiting, found.scheduler.waiting_tokens) == (0, 0)
    assert found.scheduler.oldest() is None
    assert not found.scheduler._known


@given(STEPS)
def test_the_budget_and_the_lengths_of_a_batch_hold(steps: Steps) -> None:
    for items in simulated(steps).batches:
        lengths = [item.length for item in items]
        assert len(items) == 1 or len(items) * max(lengths) <= BUDGET
        assert len({item.kind for item in items}) == 1
        foreign = {item.length for item in items if item.group != items[0].group}
        if foreign:
            assert similar(min(lengths), max(lengths))


@given(STEPS)
def test_what_one_call_queued_apart_stays_apart(steps: Steps) -> None:
    for items in simulated(steps).batches:
        assert len({item.group for item in items if item.call is items[0].call}) == 1


@given(st.lists(st.lists(st.integers(1, 40), min_size=1, max_size=8), max_size=8), st.data())
def test_a_call_alone_is_computed_in_its_own_batches_whatever_the_moment(
    groups: list[list[int]], data: st.DataObject
) -> None:
    found = []
    for _ in range(2):
        simulation = Simulation()
        for number, lengths in enumerate(groups):
            for place, length in enumerate(lengths):
                simulation.add(Row(length, "bulk", 100 * number + place, "pooled", None, call=0), number)
            for _ in range(data.draw(st.integers(0, 2))):
                simulation.step(data.draw(st.integers(1, 3)))
        simulation.drain()
        found.append([[item.key for item in items] for items in simulation.batches])
    assert found[0] == found[1]


@given(STEPS)
def test_what_is_computed_was_wanted_at_that_moment(steps: Steps) -> None:
    simulation = Simulation()
    for number, (rows, pause, idle, _) in enumerate(steps):
        for row in rows:
            simulation.add(row, number)
        for item in simulation.step(idle):
            assert item.deadline is None or item.deadline > simulation.now
        simulation.now += pause


@given(st.lists(ROWS, max_size=40))
def test_every_batch_has_the_oldest_row_of_the_best_priority(rows: list[Row]) -> None:
    simulation = Simulation()
    for row in rows:
        simulation.add(row)
        simulation.now += 1e-6
    while simulation.waiting:
        best = min(["probe", "interactive", "bulk"].index(item.priority) for item in simulation.waiting.values())
        for_best = [i for i in simulation.waiting.values() if ["probe", "interactive", "bulk"][best] == i.priority]
        leader = simulation.step()[0]
        assert leader in for_best


@given(st.integers(1, 30), st.lists(st.integers(1, 150), min_size=1, max_size=6), st.integers(1, 3))
def test_bulk_gets_its_share_however_many_interactive_rows_come(bulk: int, lengths: list[int], idle: int) -> None:
    simulation = Simulation()
    for number in range(bulk):
        simulation.add(Row(90, "bulk", number, "pooled", None))
    simulation.now += AGE_LIMIT * 1.01
    steps = 0
    while any(item.priority == "bulk" for item in simulation.waiting.values()):
        for number, length in enumerate(lengths * 3):
            simulation.add(Row(length, "interactive", 1000 + steps * 100 + number, "pooled", None))
        simulation.step(idle)
        steps += 1
        assert steps <= SHARE * (bulk + 1)


def test_interactive_rows_keep_the_rest_while_old_bulk_waits() -> None:
    simulation = Simulation()
    for number in range(50):
        simulation.add(Row(90, "bulk", number, "pooled", None))
    simulation.now += 10 * AGE_LIMIT
    for number in range(50):
        simulation.add(Row(20, "interactive", 100 + number, "pooled", None))
    led = [simulation.step()[0].priority for _ in range(8)]
    assert led.count("bulk") == 8 // SHARE


def test_a_lone_query_is_computed_before_what_is_left_of_a_large_call() -> None:
    simulation = Simulation()
    for number in range(200):
        simulation.add(Row(50, "bulk", number, "pooled", None))
    simulation.step()
    query = simulation.add(Row(8, "interactive", 1000, "pooled", None))
    simulation.step()
    assert query in simulation.computed


def test_bulk_fills_the_room_that_is_left() -> None:
    simulation = Simulation()
    for number in range(20):
        simulation.add(Row(10, "bulk", number, "pooled", None))
    query = simulation.add(Row(10, "interactive", 100, "pooled", None))
    items = simulation.step()
    assert items[0] is not None
    assert query in simulation.computed
    assert len(items) == BUDGET // 10


def test_idle_workers_share_what_waits() -> None:
    simulation = Simulation()
    for number in range(8):
        simulation.add(Row(10, "interactive", number, "pooled", None))
    assert [len(simulation.step(idle)) for idle in (2, 1)] == [4, 4]


def test_the_same_row_is_computed_once_for_all_who_want_it() -> None:
    simulation = Simulation()
    waiters = [simulation.add(Row(10, "bulk", 1, "pooled", None)) for _ in range(3)]
    (item,) = simulation.step()
    assert item.waiters == waiters
    assert simulation.computed == waiters


def test_a_row_that_is_being_computed_is_joined() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET)
    item, new = queue(scheduler, "k", 5, "pooled", "bulk", None, "a", 0)
    assert new
    assert scheduler.next_batch(0).items == [item]
    again, new = queue(scheduler, "k", 5, "pooled", "bulk", None, "b", 0)
    assert (again, new, item.waiters) == (item, False, ["a", "b"])
    assert scheduler.waiting == 0
    scheduler.finish([item])
    assert queue(scheduler, "k", 5, "pooled", "bulk", None, "c", 0)[1]


def test_a_joined_row_becomes_as_urgent_as_the_most_urgent_and_lives_as_long_as_the_last() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET)
    for number in range(3):
        queue(scheduler, number, 90, "pooled", "bulk", 1.0, "a", 0)
    item, _ = queue(scheduler, 2, 90, "pooled", "interactive", 5.0, "b", 0)
    assert (item.priority, item.deadline) == ("interactive", 5.0)
    turn = scheduler.next_batch(2.0)
    assert turn.items == [item]
    assert [gone.key for gone in turn.expired] == [0, 1]
    other, _ = queue(scheduler, 3, 90, "pooled", "bulk", 6.0, "a", 2.0)
    queue(scheduler, 3, 90, "pooled", "bulk", None, "b", 2.0)
    assert other.deadline is None
    assert scheduler.next_batch(100.0).items == [other]


@pytest.mark.parametrize("late", [1.0, 1.5])
def test_a_row_is_dropped_at_its_deadline(late: float) -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET)
    item, _ = queue(scheduler, "k", 5, "pooled", "interactive", 1.0, "a", 0)
    turn = scheduler.next_batch(late)
    assert (turn.items, turn.expired) == ([], [item])
    assert scheduler.waiting == 0


def test_deadlines_of_rows_that_are_done_are_not_kept() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET)
    for number in range(5000):
        queue(scheduler, number, 50, "pooled", "interactive", 1e9, "a", 0)
        scheduler.finish(scheduler.next_batch(0).items)
    assert len(scheduler._deadlines) < 500


def test_the_oldest_wait_is_known() -> None:
    scheduler: Scheduler[str] = Scheduler(BUDGET)
    assert scheduler.oldest() is None
    queue(scheduler, "k", 5, "pooled", "interactive", None, "a", 3.0)
    queue(scheduler, "m", 5, "states", "bulk", None, "a", 2.0)
    assert scheduler.oldest() == 2.0
