"""`Call`: one request on its way through the server; the only thing a route needs."""

from __future__ import annotations

import asyncio
import random
import re
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from starlette.types import Receive

from lagotto.batch.demand import Demand, using
from lagotto.core.errors import CallCancelledError, InvalidInputError
from lagotto.models.embedder import Embedder
from lagotto.server.admission import promised
from lagotto.server.judge import AnyReranker, Judge
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.record import current_record
from lagotto.server.settings import Settings
from lagotto.server.state import get_pool, get_settings

T = TypeVar("T")

REQUEST_ID = "x-request-id"
PRIORITY = "x-lagotto-priority"
TIMEOUT = "x-lagotto-timeout-ms"
_SMALL = 512
"""Tokens of a request that is computed without a thread of its own: reading and writing them takes a millisecond."""
_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")  # what may stand in a header and in a log line
_MILLISECONDS = re.compile(r"[1-9][0-9]{0,9}")


@dataclass(slots=True)
class Call:
    """One request: its models, its computing, its name in the log."""

    id: str
    """The client's ``x-request-id``, or one of ours."""
    pool: ModelPool
    settings: Settings
    size: float = 0.0
    """Tokens its body is likely to hold; see `promised`."""
    priority: str | None = None
    """What the client asked for, ``x-lagotto-priority``; None leaves it to the size."""
    seconds: float | None = None
    """The time it gives itself, ``x-lagotto-timeout-ms`` or the server's setting; None is any."""
    receive: Receive | None = None
    """Tells when the client goes away."""
    started: float = field(default_factory=time.monotonic)
    _entry: Entry | None = None
    _judge: Judge | None = None
    _own: Demand | None = None

    async def embedder(self, name: str) -> Embedder:
        """An allowed embedder; see `ModelPool.embedder`. `compute` then counts as work for it."""
        model = await self._in_time(self.pool.embedder(name))
        self._entry = self.pool.entries.get(name)  # None when it was withdrawn while we waited
        return model

    async def reranker(self, name: str | None) -> tuple[str, AnyReranker]:
        """An allowed reranker and its public name; see `ModelPool.reranker`. `compute` then counts as work for it."""
        public, model = await self._in_time(self.pool.reranker(name))
        self._entry = self.pool.entries.get(public)
        self._judge = model if isinstance(model, Judge) else None
        return public, model

    async def scorer(self, name: str | None) -> tuple[str, Embedder | AnyReranker]:
        """What scores pairs of texts and its public name: the embedder that is named, else a reranker as `reranker`."""
        if name is not None and await self.pool.is_embedder(name):
            return name, await self.embedder(name)
        return await self.reranker(name)

    async def compute(self, work: Callable[[], T]) -> T:
        """Run work beside the event loop, with this request's priority and deadline.

        A request may compute several times, as one that streams its answer does; it has one demand all the time.

        When the client goes away or the deadline passes, what has not started is dropped. Raises `OverloadedError`
        at once where too much waits for the model, `DeadlineExceededError`, `CallCancelledError`.
        """
        if self._own is None:
            self._own = self._demand()
        demand = self._own

        def wanted() -> T:
            with using(demand):
                demand.check()
                return work()

        with ExitStack() as stack:
            entry = self._entry
            if entry is not None:
                stack.enter_context(entry.admission.admitted(self.size, demand, entry.speed))
            bulk = demand.priority == "bulk"
            threads = None if self._judge is None else self._judge.threads
            inline = demand if not bulk and threads is None and self._tokens() <= _SMALL else None
            computing = self.pool.compute(wanted, bulk=bulk, inline=inline, threads=threads)
            return await self._watched(computing, demand)

    async def _watched(self, computing: Awaitable[T], demand: Demand) -> T:
        """Wait for work, until its deadline or until nobody waits for the answer any more."""
        work = asyncio.ensure_future(computing)
        gone = asyncio.ensure_future(self._gone())
        try:
            await asyncio.wait({work, gone}, timeout=demand.left(), return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                return work.result()
            if gone.done():
                raise CallCancelledError("the client has closed the connection") from gone.exception()
            raise demand.late()
        except BaseException:
            demand.cancel()
            work.cancel()
            raise
        finally:
            gone.cancel()

    async def _gone(self) -> None:
        """Return when the client has closed the connection."""
        if self.receive is None:
            await asyncio.get_running_loop().create_future()
        else:
            while (await self.receive())["type"] != "http.disconnect":
                pass

    def _demand(self) -> Demand:
        deadline = None if self.seconds is None else self.started + self.seconds
        if self.priority is not None:
            return Demand("bulk" if self.priority == "bulk" else "interactive", deadline)
        return Demand("interactive" if self._tokens() <= self.settings.interactive_tokens else "bulk", deadline)

    def _tokens(self) -> float:
        """What its body is likely to cost the model."""
        return self.size if self._entry is None else self._entry.admission.tokens(self.size)

    async def _in_time(self, getting: Awaitable[T]) -> T:
        """Wait for a model no longer than the request gives itself."""
        demand = Demand(deadline=None if self.seconds is None else self.started + self.seconds)
        try:
            return await asyncio.wait_for(getting, demand.left())
        except TimeoutError:
            if demand.left() != 0:  # it is the model's own
                raise
            raise demand.late() from None


def request_id(request: Request) -> str:
    """The client's ``x-request-id`` or one of ours, which stays the same for the whole request."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get(REQUEST_ID, "")
        request.state.request_id = given if _ID.fullmatch(given) else _new_id()
    found: str = request.state.request_id
    return found


def _new_id() -> str:
    """A random UUID from numbers at hand: asking the system for some gives up the interpreter's lock, and to get it
    back takes long under load. Nobody is kept out by not knowing it."""
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


async def get_call(request: Request) -> Call:
    """The call of a request, for ``Depends``. Raises `InvalidInputError` for a priority or timeout that is none."""
    settings = get_settings(request)
    return Call(
        request_id(request),
        get_pool(request),
        settings,
        size=promised(await request.body()),
        priority=_priority(request.headers.get(PRIORITY)),
        seconds=_seconds(request.headers.get(TIMEOUT), settings.request_timeout_seconds),
        receive=request.receive,
        started=time.monotonic() if (record := current_record()) is None else record.started,
    )


def _priority(given: str | None) -> str | None:
    if given not in (None, "interactive", "bulk"):
        raise InvalidInputError(f"{PRIORITY} is {given!r}; allowed are interactive and bulk", param=PRIORITY)
    return given


def _seconds(given: str | None, default: float) -> float | None:
    if given is None:
        return default or None
    if not _MILLISECONDS.fullmatch(given):
        raise InvalidInputError(
            f"{TIMEOUT} is {given!r}; give a whole number of milliseconds, at least 1", param=TIMEOUT
        )
    return int(given) / 1000


Calling = Annotated[Call, Depends(get_call)]
"""A route's parameter: ``async def route(request: Body, call: Calling)``."""
