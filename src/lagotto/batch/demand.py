"""`Demand`: how urgent a call is, until when it is wanted, and whether it still is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, TypeVar, get_args

from lagotto.core.errors import CallCancelledError, DeadlineExceededError, InvalidInputError

T = TypeVar("T")

Priority = Literal["probe", "interactive", "bulk"]
"""Which calls come first: a server's question to itself whether it can compute, people who wait, work that can wait."""


class Demand:
    """What a call asks of the queue in front of a model, besides its texts. Thread-safe.

    ``deadline`` is a reading of `time.monotonic` (seconds) after which nobody wants the result; None means any time.
    """

    def __init__(self, priority: Priority = "interactive", deadline: float | None = None) -> None:
        if priority not in get_args(Priority):
            raise InvalidInputError(f"priority is {priority!r}; allowed are {', '.join(get_args(Priority))}")
        self.priority: Priority = priority
        self.deadline = deadline
        self.tokens = 0
        """Tokens this call has handed to the engine so far, padding not counted."""
        self.wait: Callable[[Future[Any]], None] | None = None
        """Waits until a part is over, where the thread of the call has better to do than to block; None blocks it."""
        self._lock = threading.Lock()
        self._cancelled = False
        self._parts: set[Future[Any]] = set()

    @property
    def cancelled(self) -> bool:
        """Whether the call was taken back."""
        return self._cancelled

    def cancel(self) -> None:
        """Take the call back: what has not started is not computed, and whoever waits gets `CallCancelledError`."""
        with self._lock:
            self._cancelled = True
            parts = list(self._parts)
        for part in parts:  # outside the lock: each tells `_forget` that it is done
            part.cancel()

    def watch(self, part: Future[Any], tokens: int) -> None:
        """Let `cancel` reach a part of the call that was queued."""
        with self._lock:
            self.tokens += tokens
            cancelled = self._cancelled
            if not cancelled:
                self._parts.add(part)
        if cancelled:
            part.cancel()
        part.add_done_callback(self._forget)

    def left(self) -> float | None:
        """Seconds to the deadline, 0 when it has passed, None without one."""
        return None if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def check(self) -> None:
        """Raise `CallCancelledError` or `DeadlineExceededError` where there is no more use in going on."""
        if self._cancelled:
            raise CallCancelledError("the call was taken back before everything was computed")
        if self.left() == 0:
            raise self.late()

    def result(self, part: Future[T]) -> T:
        """The result of a part, waited for no longer than to the deadline. Raises as `check` does."""
        if self.wait is not None:
            self.wait(part)
        try:
            return part.result(self.left())
        except CancelledError:
            self.check()
            raise
        except TimeoutError:
            if part.done():  # the part's own error
                raise
            raise self.late() from None

    @staticmethod
    def late() -> DeadlineExceededError:
        """The error of a call whose deadline has passed."""
        return DeadlineExceededError(
            "the call was not computed within the time it was given; give it more, or come again when less is waiting"
        )

    def _forget(self, part: Future[Any]) -> None:
        with self._lock:
            self._parts.discard(part)


_CURRENT: ContextVar[Demand | None] = ContextVar("lagotto_demand", default=None)


def current() -> Demand:
    """The demand of the call that runs in this context: interactive and without a deadline unless someone said more."""
    return _CURRENT.get() or Demand()


@contextmanager
def using(wanted: Demand) -> Iterator[Demand]:
    """Calls in this block, in this thread or task, have this demand."""
    token = _CURRENT.set(wanted)
    try:
        yield wanted
    finally:
        _CURRENT.reset(token)


@contextmanager
def demand(*, priority: Priority = "interactive", timeout: float | None = None) -> Iterator[Demand]:
    """Calls in this block are of a priority, and must be done after so many seconds, counted from its beginning.

    ::

        with lagotto.demand(priority="bulk"):
            model.encode(corpus)  # lets the calls of other threads pass

    It gives the `Demand`, whose ``cancel()`` any thread may call. A call that comes too late raises
    `DeadlineExceededError`; a generator (`Embedder.stream`) looks for its demand where it is read. Raises
    `InvalidInputError` for a priority or timeout that does not exist.
    """
    if timeout is not None and not timeout > 0:
        raise InvalidInputError(f"timeout is {timeout!r}; give a number of seconds over 0, or None")
    with using(Demand(priority, None if timeout is None else time.monotonic() + timeout)) as wanted:
        yield wanted
