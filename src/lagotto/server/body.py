"""Refuse request bodies over the limit before they fill memory."""

from __future__ import annotations

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lagotto.server.dialects.failures import Failure
from lagotto.server.errors import failure_response


class BodyLimit:
    """ASGI middleware: 413 for a body over ``limit`` bytes, announced by its length or found while reading."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting what it sends."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        length = dict(scope["headers"]).get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._limit:
            refused = failure_response(Request(scope), Failure(self._message(), 413, "request_too_large"))
            await refused(scope, receive, send)
            return
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._limit:
                raise HTTPException(413, self._message())  # the one kind that FastAPI passes on while it reads a body
            return message

        await self._app(scope, counted, send)

    def _message(self) -> str:
        return f"the request's body is larger than the {self._limit} bytes this server allows; send fewer texts"
