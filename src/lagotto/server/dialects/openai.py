"""OpenAI's dialect: ``POST /v1/embeddings``, ``GET /v1/models``."""

from __future__ import annotations

from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from lagotto.cards.registry import find_card
from lagotto.core.errors import InvalidInputError, ModelNotAllowedError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.models.token_outputs import require_dense
from lagotto.server.call import Calling
from lagotto.server.dialects.schemas import EmbeddingsRequest
from lagotto.server.pool import Entry
from lagotto.server.replies import encoded_rows, json_response, truncation_header

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings")
async def embeddings(request: EmbeddingsRequest, call: Calling) -> Response:
    """Vectors of texts, or of token ids of the model's own tokenizer, in OpenAI's shape."""
    inputs = _inputs(request, call.settings.max_inputs)
    model = await call.embedder(request.model)
    return await call.compute(lambda: _answer(request, model, inputs))


@router.get("/v1/models")
async def models(call: Calling) -> dict[str, Any]:
    """The models this server allows."""
    return {"object": "list", "data": [_described(entry) for entry in call.pool.entries.values()]}


@router.get("/v1/models/{name:path}")
async def model(name: str, call: Calling) -> dict[str, Any]:
    """One allowed model."""
    if name not in call.pool.entries:
        raise ModelNotAllowedError(f"model {name!r} is not served here; GET /v1/models lists what is")
    return _described(call.pool.entries[name])


def _described(entry: Entry) -> dict[str, Any]:
    card = find_card(entry.offer.card or entry.offer.source.partition("@")[0])
    owner = card.name.partition("/")[0] if card is not None else "lagotto"
    return {"id": entry.public, "object": "model", "created": entry.created, "owned_by": owner}


def _inputs(request: EmbeddingsRequest, limit: int) -> list[str] | list[list[int]]:
    """Texts or lists of token ids, never empty. Raises `InvalidInputError` as OpenAI does."""
    given = request.input
    if isinstance(given, str):
        items: list[Any] = [given]
    else:
        items = [given] if given and isinstance(given[0], int) else list(given)
    if not items:
        raise InvalidInputError("input is an empty list; give at least one text", param="input")
    if len(items) > limit:
        raise InvalidInputError(
            f"input holds {len(items)} texts, {limit} are allowed in one request; send several", param="input"
        )
    empty = next((i for i, item in enumerate(items) if not item), None)
    if empty is not None:
        raise InvalidInputError(f"input {empty} is empty; every text needs at least one character", param="input")
    return items


def _answer(request: EmbeddingsRequest, model: Embedder, inputs: list[str] | list[list[int]]) -> Response:
    require_dense(model.outputs, request.model)
    found = _encode(model, inputs, request.dimensions)
    rows = encoded_rows(found.dense, request.encoding_format)
    tokens = int(found.tokens.sum())
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
        "model": request.model,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }
    return json_response(body, truncation_header(np.flatnonzero(found.truncated).tolist()))


def _encode(model: Embedder, inputs: list[str] | list[list[int]], dimensions: int | None) -> Embeddings:
    if isinstance(inputs[0], str):
        return model.encode(inputs, dimensions=dimensions)
    return model.encode_ids(inputs, dimensions=dimensions)
