"""`Failure`: what went wrong with a request, and how each dialect says it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from lagotto.server.dialects.paths import Dialect


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure; ``status`` is that of OpenAI's dialect."""

    message: str
    status: int
    code: str | None = None
    param: str | None = None
    """The field at fault."""
    empty: bool = False
    """Whether an input was empty, for which TEI has a status of its own."""
    malformed: bool = False
    """Whether the body did not have the fields or types it should have."""


Said = tuple[int, Any]
"""A status, and a body to be written as JSON; None for no body."""

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}
_TEI = {400: "Empty", 429: "Overloaded", 503: "Unhealthy", 424: "Backend", 504: "Backend"}
_CLIENTS_FAULT = range(400, 500)


def said(dialect: Dialect, failure: Failure) -> Said:
    """Status and body of a failure in a dialect."""
    return _SHAPES[dialect](failure)


def _openai(failure: Failure) -> Said:
    return failure.status, openai_body(failure)


def openai_body(failure: Failure) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``, which OpenAI's clients parse."""
    kind = _TYPES.get(failure.status, "invalid_request_error" if failure.status in _CLIENTS_FAULT else "server_error")
    return {"error": {"message": failure.message, "type": kind, "param": failure.param, "code": failure.code}}


def _cohere(failure: Failure) -> Said:
    return failure.status, {"message": failure.message}


def _any(failure: Failure) -> Said:
    """All names that clients look for: Cohere's ``message``, Jina's and Voyage's ``detail``, OpenAI's ``error``."""
    return failure.status, {"message": failure.message, "detail": failure.message, **openai_body(failure)}


def _jina(failure: Failure) -> Said:
    return _any(replace(failure, status=422) if failure.malformed else failure)


def _voyage(failure: Failure) -> Said:
    return failure.status, {"detail": failure.message}


def _tei(failure: Failure) -> Said:
    status = failure.status
    if status == 401:
        return status, None
    if status == 400 and not failure.empty:
        status = 422
    if status in (500, 501, 502):
        status = 424
    return status, {"error": failure.message, "error_type": _TEI.get(status, "Validation")}


def _vllm(failure: Failure) -> Said:
    body = openai_body(failure)
    body["error"]["code"] = failure.status
    return failure.status, body


def _infinity(failure: Failure) -> Said:
    if failure.status == 401:
        return 401, {"detail": "Unauthorized"}
    if failure.malformed:
        place = ["body"] if failure.param is None else ["body", failure.param]
        return 422, {"detail": [{"loc": place, "msg": failure.message, "type": failure.code or "value_error"}]}
    return _vllm(failure)


_SHAPES: dict[Dialect, Callable[[Failure], Said]] = {
    "openai": _openai,
    "cohere": _cohere,
    "jina": _jina,
    "voyage": _voyage,
    "tei": _tei,
    "vllm": _vllm,
    "infinity": _infinity,
    "any": _any,
}
