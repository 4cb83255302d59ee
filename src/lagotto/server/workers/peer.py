"""`Peer`: the process at the other end of a connection, as something that can be asked and that asks."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from itertools import count
from multiprocessing.connection import Connection
from typing import Any

from lagotto.core import errors
from lagotto.core.errors import ClosedError, EngineError, LagottoError

_TOLD = frozenset(["param", "retry_after"])
"""What errors say beside their message; they take it as keywords."""

Handlers = Mapping[str, Callable[..., Any]]


class Peer:
    """Both ends have one. Questions go both ways at once, and each is answered in a thread of its own.

    What is sent is pickled, so the other end must be a process of ours.
    """

    def __init__(self, connection: Connection, handlers: Handlers, on_close: Callable[[], None] | None = None) -> None:
        """``handlers`` answer what the other end asks, by name; ``on_close`` is called once when it is gone."""
        self._connection = connection
        self._handlers = handlers
        self._on_close = on_close
        self._numbers = count()
        self._sending = threading.Lock()
        self._open: dict[int, Future[Any]] = {}
        self._closed = False
        self._lock = threading.Lock()
        threading.Thread(target=self._read, name="lagotto-peer", daemon=True).start()

    def begin(self, what: str, *arguments: Any) -> Future[Any]:
        """Ask the other end for something. The future raises its error, or `ClosedError` where it is gone."""
        future: Future[Any] = Future()
        number = next(self._numbers)
        with self._lock:
            if self._closed:
                future.set_exception(_gone())
                return future
            self._open[number] = future
        self._send(("ask", number, what, arguments))
        return future

    def ask(self, what: str, *arguments: Any, seconds: float | None = None) -> Any:
        """What the other end answers. Raises its error, `ClosedError`, and `TimeoutError` after so many seconds."""
        return self.begin(what, *arguments).result(seconds)

    def _read(self) -> None:
        try:
            while True:
                kind, number, *rest = self._connection.recv()
                if kind == "ask":
                    threading.Thread(target=self._answer, args=(number, *rest), daemon=True).start()
                else:
                    self._heard(number, kind, *rest)
        except (EOFError, OSError):
            self._close()

    def _answer(self, number: int, what: str, arguments: tuple[Any, ...]) -> None:
        try:
            reply: tuple[Any, ...] = ("ok", number, self._handlers[what](*arguments))
        except Exception as error:  # whoever asked has to hear of it
            reply = ("error", number, packed(error))
        self._send(reply)

    def _heard(self, number: int, kind: str, value: Any) -> None:
        with self._lock:
            future = self._open.pop(number)
        if kind == "ok":
            future.set_result(value)
        else:
            future.set_exception(unpacked(value))

    def _send(self, message: tuple[Any, ...]) -> None:
        try:
            with self._sending:
                self._connection.send(message)
        except OSError:
            self._close()

    def _close(self) -> None:
        with self._lock:
            if self._closed:
                return
            self._closed = True
            left, self._open = list(self._open.values()), {}
        for future in left:
            future.set_exception(_gone())
        if self._on_close is not None:
            self._on_close()


def packed(error: Exception) -> tuple[str, str, dict[str, Any]]:
    """An error as what can be sent: its class, its message and what else it says. Not every error can be pickled."""
    if isinstance(error, LagottoError):
        told = {name: value for name, value in vars(error).items() if name in _TOLD}
        return type(error).__name__, str(error), told
    return EngineError.__name__, f"{type(error).__name__}: {error}", {}


def unpacked(sent: tuple[str, str, dict[str, Any]]) -> LagottoError:
    """The error that was sent."""
    name, message, attributes = sent
    kind: type[LagottoError] = getattr(errors, name)
    return kind(message, **attributes)


def _gone() -> ClosedError:
    return ClosedError("the process that was asked has ended")
