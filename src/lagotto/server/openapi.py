"""What ``/openapi.json`` tells beyond what FastAPI finds by itself: replies, and every failure in its dialect."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI

from lagotto.server.dialects import shared
from lagotto.server.dialects.failures import Failure, said
from lagotto.server.dialects.paths import Dialect, dialect_of_path
from lagotto.server.openapi_replies import COUNT, TEXT, any_of, fields, listed, reply_shape

Json = dict[str, Any]

_ANY_ROUTE = (401, 403, 405, 408, 413, 415, 429, 500)
"""Failures, as OpenAI's dialect has them, that may meet a request on every route."""
_COMPUTING = (400, 404, 501, 503, 504)
"""And on those that use a model."""
_RANKING = ("rerank", "score", "classify", "predict")
"""Ends of paths behind which a language model elsewhere may be, and fail (502); so it is of ``/``."""
_STOCK = frozenset(("HTTPValidationError", "ValidationError"))
"""FastAPI's own shapes of errors, which no route answers with."""
_MAYBE: Json = {"type": ["string", "null"]}

_ERROR = fields(message=TEXT, type=TEXT, param=_MAYBE, code=_MAYBE)
_PLACE = fields(loc=listed(TEXT), msg=TEXT, type=TEXT)
_SHAPES: dict[str, Json] = {
    "OpenAIError": fields(error=_ERROR),
    "CohereError": fields(message=TEXT),
    "AnyError": fields(message=TEXT, detail=TEXT, error=_ERROR),
    "VoyageError": fields(detail=TEXT),
    "TeiError": fields(error=TEXT, error_type=TEXT),
    "VllmError": fields(error=fields(message=TEXT, type=TEXT, param=_MAYBE, code=COUNT)),
    "InfinityUnauthorized": fields(detail=TEXT),
    "InfinityInvalid": fields(detail=listed(_PLACE)),
}
_OF: dict[Dialect, str] = {
    "openai": "OpenAIError",
    "cohere": "CohereError",
    "any": "AnyError",
    "jina": "AnyError",
    "voyage": "VoyageError",
    "tei": "TeiError",
    "vllm": "VllmError",
    "infinity": "VllmError",
}
_REPLIES: dict[str, tuple[str, ...]] = {
    "/v1/encode": ("application/json", "application/x-ndjson", "application/octet-stream"),
    "/metrics": ("text/plain",),
    "/": (),
    "/ping": (),
    "/tei/ping": (),
    "/tei/health": (),
}
"""Kinds of content of replies that are not JSON alone; of ``/`` and the like those of GET."""


def describe_answers(app: FastAPI) -> None:
    """Let an app's ``/openapi.json`` tell what its routes answer with, also when something is wrong."""
    plain = app.openapi

    def openapi() -> Json:
        if app.openapi_schema is None:
            _complete(plain())
        assert app.openapi_schema is not None  # `plain` keeps it
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # as FastAPI's own documentation has it


def _complete(document: Json) -> None:
    schemas = document["components"]["schemas"]
    for name in _STOCK:
        schemas.pop(name, None)
    schemas |= _SHAPES
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            replies = operation["responses"]
            replies.pop("422", None)
            post = method == "post"
            kinds = ("application/json",) if post and path == "/" else _REPLIES.get(path, ("application/json",))
            replies["200"] = _reply(path, kinds)
            replies |= _failures(path, with_body=post)
    ready = document["paths"]["/ready"]["get"]["responses"]
    ready["503"] = ready["200"] | {"description": HTTPStatus.SERVICE_UNAVAILABLE.phrase}


def _reply(path: str, kinds: tuple[str, ...]) -> Json:
    found: Json = {"description": HTTPStatus.OK.phrase}
    schemas = {kind: {"schema": reply_shape(path) if kind == "application/json" else {}} for kind in kinds}
    return found | {"content": schemas} if kinds else found


def _failures(path: str, with_body: bool) -> dict[str, Json]:
    """The answers to requests that fail, by status: those of each dialect that the path speaks."""
    shapes: dict[int, dict[str, None]] = {}
    for dialect in shared.SPOKEN.get(path, (dialect_of_path(path),)):
        for failure in _possible(path, with_body):
            status, body = said(dialect, failure)
            shapes.setdefault(status, {})
            if body is not None:
                shapes[status][_shape(dialect, status)] = None
    return {str(status): _answer(status, names) for status, names in sorted(shapes.items())}


def _possible(path: str, with_body: bool) -> Iterable[Failure]:
    statuses = _ANY_ROUTE if path in _REPLIES and not with_body else (*_ANY_ROUTE, *_COMPUTING)
    elsewhere = with_body and (path == "/" or path.endswith(_RANKING))
    for status in (*statuses, 502) if elsewhere else statuses:
        yield Failure("", status)
    if with_body:
        yield Failure("", 400, malformed=True)
        yield Failure("", 400, empty=True)


def _shape(dialect: Dialect, status: int) -> str:
    if dialect == "infinity":
        return {401: "InfinityUnauthorized", 422: "InfinityInvalid"}.get(status, "VllmError")
    return _OF[dialect]


def _answer(status: int, names: Iterable[str]) -> Json:
    found: Json = {"description": HTTPStatus(status).phrase}
    options = [{"$ref": f"#/components/schemas/{name}"} for name in names]
    if options:
        found["content"] = {"application/json": {"schema": options[0] if len(options) == 1 else any_of(*options)}}
    return found
