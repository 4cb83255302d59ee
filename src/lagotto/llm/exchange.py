"""`Exchange`: one request over HTTP that another thread, or the clock, can end at any moment."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException

from lagotto.core.errors import CallCancelledError
from lagotto.llm.target import Target

MOST_BYTES = 8 << 20
"""Bytes of an answer that are read: a thousand times what an answer to a judge's question has."""


@dataclass(frozen=True, slots=True)
class Response:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes


class Exchange:
    """The tries of one request, one after another, in one thread; `abandon` may be called from any other.

    Standard library alone: a judgement takes seconds, next to which opening a connection for it is nothing, and one
    more HTTP client would be one more thing to install.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._abandoned = threading.Event()

    def post(self, target: Target, headers: Mapping[str, str], body: bytes, seconds: float) -> Response:
        """Send and receive, within so many seconds in all.

        Raises `OSError` (`TimeoutError` where time ran out), `HTTPException` for what is no whole answer, and
        `CallCancelledError` after `abandon`.
        """
        connection, address, more = target.connect(seconds)
        late = threading.Event()

        def end() -> None:
            late.set()
            self._shut()

        clock = threading.Timer(seconds, end)
        clock.daemon = True
        clock.start()
        try:
            connection.connect()
            self._hold(connection)
            response = _exchanged(connection, address, {**headers, **more}, body)
        except (OSError, HTTPException) as error:
            self._check()
            if late.is_set() or isinstance(error, TimeoutError):
                raise TimeoutError(f"no whole answer within {seconds:g} s") from None
            raise
        finally:
            clock.cancel()
            with self._lock:
                self._socket = None
            connection.close()
        self._check()
        if late.is_set():  # a shut socket also looks like the end of an answer without a length
            raise TimeoutError(f"no whole answer within {seconds:g} s")
        return response

    def pause(self, seconds: float) -> None:
        """Wait before the next try. Raises `CallCancelledError` as soon as the exchange is abandoned."""
        self._abandoned.wait(seconds)
        self._check()

    def abandon(self) -> None:
        """Nobody wants the answer any more: end the connection."""
        self._abandoned.set()
        self._shut()

    def _hold(self, connection: HTTPConnection) -> None:
        with self._lock:
            self._socket = connection.sock
        self._check()  # it may have been abandoned while the connection was made

    def _shut(self) -> None:
        with self._lock, suppress(OSError):  # the other side may have ended it already
            if self._socket is not None:
                # The plain method: SSLSocket's own would pull the session from under the thread that reads.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def _check(self) -> None:
        if self._abandoned.is_set():
            raise CallCancelledError("the call was taken back before the model had answered")


def _exchanged(connection: HTTPConnection, address: str, headers: Mapping[str, str], body: bytes) -> Response:
    connection.request("POST", address, body, dict(headers))
    answer = connection.getresponse()
    found = answer.read(MOST_BYTES + 1)
    if len(found) > MOST_BYTES:
        raise HTTPException(f"the answer has more than {MOST_BYTES} bytes")
    if answer.length:  # what Content-Length promised and did not come
        raise HTTPException(f"the answer ended {answer.length} bytes too early")
    return Response(answer.status, {name.lower(): value for name, value in answer.getheaders()}, found)
