"""The scheduler: which rows that wait are computed next. Pure policy; no threads, no tensors, and the clock is given.

Its rules:

- A batch has a leader. With it come the rows that were queued together with it, and then rows of other calls, nearest
  in length first, within a budget of padded tokens. Those of a better priority go in first; bulk fills what is left.
- Rows of one call that were queued apart stay apart: it has planned them so. A call that is alone is therefore computed
  in the batches it planned, whatever the moment, and gets the same bits each time.
- The leader is the oldest row of the best priority, so that no length waits for its like for ever.
- Bulk rows that have waited longer than `AGE_LIMIT` lead every `SHARE`-th batch, so that they get on however many
  interactive ones come, and the interactive ones keep the rest.
- While workers are idle, calls that wait are spread over them rather than left to one.
- A row that waits or is being computed already is not queued twice: whoever else wants it waits for the same one.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice
from typing import Generic, Literal, TypeVar, get_args

from lagotto.batch.demand import Priority
from lagotto.batch.planner import similar

W = TypeVar("W")

AGE_LIMIT = 1.0
"""Seconds a bulk row yields to interactive ones before it has a claim of its own."""
SHARE = 4
"""One of so many batches is led by bulk rows that have waited too long, while there are interactive ones as well."""

_FEW = 100  # deadlines too few to be worth tidying
_PRIORITIES: tuple[Priority, ...] = get_args(Priority)  # best first


@dataclass(slots=True, eq=False)
class Item(Generic[W]):
    """One row to compute, and who waits for it."""

    key: Hashable
    """What makes two rows the same: they are computed once."""
    length: int
    """Tokens."""
    kind: Hashable
    """What is wanted of it; rows of different kinds share no batch."""
    call: object
    """Whose it is,"""
    group: Hashable
    """and with which rows it was queued together."""
    priority: Priority
    arrived: float
    deadline: float | None
    """The latest of those who wait; None when one of them has no deadline."""
    waiters: list[W] = field(default_factory=list)
    state: Literal["waiting", "running", "gone"] = "waiting"


@dataclass(frozen=True, slots=True)
class Turn(Generic[W]):
    """What a worker does next."""

    items: list[Item[W]]
    """Rows to compute together; none when nothing waits."""
    expired: list[Item[W]]
    """Rows nobody wants any more because their deadline has passed; they are out of the queue."""


class Scheduler(Generic[W]):
    """Rows that wait, in the order in which they should be computed. Not thread-safe: its owner holds a lock."""

    def __init__(self, budget: int, age_limit: float = AGE_LIMIT) -> None:
        self._budget = budget
        self._age_limit = age_limit
        self._lanes: dict[tuple[Priority, Hashable], _Lane[W]] = {}
        self._groups: dict[Hashable, dict[Item[W], None]] = {}  # rows that wait, by what they were queued together with
        self._known: dict[Hashable, Item[W]] = {}  # waiting and running
        self._deadlines: list[tuple[float, int, Item[W]]] = []
        self._number = count()
        self._yielded = 0  # batches since bulk last led one
        self.waiting = 0
        """Rows that wait."""
        self.waiting_tokens = 0
        """Their tokens."""

    def add(self, item: Item[W]) -> tuple[Item[W], bool]:
        """Queue a row, or let its waiters join the same row that is there: what they wait for, and if it is new."""
        known = self._known.setdefault(item.key, item)
        if known is not item:
            known.waiters += item.waiters
            if known.state == "waiting":
                self._join(known, item.priority, item.deadline)
            return known, False
        self.waiting += 1
        self.waiting_tokens += item.length
        self._lane(item).add(item)
        self._groups.setdefault(item.group, {})[item] = None
        self._note_deadline(item)
        return item, True

    def withdraw(self, item: Item[W], waiter: W) -> None:
        """One who waited does so no longer; a row that nobody waits for leaves the queue."""
        if waiter in item.waiters:
            item.waiters.remove(waiter)
        if not item.waiters and item.state == "waiting":
            self._take(item, "gone")

    def next_batch(self, now: float, idle: int = 1) -> Turn[W]:
        """The rows to compute next, by one of ``idle`` workers that have nothing to do; `finish` ends them."""
        expired = self._expire(now)
        leader = self._leader(now)
        if leader is None:
            return Turn([], expired)
        items = self._together(leader)
        low, high = min(i.length for i in items), max(i.length for i in items)
        budget = self._budget if idle == 1 else min(self._budget, -(-self.waiting_tokens // idle))
        for lane in self._alike(leader):
            for length in lane.nearest(leader.length):
                least, most = min(low, length), max(high, length)
                room = budget // max(1, most) - len(items)
                if room > 0 and similar(least, most) and (more := lane.first(length, room, leader.call)):
                    items += more
                    low, high = least, most
        for item in items:
            self._take(item, "running")
        return Turn(items, expired)

    def finish(self, items: list[Item[W]]) -> None:
        """These rows have been computed; from now on the same rows are new ones."""
        for item in items:
            item.state = "gone"
            del self._known[item.key]

    def oldest(self) -> float | None:
        """When the row that has waited longest arrived."""
        return min((item.arrived for lane in self._lanes.values() if (item := lane.oldest())), default=None)

    def _join(self, item: Item[W], priority: Priority, deadline: float | None) -> None:
        """Let a waiting row serve one more: it becomes as urgent as the most urgent, and lives as long as the last."""
        if _PRIORITIES.index(priority) < _PRIORITIES.index(item.priority):
            self._lane(item).remove(item)
            item.priority = priority
            self._lane(item).add(item)
        if item.deadline is not None and (deadline is None or deadline > item.deadline):
            item.deadline = deadline
            self._note_deadline(item)

    def _together(self, leader: Item[W]) -> list[Item[W]]:
        """The leader and what was queued with it, in the order in which it was, as far as the budget goes."""
        items, longest = [leader], max(1, leader.length)
        for item in self._groups[leader.group]:
            if item is leader:
                continue
            longest = max(longest, item.length)
            if (len(items) + 1) * longest > self._budget:
                break
            items.append(item)
        return items

    def _lane(self, item: Item[W]) -> _Lane[W]:
        return self._lanes.setdefault((item.priority, item.kind), _Lane())

    def _alike(self, leader: Item[W]) -> Iterator[_Lane[W]]:
        """Lanes whose rows may share the leader's batch, best first."""
        for priority in _PRIORITIES:
            lane = self._lanes.get((priority, leader.kind))
            if lane is not None:
                yield lane

    def _leader(self, now: float) -> Item[W] | None:
        oldest: dict[Priority, Item[W]] = {}
        for (priority, _), lane in self._lanes.items():
            item = lane.oldest()
            if item is not None and (priority not in oldest or item.arrived < oldest[priority].arrived):
                oldest[priority] = item
        bulk = oldest.get("bulk")
        overdue = bulk is not None and now - bulk.arrived > self._age_limit and self._yielded >= SHARE - 1
        leader = bulk if overdue else next((oldest[p] for p in _PRIORITIES if p in oldest), None)
        self._yielded = 0 if leader is bulk else self._yielded + 1
        return leader

    def _expire(self, now: float) -> list[Item[W]]:
        found = []
        while self._deadlines and self._deadlines[0][0] <= now:
            deadline, _, item = heapq.heappop(self._deadlines)
            if item.state == "waiting" and item.deadline == deadline:  # else it was computed, or lives longer now
                self._take(item, "gone")
                found.append(item)
        return found

    def _note_deadline(self, item: Item[W]) -> None:
        if item.deadline is None:
            return
        heapq.heappush(self._deadlines, (item.deadline, next(self._number), item))
        if len(self._deadlines) > 2 * self.waiting + _FEW:  # most of them are of rows that were computed in time
            self._deadlines = [entry for entry in self._deadlines if entry[2].state == "waiting"]
            heapq.heapify(self._deadlines)

    def _take(self, item: Item[W], state: Literal["running", "gone"]) -> None:
        self._lane(item).remove(item)
        group = self._groups[item.group]
        del group[item]
        if not group:
            del self._groups[item.group]
        self.waiting -= 1
        self.waiting_tokens -= item.length
        item.state = state
        if state == "gone":
            del self._known[item.key]


class _Lane(Generic[W]):
    """Waiting rows of one priority and kind: by arrival, and by length. Ordered dicts give up any of them at once."""

    def __init__(self) -> None:
        self._all: OrderedDict[Item[W], None] = OrderedDict()
        self._by_length: dict[int, OrderedDict[Item[W], None]] = {}

    def add(self, item: Item[W]) -> None:
        self._all[item] = None
        self._by_length.setdefault(item.length, OrderedDict())[item] = None

    def remove(self, item: Item[W]) -> None:
        del self._all[item]
        same = self._by_length[item.length]
        del same[item]
        if not same:
            del self._by_length[item.length]

    def oldest(self) -> Item[W] | None:
        return next(iter(self._all), None)

    def nearest(self, length: int) -> list[int]:
        """Lengths that occur, nearest first."""
        return sorted(self._by_length, key=lambda other: abs(other - length))

    def first(self, length: int, number: int, but: object) -> list[Item[W]]:
        """The oldest rows of a length, up to a number of them, without those of one call."""
        return list(islice((item for item in self._by_length[length] if item.call is not but), number))
