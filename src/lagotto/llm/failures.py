"""`Failure`: why a try did not succeed, whether another one may, and what to tell the user."""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from lagotto.core.errors import EndpointBusyError, EndpointError, EndpointTimeoutError
from lagotto.llm.exchange import Response

_PASSING = frozenset({408, 409, 425, 429, 500, 502, 503, 504, 529})
"""Statuses after which the same request may succeed a little later."""
_BUSY = frozenset({429, 503, 529})
_LATE = frozenset({408, 504})
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 30.0
_SHOWN = 300

_WHAT_TO_DO = {
    400: "see what it says; where it names response_format, give answers='text', where it names temperature or "
    "max_tokens, set that of the endpoint",
    401: "check the API key and the environment variable it comes from",
    402: "the account has no credit",
    403: "the key does not allow this",
    404: "check the model's name and the address, which usually ends in /v1",
    413: "the prompt is too long: give a smaller max_characters or window",
    422: "see what it says; where it names response_format, give answers='text'",
    429: "ask for less at once (concurrency), or later",
}


@dataclass(frozen=True, slots=True)
class Failure:
    """One try that failed."""

    message: str
    """What came, and what to do."""
    passing: bool
    """Whether it may be over soon."""
    status: int | None = None
    retry_after: float | None = None
    """Seconds the endpoint asks to wait."""
    kind: type[EndpointError] = EndpointError
    """What it is when there is no other try."""

    def pause(self, tries: int) -> float:
        """Seconds to wait after so many failed tries: what was asked for, else twice as long each time, with jitter."""
        if self.retry_after is not None:
            return self.retry_after
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** (tries - 1))
        return longest * random.uniform(0.5, 1.0)  # so that many callers don't come back at the same moment


def from_error(error: Exception) -> Failure:
    """The failure of a try without an answer."""
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    if isinstance(error, ssl.SSLCertVerificationError):
        return Failure(f"has a certificate that can't be verified ({error.verify_message})", passing=False)
    if isinstance(error, socket.gaierror) and error.errno != socket.EAI_AGAIN:
        return Failure(f"has a host that is not known ({said}); check the address", passing=False)
    if isinstance(error, TimeoutError):
        return Failure(
            f"gave no answer in time ({error}); give it a longer timeout", passing=True, kind=EndpointTimeoutError
        )
    if isinstance(error, ConnectionRefusedError):
        return Failure("refused the connection; is it running, and is the port right?", passing=True)
    return Failure(f"could not be talked to ({said})", passing=True)


def from_response(response: Response) -> Failure:
    """The failure of an answer that is not 200."""
    status = response.status
    told = f": {text}" if (text := _told(response.body)) else ""
    if 300 <= status < 400:
        return Failure(
            f"answered {status}, a redirection, which is not followed, since the key would go along; give the new "
            f"address ({response.headers.get('location', 'it names none')!r})",
            passing=False,
            status=status,
        )
    hint = f" ({_WHAT_TO_DO[status]})" if status in _WHAT_TO_DO else ""
    return Failure(
        f"answered {status}{told}{hint}",
        passing=status in _PASSING,
        status=status,
        retry_after=_retry_after(response.headers.get("retry-after")),
        kind=EndpointBusyError if status in _BUSY else EndpointTimeoutError if status in _LATE else EndpointError,
    )


def _told(body: bytes) -> str:
    """What the endpoint says of the error, in one line."""
    text = body.decode("utf-8", "replace")
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        found = text
    while isinstance(found, dict):
        found = next((found[key] for key in ("error", "message", "detail") if key in found), text)
    line = " ".join(str(found).split())
    line = "".join(c if c.isprintable() else " " for c in line)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def _retry_after(value: str | None) -> float | None:
    """Seconds of a ``Retry-After`` header: a number, or a date (RFC 9110, 10.2.3); None for what is neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
