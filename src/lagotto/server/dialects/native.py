"""Lagotto's own route, ``POST /v1/encode``: all that a model gives, from one call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import numpy as np
from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from lagotto.core.errors import LagottoError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.failures import openai_body
from lagotto.server.dialects.native_rows import arrays, npy, npz, rows, span_arrays, span_rows
from lagotto.server.dialects.schemas.native import Encode
from lagotto.server.embedding import require
from lagotto.server.errors import failure_of
from lagotto.server.inputs import checked_inputs
from lagotto.server.replies import answer, cut_of, dumps, headers_of, usage

router = APIRouter(tags=["Lagotto"])


@router.post("/v1/encode", response_class=Response)
async def encode(request: Encode, call: Calling) -> Response:
    """Dense, sparse and multi-vector outputs in one pass, or vectors of spans; as JSON, NDJSON or arrays."""
    request.check()
    streams = request.format == "ndjson"
    limit = call.settings.max_body_bytes if streams else call.settings.max_inputs  # a stream may be as long as its body
    texts: Any = checked_inputs(request.input, limit)
    model = await call.embedder(request.model)
    if streams:
        return await _stream(call, model, request, texts)
    return await call.compute(lambda: _answer(call, model, request, texts))


def _answer(call: Call, model: Embedder, request: Encode, texts: list[str]) -> Response:
    if request.spans is not None:
        return _spans(call, model, request, texts)
    parts = list(_parts(model, request, texts))
    found = Embeddings.concatenate(parts, 0)
    if request.format == "json":
        return _json(call, model, request, rows(model, request, found, 0), found.tokens, cut_of(found))
    content = npy(request, found) if request.format == "npy" else npz(arrays(request, found))
    return _binary(call, model, content, cut_of(found))


def _parts(model: Embedder, request: Encode, texts: list[str]) -> Iterator[Embeddings]:
    outputs = request.outputs or ["dense" if "dense" in model.outputs else model.outputs[0]]
    for output in outputs:
        require(model, request.model, output)
    return model.stream(
        texts,
        **request.wording(),
        dimensions=request.dimensions,
        normalize=request.normalize,
        max_length=request.max_length,
        truncation=request.long_texts(),
        outputs=outputs,
    )


def _spans(call: Call, model: Embedder, request: Encode, texts: list[str]) -> Response:
    require(model, request.model, "dense")
    spans: Any = request.spans
    found = model.encode_spans(
        request.input,
        spans,
        **request.wording(),
        dimensions=request.dimensions,
        normalize=request.normalize,
        max_length=request.max_length,
        truncation=request.long_texts(),
    )
    lists = [spans] if isinstance(request.input, str) else spans
    cut = np.flatnonzero(found.truncated).tolist()
    if request.format == "npz":
        return _binary(call, model, npz(span_arrays(request, found, lists)), cut)
    return _json(call, model, request, span_rows(request, found, lists), found.tokens, cut)


def _json(call: Call, model: Embedder, request: Encode, data: list[Any], tokens: Any, cut: list[int]) -> Response:
    body = {"object": "encodings", **_about(call, model, request, int(tokens.sum())), "data": data}
    return answer(call, model, body, cut)


def _binary(call: Call, model: Embedder, content: bytes, cut: list[int]) -> Response:
    return Response(content, media_type="application/octet-stream", headers=headers_of(call, model, cut))


def _about(call: Call, model: Embedder, request: Encode, tokens: int) -> dict[str, Any]:
    return {"id": call.id, "model": request.model, "fingerprint": model.fingerprint, "usage": usage(tokens)}


class _Lines:
    """NDJSON, a chunk at each call: a line an input, then one about all of them, then None."""

    def __init__(self, call: Call, model: Embedder, request: Encode, texts: list[str]) -> None:
        self._call, self._model, self._request = call, model, request
        self._parts = _parts(model, request, texts)
        self._inputs = 0
        self._tokens = 0
        self._ended = False

    def __call__(self) -> bytes | None:
        if self._ended:
            return None
        part = next(self._parts, None)
        if part is None:
            self._ended = True
            end = {"object": "end", "inputs": self._inputs}
            return dumps({**end, **_about(self._call, self._model, self._request, self._tokens)}) + b"\n"
        items = rows(self._model, self._request, part, self._inputs)
        self._inputs += len(part)
        self._tokens += int(part.tokens.sum())
        return b"".join(dumps(item) + b"\n" for item in items)


async def _stream(call: Call, model: Embedder, request: Encode, texts: list[str]) -> Response:
    """The first chunk is computed before anything is sent, so that what is wrong with a request has its own status."""
    lines = await call.compute(lambda: _Lines(call, model, request, texts))
    first = await call.compute(lines)

    async def content() -> AsyncIterator[bytes]:
        chunk = first
        while chunk is not None:  # a client that goes away ends this at the next chunk; the iterator cancels the rest
            yield chunk
            try:
                chunk = await call.compute(lines)
            except LagottoError as error:
                yield dumps(openai_body(failure_of(error))) + b"\n"
                return

    return StreamingResponse(content(), media_type="application/x-ndjson", headers=headers_of(call, model))
