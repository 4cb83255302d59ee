"""`Admission`: whether a model takes one more request, decided from its size before anything is tokenised."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lagotto.batch.demand import Demand, Priority
from lagotto.core.errors import OverloadedError

_LEARN = 0.05
"""Weight of one request in what is known of tokens an estimated token, and of the time of a token."""
_CROWD = 8
"""A request that finds so many times its own tokens before it tells how fast a crowd is served."""
_MARGIN = 0.8
"""Share of its time that a request may have to wait by the estimate."""
_LEAST, _MOST = 0.05, 50.0  # a reranker reads the query once for each document


@dataclass(frozen=True, slots=True)
class AdmissionStats:
    """What a model has taken and refused."""

    open_requests: int
    """Requests that were admitted and are not answered yet."""
    open_tokens: int
    """Their tokens, as estimated."""
    admitted: int
    refused: int


class Admission:
    """Bounds what may wait for one model. Belongs to the event loop: no locks."""

    def __init__(self, max_tokens: int, max_requests: int | None = None) -> None:
        self.max_tokens = max_tokens
        """Tokens that may wait, as estimated."""
        self._max_requests = max_requests
        """How many may be open, of whatever size, for a model elsewhere; None for any."""
        self._open: dict[Priority, int] = {"probe": 0, "interactive": 0, "bulk": 0}
        self._requests = 0
        self._admitted = 0
        self._refused = 0
        self._ratio = 1.0
        """Tokens computed for each token estimated."""
        self._pace = 0.0
        """Seconds for each token that was open, from admission to answer, threads and all; 0 while it is not known."""

    def tokens(self, size: float) -> int:
        """What a request whose body promises so many tokens (`promised`) is likely to cost, from the last ones."""
        return max(1, round(size * self._ratio))

    @contextmanager
    def admitted(self, size: float, demand: Demand, speed: Callable[[], float]) -> Iterator[None]:
        """Hold a request's place while it is computed. Raises `OverloadedError` where there is none.

        Interactive requests are bounded by what waits of their own kind, bulk by everything, so that bulk never keeps
        interactive ones out. One that is larger than the bound comes in when nothing else is there. With a deadline, a
        request is also refused where what waits before it takes longer than it has, by the time that requests in a
        crowd have taken lately; ``speed``, the engine's tokens a second, stands in before there was a crowd.
        """
        tokens, ahead = self.tokens(size), self._ahead(demand.priority)
        self._check(tokens, ahead, demand, speed)
        self._open[demand.priority] += tokens
        self._requests += 1
        self._admitted += 1
        start, answered = time.monotonic(), False
        try:
            yield
            answered = True
            if demand.tokens and size:
                found = min(_MOST, max(_LEAST, demand.tokens / size))
                self._ratio += _LEARN * (found - self._ratio)
        finally:
            self._open[demand.priority] -= tokens
            self._requests -= 1
            self._learn_pace((time.monotonic() - start) / (ahead + tokens), ahead >= _CROWD * tokens, answered)

    def stats(self) -> AdmissionStats:
        """What was taken and refused."""
        return AdmissionStats(self._requests, sum(self._open.values()), self._admitted, self._refused)

    def _ahead(self, priority: Priority) -> int:
        """Tokens that are computed before those of a new request, or with them."""
        before = self._open["probe"] + self._open["interactive"]
        return before + self._open["bulk"] if priority == "bulk" else before

    def _learn_pace(self, found: float, crowd: bool, answered: bool) -> None:
        """Follow the time of a token: up only in a crowd, and by a request that was given up only up."""
        if crowd and not self._pace:
            self._pace = found
        elif self._pace and (crowd or found < self._pace) and (answered or found > self._pace):
            self._pace += _LEARN * (found - self._pace)

    def _check(self, tokens: int, ahead: int, demand: Demand, speed: Callable[[], float]) -> None:
        rate = 1 / self._pace if self._pace else speed()
        if self._max_requests is not None and self._requests >= self._max_requests:
            of_one = sum(self._open.values()) / self._requests
            self._refuse(f"{self._requests} requests are open, {self._max_requests} may", of_one, rate)
        if not ahead:
            return
        too_many = ahead + tokens - self.max_tokens
        if too_many > 0:
            self._refuse(f"{ahead} tokens are waiting, {self.max_tokens} may", min(too_many, ahead), rate)
        left = demand.left()
        if left is not None and rate and ahead + tokens > _MARGIN * left * rate:
            late = ahead + tokens - _MARGIN * left * rate
            waiting = f"what is waiting takes {ahead / rate:.1f} s, and this request gives itself {left:.1f} s"
            self._refuse(waiting, min(late, ahead), rate)

    def _refuse(self, why: str, tokens: float, rate: float) -> None:
        """Raise `OverloadedError`; the time to come again is when so many tokens less are waiting."""
        self._refused += 1
        after = tokens / rate if rate else 1.0
        raise OverloadedError(f"the model has too much to do: {why}; come again in {after:.1f} s", retry_after=after)


def promised(body: bytes) -> float:
    """Tokens that a request's JSON is likely to hold: one for four ASCII characters, one for any other character.

    Characters beyond ASCII have mostly three bytes in UTF-8, and six where they are written as ``\\uXXXX``.

    >>> promised(b"abcd" * 10), promised("犬が好き".encode()), promised(b'\\u72ac' * 2)
    (10.0, 4.0, 2.0)
    """
    escaped = body.count(b"\\u")
    beyond = int(np.count_nonzero(np.frombuffer(body, np.uint8) >= 0x80))
    return max(0, len(body) - beyond - 6 * escaped) / 4 + beyond / 3 + escaped
