"""The one loop that every text and every pair goes through: token ids -> planned batches -> engine -> arrays."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.planner import plan
from lagotto.batch.sequences import Sequences, pad
from lagotto.engines.base import TOKEN_BUDGET, Engine

T = TypeVar("T")

CHUNK = 2048
"""Inputs tokenised and length-sorted together: enough that batches hardly need padding, few enough to stay small."""
CHUNK_CHARACTERS = 4_000_000


@dataclass(frozen=True, slots=True)
class Computed:
    """A chunk's sequences and what the engine made of them."""

    sequences: Sequences
    outputs: NDArray[np.float32]
    """(sequences, output), in the order of the sequences."""


def chunks(inputs: Iterable[T], size_of: Callable[[T], int]) -> Iterator[list[T]]:
    """Lists of up to `CHUNK` inputs, shorter when they are long; takes no more from the iterator than it gives."""
    iterator = iter(inputs)
    while chunk := list(islice(iterator, 1)):
        characters = size_of(chunk[0])
        for item in islice(iterator, CHUNK - 1):
            chunk.append(item)
            characters += size_of(item)
            if characters >= CHUNK_CHARACTERS:
                break
        yield chunk


def run(
    engine: Engine, pad_id: int, encoded: Iterable[Sequences], done: Callable[[int], None] | None = None
) -> Iterator[Computed]:
    """Compute chunks of sequences, in order; ``done`` hears how many sequences each finished batch held.

    While the engine computes one chunk the next is tokenised, and no more than two are held, so any number of texts
    streams through constant memory. Closing the iterator cancels what has not started.
    """
    pending: deque[_Pending] = deque()
    try:
        for sequences in encoded:
            pending.append(_Pending(engine, pad_id, sequences, done))
            if len(pending) > 1:
                yield pending.popleft().gather()
        while pending:
            yield pending.popleft().gather()
    finally:
        for chunk in pending:
            chunk.cancel()


def _tell(done: Callable[[int], None], rows: int, future: Future[NDArray[np.float32]]) -> None:
    if not future.cancelled():
        done(rows)


class _Pending:
    """A chunk whose batches have been handed to the engine."""

    def __init__(self, engine: Engine, pad_id: int, sequences: Sequences, done: Callable[[int], None] | None) -> None:
        self._sequences = sequences
        self._width = engine.info.output
        self._parts: list[tuple[list[int], Future[NDArray[np.float32]]]] = []
        try:
            for rows in plan(sequences.lengths(), TOKEN_BUDGET):
                future = engine.submit(pad(sequences, rows, pad_id))
                self._parts.append((rows, future))
                if done is not None:
                    future.add_done_callback(partial(_tell, done, len(rows)))
        except BaseException:  # an interrupt while waiting for the engine's queue, above all
            self.cancel()
            raise

    def gather(self) -> Computed:
        outputs = np.empty((len(self._sequences), self._width), np.float32)
        try:
            for rows, future in self._parts:
                outputs[rows] = future.result()
        except BaseException:
            self.cancel()
            raise
        return Computed(self._sequences, outputs)

    def cancel(self) -> None:
        for _, future in self._parts:
            future.cancel()
