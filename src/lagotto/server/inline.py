"""Run a small request's work on the event loop's own thread, which goes on with others while the engine computes.

A thread a request costs more than the request: with dozens of them the interpreter's lock is handed around all the
time. Small work needs none, since nearly all of its time it waits for the engine. It runs in a greenlet, a stack of
its own in the same thread, so that the same blocking calls serve the library, threads and the event loop: where a call
would block (`Demand.result`), the greenlet is left, and entered again when there is a result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import Context
from typing import Any, TypeVar

from greenlet import getcurrent, greenlet

from lagotto.batch.demand import Demand

T = TypeVar("T")


async def run_inline(work: Callable[[], T], demand: Demand, context: Context) -> T:
    """What ``work`` returns or raises. It must block nowhere but in this demand's `result`, and hold no lock there.

    Cancelling the task that waits raises `asyncio.CancelledError` in the work, where it waits.
    """
    driver = getcurrent()

    def leave(part: Future[Any]) -> None:
        if not part.done():
            driver.switch(part)

    worker = greenlet(work)
    worker.gr_context = context
    demand.wait = leave
    try:
        state = worker.switch()
        while not worker.dead:
            try:
                await _done(state)
            except BaseException as error:
                state = worker.throw(error)
            else:
                state = worker.switch()
    finally:
        demand.wait = None
    result: T = state
    return result


async def _done(part: Future[Any]) -> None:
    """Return when a part of a call is over, in whatever way."""
    loop = asyncio.get_running_loop()
    over = loop.create_future()

    def tell() -> None:
        if not over.done():
            over.set_result(None)

    def told(_: Future[Any]) -> None:
        with suppress(RuntimeError):  # the loop has been closed, and nobody waits any more
            loop.call_soon_threadsafe(tell)

    part.add_done_callback(told)
    await over
