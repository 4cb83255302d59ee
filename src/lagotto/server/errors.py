"""Errors over HTTP: OpenAI's shape, the right status, no traceback and no text of the client's in the log."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from lagotto.core.errors import LagottoError, ModelNotAllowedError

logger = logging.getLogger(__name__)

_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def error_body(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """``{"error": {"message", "type", "param", "code"}}``, which OpenAI's clients parse."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def add_error_handlers(app: FastAPI) -> None:
    """Make every failure an answer in OpenAI's shape."""

    @app.exception_handler(LagottoError)
    async def known(request: Request, error: LagottoError) -> JSONResponse:
        if error.status >= 500:
            logger.error("%s %s: %s", request.method, request.url.path, error)
        param = "model" if isinstance(error, ModelNotAllowedError) else getattr(error, "param", None)
        return JSONResponse(error_body(str(error), error.status, error.code, param), error.status)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        param, message = _explain(error)
        return JSONResponse(error_body(message, 400, "invalid_input", param), 400)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        code = "request_too_large" if error.status_code == 413 else None
        message = error.detail if code else f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(error_body(message, error.status_code, code), error.status_code, error.headers)

    @app.exception_handler(Exception)
    async def unknown(request: Request, error: Exception) -> JSONResponse:
        logger.error("%s %s failed", request.method, request.url.path, exc_info=error)
        message = f"internal error ({type(error).__name__}); the server's log has the details"
        return JSONResponse(error_body(message, 500, "internal_error"), 500)


def _explain(error: RequestValidationError) -> tuple[str | None, str]:
    """The field at fault and a sentence about it; of a union, all alternatives were tried and refused."""
    errors = error.errors()
    first = errors[0]
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return None, f"the request's body is not JSON: {reason} at character {first['loc'][-1]}"
    loc = [str(part) for part in first["loc"] if part != "body"]
    if not loc:
        return None, "the request's body is missing or not a JSON object; send one with content-type application/json"
    field = loc[0]
    if first["type"] == "missing":
        return field, f"{'.'.join(loc)} is required"
    if first["type"] == "extra_forbidden":
        return field, f"{field!r} is not a field of this request"
    reasons = dict.fromkeys(e["msg"] for e in errors if str(e["loc"][min(1, len(e["loc"]) - 1)]) == field)
    return field, f"{field}: {'; or '.join(reasons)}"
