"""Errors over HTTP: each dialect's shape, the right status, no traceback and no text of the client's in the log."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import cast, get_args

import orjson
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from starlette.exceptions import HTTPException

from lagotto.core.errors import (
    AuthenticationError,
    EndpointBusyError,
    EndpointError,
    EndpointTimeoutError,
    InvalidInputError,
    LagottoError,
    MalformedAnswerError,
    ModelNotAllowedError,
    TemporaryError,
)
from lagotto.server.call import REQUEST_ID, request_id
from lagotto.server.dialects.failures import Failure, said
from lagotto.server.dialects.paths import Dialect, dialect_of, speak
from lagotto.server.state import get_pool

logger = logging.getLogger(__name__)


class EmptyInputError(InvalidInputError):
    """There is nothing to embed or rank: an empty text, or an empty list of them."""


def failure_response(request: Request, failure: Failure, headers: Mapping[str, str] | None = None) -> Response:
    """The answer to a request that failed, in the dialect it speaks."""
    status, body = said(dialect_of(request), failure)
    content = b"" if body is None else orjson.dumps(body)
    kind = None if body is None else "application/json"
    return Response(content, status, {**(headers or {}), REQUEST_ID: request_id(request)}, kind)


def failure_of(error: LagottoError) -> Failure:
    """What an error says to a client."""
    param = "model" if isinstance(error, ModelNotAllowedError) else getattr(error, "param", None)
    return Failure(str(error), error.status, error.code, param, empty=isinstance(error, EmptyInputError))


def headers_of(error: LagottoError) -> dict[str, str]:
    """What HTTP asks for beside some statuses: how to authenticate, or when to come again.

    The latter is ``retry-after`` in whole seconds, as HTTP has it, and ``retry-after-ms``, which OpenAI's clients
    prefer.
    """
    if isinstance(error, AuthenticationError):
        return {"www-authenticate": "Bearer"}
    asked = error.retry_after if isinstance(error, TemporaryError | EndpointError) else None
    if asked is None:
        return {}
    after = max(0.001, asked)
    return {"retry-after": str(ceil(after)), "retry-after-ms": str(ceil(after * 1000))}


def add_error_handlers(app: FastAPI) -> None:
    """Make every failure an answer in the shape of the request's dialect."""

    @app.exception_handler(LagottoError)
    async def known(request: Request, error: LagottoError) -> Response:
        if error.status >= 500:
            said = type(error).__name__ if isinstance(error, MalformedAnswerError) else error  # it quotes an answer
            logger.error("%s %s: %s", request.method, request.url.path, said)
        failure = failure_of(error)
        message = _of_endpoint(error) if isinstance(error, EndpointError) else _without_folders(request, str(error))
        return failure_response(request, replace(failure, message=message), headers_of(error))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return failure_response(request, _explain(request, error))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = "request_too_large" if error.status_code == 413 else None
        message = error.detail if code else f"{request.method} {request.url.path}: {error.detail}"
        return failure_response(request, Failure(message, error.status_code, code), error.headers)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> Response:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = f"internal error ({type(error).__name__}); the server's log has the details"
        return failure_response(request, Failure(message, 500, "internal_error"))


def _without_folders(request: Request, message: str) -> str:
    """A message in which models have the names clients know: where their files are is nobody's business."""
    for entry in list(get_pool(request).entries.values()):
        for source in entry.sources:
            for folder in (str(Path(source).expanduser().resolve()), source):
                if os.path.isabs(folder):
                    message = message.replace(folder, entry.public)
    return message


def _of_endpoint(error: EndpointError) -> str:
    """What a client hears of a language model elsewhere: its address, and what it says to its operator, stay here."""
    if isinstance(error, MalformedAnswerError):
        return "the language model's answer has not the form that was asked for; try again, or with fewer documents"
    status = "" if error.endpoint_status is None else f" with status {error.endpoint_status}"
    if isinstance(error, EndpointBusyError):
        return f"the language model has too much to do, and refused{status}; come again later"
    if isinstance(error, EndpointTimeoutError):
        return "the language model gave no answer in time; try again, or with fewer documents"
    return f"the language model can't be asked, or failed{status}; the server's log has more"


def _explain(request: Request, error: RequestValidationError) -> Failure:
    """The field at fault and a sentence about it; of a union, all alternatives were tried and refused."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return _malformed(f"the request's body is not JSON: {reason} at character {first['loc'][-1]}")
    tag = str(first["loc"][1]) if len(first["loc"]) > 1 else ""
    start = 2 if tag.startswith("as ") else 1  # a path with several bodies, and the fields told which it is
    if tag[3:] in get_args(Dialect):
        speak(request, cast(Dialect, tag[3:]))
    loc = [str(part) for part in first["loc"][start:]]
    if not loc:
        return _malformed(
            "the request's body is missing or not a JSON object; send one with content-type application/json"
        )
    field = loc[0]
    if first["type"] == "missing":
        return _malformed(f"{'.'.join(loc)} is required", field)
    if first["type"] == "extra_forbidden":
        return _malformed(f"{field!r} is not a field of this request", field)
    reasons = dict.fromkeys(e["msg"] for e in errors if str(e["loc"][min(start, len(e["loc"]) - 1)]) == field)
    return _malformed(f"{field}: {'; or '.join(reasons)}", field)


def _malformed(message: str, param: str | None = None) -> Failure:
    return Failure(message, 400, "invalid_input", param, malformed=True)
