"""`Observer`: follows each request from its headers to the end of its answer: its record, its line, its numbers."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lagotto.core.errors import InvalidInputError, LagottoError, OverloadedError
from lagotto.server.call import REQUEST_ID, request_id
from lagotto.server.dialects.paths import dialect_of
from lagotto.server.errors import failure_of, failure_response, headers_of
from lagotto.server.lag import Lag
from lagotto.server.logs import log_request
from lagotto.server.metrics import OTHER, Metrics
from lagotto.server.record import Record, begin, current_record
from lagotto.server.tracing import Tracing

_INTERNAL = LagottoError.code


class Observer:
    """ASGI middleware, outermost of ours: what happens to a request is noted whatever happens to it."""

    def __init__(self, app: ASGIApp, metrics: Metrics, tracing: Tracing, lag: Lag) -> None:
        self._app = app
        self._lag = lag
        self._metrics = metrics
        self._tracing = tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, and note what comes back."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        record = Record(request_id(Request(scope)), scope["method"], scope["path"])
        begin(record)
        self._metrics.begin()
        status = 500  # of a request whose answer never began

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = _with(message.get("headers", []), record)
            await send(message)

        try:
            refusal = self._refusal(scope, record)
            await (refusal or self._app)(scope, receive, noted)
        finally:
            record.end()
            if status >= 400 and record.reason is None:
                record.reason = _INTERNAL if status == 500 else f"http_{status}"
            seconds, route = time.monotonic() - record.started, _route_of(scope)
            self._metrics.end(record, route, dialect_of(Request(scope)), status, seconds)
            log_request(record, status, seconds)
            self._tracing.trace(record, route, status, scope["headers"])

    def _refusal(self, scope: Scope, record: Record) -> Response | None:
        """The answer to a request for which this server is too far behind; None where it is not."""
        try:
            self._lag.check(scope)
        except OverloadedError as error:
            record.reason = error.code
            return failure_response(Request(scope), failure_of(error), headers_of(error))
        return None


def note_errors(app: FastAPI) -> None:
    """Let the handlers of errors tell the record why a request failed."""
    for kind, handler in list(app.exception_handlers.items()):
        app.exception_handlers[kind] = _noting(handler)


def _noting(handler: Callable[[Request, Any], Any]) -> Callable[[Request, Any], Awaitable[Response]]:
    async def noting(request: Request, error: Any) -> Response:
        record = current_record()
        if record is not None:
            record.reason = _reason(error)
        answer: Response = await handler(request, error)
        return answer

    return noting


def _reason(error: Exception) -> str:
    if isinstance(error, LagottoError):
        return error.code
    if isinstance(error, RequestValidationError):
        return InvalidInputError.code
    return f"http_{error.status_code}" if isinstance(error, HTTPException) else _INTERNAL


def _with(headers: list[tuple[bytes, bytes]], record: Record) -> list[tuple[bytes, bytes]]:
    """Headers of an answer, the request's id among them."""
    name = REQUEST_ID.encode()
    there = any(other.lower() == name for other, _ in headers)
    return headers if there else [*headers, (name, record.id.encode("latin-1"))]


def _route_of(scope: Scope) -> str:
    return getattr(scope.get("route"), "path_format", OTHER)
