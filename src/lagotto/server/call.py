"""`Call`: one request on its way through the server; the only thing a route needs."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, TypeVar

from fastapi import Depends, Request

from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker
from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings
from lagotto.server.state import get_pool, get_settings

T = TypeVar("T")

REQUEST_ID = "x-request-id"
_ID = re.compile(r"[A-Za-z0-9._:+/=-]{1,128}")  # what may stand in a header and in a log line


@dataclass(slots=True)
class Call:
    """One request: its models, its computing, its name in the log."""

    id: str
    """The client's ``x-request-id``, or one of ours."""
    pool: ModelPool
    settings: Settings
    started: float = field(default_factory=time.monotonic)

    async def embedder(self, name: str) -> Embedder:
        """An allowed embedder; see `ModelPool.embedder`."""
        return await self.pool.embedder(name)

    async def reranker(self, name: str | None) -> tuple[str, Reranker]:
        """An allowed reranker and its public name; see `ModelPool.reranker`."""
        return await self.pool.reranker(name)

    async def compute(self, work: Callable[[], T]) -> T:
        """Run work in a thread, so that the event loop stays free."""
        return await self.pool.compute(work)


def request_id(request: Request) -> str:
    """The client's ``x-request-id`` or one of ours, which stays the same for the whole request."""
    if not hasattr(request.state, "request_id"):
        given = request.headers.get(REQUEST_ID, "")
        request.state.request_id = given if _ID.fullmatch(given) else str(uuid.uuid4())
    found: str = request.state.request_id
    return found


def get_call(request: Request) -> Call:
    """The call of a request, for ``Depends``."""
    return Call(request_id(request), get_pool(request), get_settings(request))


Calling = Annotated[Call, Depends(get_call)]
"""A route's parameter: ``async def route(request: Body, call: Calling)``."""
