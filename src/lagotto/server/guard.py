"""`Guard`: whether a request may come in, and how its body is read; inside the error handlers, around all routes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lagotto.server import key_settings
from lagotto.server.keys import Key, KeyRing, presented_key
from lagotto.server.record import current_record
from lagotto.server.settings import Settings

PRIORITY = b"x-lagotto-priority"

_PROBES = ("/health", "/ready", "/ping", "/tei/ping", "/tei/health", "/infinity/health")
_OPEN = (*_PROBES, "/page", "/docs", "/openapi.json")
"""Paths that need no key: probes, and pages that tell nothing about this server."""
_ROOT = "/"
"""One more for those who read it; who posts there wants vectors."""
_SCOPES: dict[str, key_settings.Scope] = {"/metrics": "metrics", "/config": "admin", "/admin": "admin"}
"""Paths that need a scope, with all below them. What asks for vectors or ranking is checked where it gets its model."""


class Guard:
    """ASGI middleware: 401, 403 and 429 by API key; 415 for packed bodies, 408 for slow ones.

    What it raises becomes an answer in the shape of the request's dialect.
    """

    def __init__(self, app: ASGIApp, keys: Callable[[], KeyRing], settings: Callable[[], Settings]) -> None:
        self._app = app
        self._keys = keys
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request pass, or raise the error it is answered with."""
        if scope["type"] == "http":
            key = self._admitted(scope)
            if key is not None and key.settings.priority is not None:
                _prefer(scope, key.settings.priority)
            _check_encoding(scope)
            receive = _in_time(receive, self._settings().body_timeout_seconds)
        await self._app(scope, receive, send)

    def _admitted(self, scope: Scope) -> Key | None:
        keys, path = self._keys(), scope["path"]
        if not keys or _below(path, _OPEN) or (path == _ROOT and scope["method"] in ("GET", "HEAD")):
            return None
        key = keys.find(presented_key(scope["headers"]))
        wanted = next((wanted for start, wanted in _SCOPES.items() if _below(path, (start,))), None)
        if wanted is not None:
            key.require(wanted)
        record = current_record()
        if record is not None:
            record.key = key
            record.at_end(lambda: key.charge(record.tokens))
        key.spend()
        return key


def _below(path: str, starts: tuple[str, ...]) -> bool:
    return any(path == start or path.startswith(f"{start}/") for start in starts)


def _prefer(scope: Scope, priority: str) -> None:
    """Give a request that names no priority that of its key."""
    if all(name != PRIORITY for name, _ in scope["headers"]):
        scope["headers"] = [*scope["headers"], (PRIORITY, priority.encode())]


def _check_encoding(scope: Scope) -> None:
    """Refuse packed bodies: a few kilobytes can unpack to gigabytes, and clients of such servers do not send them."""
    given = [value.strip().lower() for name, value in scope["headers"] if name == b"content-encoding"]
    if any(value not in (b"", b"identity") for value in given):
        raise HTTPException(415, "the body has a content-encoding; send it as it is, without one")


def _in_time(receive: Receive, seconds: float) -> Receive:
    """`receive`, which raises 408 when the whole body has not come in so many seconds."""
    deadline, reading = time.monotonic() + seconds, True

    async def timed() -> Message:
        nonlocal reading
        if not reading:
            return await receive()  # waits for the client to go away, which may take as long as it will
        try:
            message = await asyncio.wait_for(receive(), max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            # The one kind of error that FastAPI passes on while it reads a body.
            raise HTTPException(408, f"the body did not come within {seconds:g} s", {"connection": "close"}) from None
        reading = message["type"] == "http.request" and message.get("more_body", False)
        return message

    return timed
