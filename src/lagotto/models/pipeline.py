"""The one loop that every text and every pair goes through: token ids -> planned batches -> engine -> arrays."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import islice
from typing import Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.demand import Demand, current, using
from lagotto.batch.planner import MAX_ROWS, plan
from lagotto.batch.sequences import Sequences, pad
from lagotto.engines.base import Engine, Output

T = TypeVar("T")
V = TypeVar("V")
V_co = TypeVar("V_co", covariant=True)

CHUNK = 2048
"""Inputs tokenised and length-sorted together: enough that batches hardly need padding, few enough to stay small."""
CHUNK_CHARACTERS = 4_000_000
_NUMBERS = 4_000_000
"""Pooled numbers of a full batch: 16 MB. Only rows over a vocabulary are long enough for it to matter."""
_QUEUED = 5  # full batches of one call that are queued or computed, for each thread: enough to never idle


class Collector(Protocol[V_co]):
    """Puts together what the engine gives for the batches of one chunk."""

    @property
    def output(self) -> Output:
        """What it wants of the engine."""
        ...

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """What the engine gave for these sequences of the chunk."""
        ...

    def value(self) -> V_co:
        """All of it, when every sequence was there."""
        ...


class Pooled:
    """(sequences, width) float32, in the order of the sequences: vectors, logits, or scores."""

    def __init__(self, sequences: int, width: int, output: Output = "pooled") -> None:
        self.output = output
        self._values = np.empty((sequences, width), np.float32)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """One row a sequence."""
        self._values[rows] = values

    def value(self) -> NDArray[np.float32]:
        """The matrix."""
        return self._values


@dataclass(frozen=True, slots=True)
class Computed(Generic[V]):
    """A chunk's sequences and what was made of them."""

    sequences: Sequences
    outputs: V


def chunks(inputs: Iterable[T], size_of: Callable[[T], int]) -> Iterator[tuple[int, list[T]]]:
    """(number of the first, list of up to `CHUNK` inputs); fewer when they are long. Reads no further than it gives."""
    iterator = iter(inputs)
    start = 0
    while chunk := list(islice(iterator, 1)):
        characters = size_of(chunk[0])
        for item in islice(iterator, CHUNK - 1):
            chunk.append(item)
            characters += size_of(item)
            if characters >= CHUNK_CHARACTERS:
                break
        yield start, chunk
        start += len(chunk)


def run(
    engine: Engine,
    pad_id: int,
    encoded: Iterable[Sequences],
    collect: Callable[[Sequences], Collector[V]],
    done: Callable[[int], None] | None = None,
) -> Iterator[Computed[V]]:
    """Compute chunks of sequences, in order; ``collect`` makes what puts a chunk's results together.

    ``done`` hears, in the caller's thread, how many inputs were finished.

    While the engine computes one chunk the next is tokenised, and no more than two are held, so any number of texts
    streams through constant memory. Closing the iterator cancels what has not started. Where the call's `Demand` has a
    deadline or is cancelled, nothing more is queued, and `DeadlineExceededError` or `CallCancelledError` comes.
    """
    pending: deque[_Pending[V]] = deque()
    demand = current()
    try:
        for sequences in encoded:
            pending.append(_Pending(engine, sequences, collect(sequences), demand, done))
            pending[-1].submit(pad_id)
            if len(pending) > 1:
                yield pending.popleft().gather()
        while pending:
            yield pending.popleft().gather()
    finally:
        for chunk in pending:
            chunk.cancel()


class _Pending(Generic[V]):
    """A chunk whose batches are handed to the engine, and collected as they finish."""

    def __init__(
        self,
        engine: Engine,
        sequences: Sequences,
        collector: Collector[V],
        demand: Demand,
        done: Callable[[int], None] | None,
    ) -> None:
        self._engine = engine
        self._sequences = sequences
        self._collector = collector
        self._done = done
        self._parts: deque[tuple[list[int], int, Future[NDArray[np.float32]]]] = deque()
        self._demand = demand
        self._in_flight = 0  # padded tokens, or what long rows are worth in them
        self._same = _same(sequences)
        self._left = Counter(sequences.owner)  # windows of each input that are not finished

    def submit(self, pad_id: int) -> None:
        """Plan the batches and queue them, few at a time: others use the engine too."""
        lengths = [len(self._sequences.ids[row]) for row in self._same]
        # A small request is spread over all parallel batches rather than left to one.
        info = self._engine.info
        budget = min(info.token_budget, -(-sum(lengths) // info.parallel))
        limit = _QUEUED * info.token_budget * info.parallel
        width = info.output if self._collector.output == "pooled" else 1  # states, and a score or a few
        different = list(self._same)
        for numbers in plan(lengths, max(1, budget), max_rows=max(1, min(MAX_ROWS, _NUMBERS // width))):
            self._demand.check()
            rows = [different[number] for number in numbers]
            batch = pad(self._sequences, rows, pad_id)
            # A batch of few tokens and long rows counts by its rows, since its result waits here until it is collected.
            size = max(batch.ids.size, info.token_budget * len(rows) * width // _NUMBERS)
            while self._parts and self._in_flight + size > limit:
                self._collect()
            self._in_flight += size
            with using(self._demand):
                future = self._engine.submit(batch, self._collector.output)
            self._parts.append((rows, size, future))
            while self._parts and self._parts[0][2].done():
                self._collect()

    def gather(self) -> Computed[V]:
        """Wait for what is not finished."""
        try:
            while self._parts:
                self._collect()
        except BaseException:
            self.cancel()
            raise
        return Computed(self._sequences, self._collector.value())

    def cancel(self) -> None:
        """Drop the batches that have not started."""
        for _, _, future in self._parts:
            future.cancel()

    def _collect(self) -> None:
        rows, size, future = self._parts[0]
        values = self._demand.result(future)
        if len(self._same) < len(self._sequences):
            values = values[[number for number, row in enumerate(rows) for _ in self._same[row]]]
            rows = [same for row in rows for same in self._same[row]]
        self._collector.add(rows, values)
        self._parts.popleft()
        self._in_flight -= size
        if self._done is not None:
            owners = [self._sequences.owner[row] for row in rows]
            self._left.subtract(owners)
            if finished := sum(1 for owner in set(owners) if self._left[owner] == 0):
                self._done(finished)


def _same(sequences: Sequences) -> dict[int, list[int]]:
    """The first of each different sequence, and all that are the same: they are computed once."""
    firsts: dict[tuple[int, int, bytes], list[int]] = {}
    seen = sequences.attended or sequences.lengths()
    for row, (ids, second) in enumerate(zip(sequences.ids, sequences.second, strict=True)):
        firsts.setdefault((second, seen[row], ids.tobytes()), []).append(row)
    return {rows[0]: rows for rows in firsts.values()}
