"""`Record`: what is known of one request while it is answered; the log, the metrics and the quotas read it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field

from lagotto.server.key_settings import Scope
from lagotto.server.keys import Key


@dataclass(slots=True)
class Record:
    """One request. Times are readings of `time.monotonic`, None until they come."""

    id: str
    method: str
    path: str
    key: Key | None = None
    """The API key it came with; None where the server has none."""
    model: str | None = None
    """The public name of the model it uses."""
    texts: int = 0
    """Texts, pairs and windows that were read, those found in the cache included."""
    tokens: int = 0
    """Their tokens; of a language model elsewhere all that its endpoint counted, those of answers too."""
    cached: int = 0
    """Texts found in the cache."""
    calls: int = 0
    """Questions that a language model elsewhere has answered."""
    flaws: int = 0
    """How often something about such an answer was wrong, see `JudgingReport.flaws`."""
    reason: str | None = None
    """Code of the error it was answered with."""
    started: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Handed to the threads that compute."""
    computing: float | None = None
    """Taken up by one of them; until the first batch it tokenises."""
    submitted: float | None = None
    """The first batch was handed to the engine."""
    computed: float | None = None
    """The last batch came back."""
    _at_end: list[Callable[[], None]] = field(default_factory=list)

    def require(self, scope: Scope) -> None:
        """Raise `PermissionDeniedError` unless the request's key allows it, or the server has none."""
        if self.key is not None:
            self.key.require(scope)

    def at_end(self, do: Callable[[], None]) -> None:
        """Do something when the request has been answered, whatever became of it."""
        self._at_end.append(do)

    def end(self) -> None:
        """Do what was to be done at the end."""
        while self._at_end:
            self._at_end.pop()()


_CURRENT: ContextVar[Record | None] = ContextVar("lagotto_record", default=None)


def current_record() -> Record | None:
    """The record of the request this task or thread works for; None outside of any."""
    return _CURRENT.get()


def begin(record: Record) -> None:
    """Make it the record of this task, and of what it starts."""
    _CURRENT.set(record)
