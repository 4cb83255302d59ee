"""`LimitedProtocol`: uvicorn's HTTP protocol, with the limits it lacks: on headers, their time, and connections."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_PHRASES = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Service Unavailable"}
_RETRY_AFTER = 2
_HEAD_ENDS = b"\r\n\r\n"
_UPGRADE = re.compile(rb"\r\nupgrade:", re.IGNORECASE)


class LimitedProtocol(HttpToolsProtocol):
    """One connection. The limits are those of `limited`."""

    max_header_bytes: int
    header_seconds: float
    max_connections: int

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self._in_headers = True
        self._ended = False  # whether headers or a body came to their end in what was received last
        self._header_bytes = 0
        self._header_timer: asyncio.TimerHandle | None = None
        self._rest_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Give the client so long to send its first request."""
        super().connection_made(transport)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._stop_waiting()
        self._stop_resting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have grown too large. A header without an end counts as well."""
        if self._in_headers:
            # Between requests uvicorn's own timer runs; with the first byte of the next one ours does.
            self._await_headers()
            data = _without_upgrade(data)
        self._ended = False
        super().data_received(data)
        if self._in_headers and not self._ended and not self.transport.is_closing():
            self._header_bytes += len(data)
            if self._header_bytes > self.max_header_bytes:
                self._refuse_headers()

    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._await_headers()

    def on_headers_complete(self) -> None:
        """Its headers are there: start it, or one that is refused."""
        self._stop_waiting()
        self._in_headers, self._ended = False, True
        size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
        if size > self.max_header_bytes:
            self._refuse_headers()
            raise ValueError("headers too large")  # ends the parsing; the answer is on its way
        own = self.app
        if len(self.connections) > self.max_connections:
            self.app = too_many_connections
        super().on_headers_complete()
        self.app = own

    def on_message_complete(self) -> None:
        """The request is whole; the next one may come."""
        super().on_message_complete()
        self._stop_resting()
        self._in_headers, self._ended = True, True
        self._header_bytes = 0

    def on_response_complete(self) -> None:
        """Answered. What is still to come of a body that was refused is let by for a while, so that the client gets
        to read its answer; then the connection is closed, or dripping such a body would hold it for ever.
        """
        super().on_response_complete()
        if not self._in_headers and self.cycle.response_complete and not self.transport.is_closing():
            self._stop_resting()
            self._rest_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def send_400_response(self, msg: str) -> None:
        """Say in JSON that this is not HTTP, unless the connection was refused already."""
        if not self.transport.is_closing():
            self._refuse(400, msg, "invalid_http")

    def _await_headers(self) -> None:
        if self._header_timer is None:
            self._header_timer = self.loop.call_later(self.header_seconds, self._headers_late)

    def _stop_waiting(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None

    def _stop_resting(self) -> None:
        if self._rest_timer is not None:
            self._rest_timer.cancel()
            self._rest_timer = None

    def _headers_late(self) -> None:
        self._header_timer = None
        if not self.transport.is_closing():
            self._refuse(408, f"the headers did not come within {self.header_seconds:g} s", "http_408")

    def _refuse_headers(self) -> None:
        self._refuse(431, f"the headers are larger than the {self.max_header_bytes} bytes allowed here", "http_431")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Answer what never became a request, and close."""
        self._stop_waiting()
        kind = "server_error" if status >= 500 else "invalid_request_error"
        content = orjson.dumps({"error": {"message": message, "type": kind, "param": None, "code": code}})
        first = f"HTTP/1.1 {status} {_PHRASES.get(status, 'Bad Request')}\r\n"
        headers = f"content-type: application/json\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        self.transport.write((first + headers).encode() + content)
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """Headers in which no other protocol is offered, which a server may leave unanswered.

    Java's own client offers HTTP/2 with every request, and the parser takes what follows such headers for the other
    protocol, so that the body would be lost.
    """
    head, end, rest = data.partition(_HEAD_ENDS)
    return _UPGRADE.sub(b"\r\nx-upgrade:", head) + end + rest


async def too_many_connections(scope: Any, receive: Any, send: Any) -> None:
    """The app of connections beyond the limit: 503, come again."""
    content = orjson.dumps(
        {
            "error": {
                "message": "too many connections; come again, or keep fewer open",
                "type": "server_error",
                "param": None,
                "code": "too_many_connections",
            }
        }
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(content)).encode()),
        (b"retry-after", str(_RETRY_AFTER).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": 503, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def limited(max_header_bytes: int, header_seconds: float, max_connections: int) -> type[LimitedProtocol]:
    """A protocol with these limits, for uvicorn's ``http`` setting."""
    limits = {
        "max_header_bytes": max_header_bytes,
        "header_seconds": header_seconds,
        "max_connections": max_connections,
    }
    return type("LimitedProtocol", (LimitedProtocol,), limits)
