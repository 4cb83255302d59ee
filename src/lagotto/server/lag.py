"""`Lag`: how far the event loop is behind, and which requests are refused for it while they still cost nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.types import Scope

from lagotto.core.errors import OverloadedError
from lagotto.server.settings import Settings

_BEAT = 0.05
"""Seconds between two looks."""
_SHARE = 0.2
"""Share of its time that a request may lose before it is even read."""
_PATIENCE = 2.0
"""What one loses that gives itself any time, in seconds."""
_TIMEOUT = b"x-lagotto-timeout-ms"


class Lag:
    """Measures the loop it is started on, by how late a timer comes.

    Admission by tokens (`Admission`) comes after a request was parsed. Where requests come faster than the loop can
    parse them, all of them wait before that, and each is answered too late; refusing some at once leaves time for the
    others.
    """

    def __init__(self, settings: Callable[[], Settings]) -> None:
        self.seconds = 0.0
        """How late the loop is; as long as one turn of it takes, what it was a turn ago."""
        self._settings = settings
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Measure the running loop until `stop`."""
        self._wait(asyncio.get_running_loop())

    def stop(self) -> None:
        """Measure no more."""
        if self._timer is not None:
            self._timer.cancel()

    def check(self, scope: Scope) -> None:
        """Raise `OverloadedError` for a request to compute that would lose too much of its time by waiting."""
        if self.seconds <= _BEAT or scope["method"] != "POST" or scope["path"].startswith("/admin"):
            return
        if self.seconds > self._allowed(scope):
            raise OverloadedError(
                f"requests come faster than they can be read, the server is {self.seconds:.1f} s behind; come again "
                f"in {self.seconds:.1f} s",
                retry_after=self.seconds,
            )

    def _allowed(self, scope: Scope) -> float:
        given = next((value for name, value in scope["headers"] if name == _TIMEOUT), b"")
        seconds = int(given) / 1000 if given.isdigit() else self._settings().request_timeout_seconds
        return min(_PATIENCE, _SHARE * seconds) if seconds else _PATIENCE

    def _wait(self, loop: asyncio.AbstractEventLoop) -> None:
        due = loop.time() + _BEAT

        def late() -> None:
            self.seconds = max(0.0, loop.time() - due)
            self._wait(loop)

        self._timer = loop.call_at(due, late)
