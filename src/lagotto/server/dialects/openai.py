"""OpenAI's dialect: ``POST /openai/v1/embeddings``, ``GET /v1/models``; ``/v1/embeddings`` is shared."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from lagotto.cards.registry import find_card
from lagotto.core.errors import LagottoError, ModelNotAllowedError
from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.openai import OpenAIEmbeddings
from lagotto.server.embedding import Wish, embed
from lagotto.server.inputs import Item, checked_inputs
from lagotto.server.pool import Entry
from lagotto.server.replies import answer, cut_of, usage
from lagotto.server.vectors import written

router = APIRouter(tags=["OpenAI"])


@router.post("/openai/v1/embeddings")
@router.post("/vllm/v1/embeddings")
async def embeddings(request: OpenAIEmbeddings, call: Calling) -> Response:
    """Vectors of texts, or of token ids of the model's own tokenizer, in OpenAI's shape."""
    inputs = checked_inputs(request.input, call.settings.max_inputs)
    model = await call.embedder(request.model)
    return await call.compute(lambda: _answer(request, call, model, inputs))


@router.get("/v1/models")
@router.get("/openai/v1/models")
@router.get("/vllm/v1/models")
async def models(call: Calling) -> dict[str, Any]:
    """The models this server allows."""
    return {"object": "list", "data": [_described(entry) for entry in call.pool.entries.values()]}


@router.get("/v1/models/{name:path}")
@router.get("/openai/v1/models/{name:path}")
async def model(name: str, call: Calling) -> dict[str, Any]:
    """One allowed model."""
    if name not in call.pool.entries:
        raise ModelNotAllowedError(f"model {name!r} is not served here; GET /v1/models lists what is")
    return _described(call.pool.entries[name])


def _described(entry: Entry) -> dict[str, Any]:
    here = entry.offer.judge is None
    card = find_card(entry.offer.card or entry.offer.source.partition("@")[0]) if here else None
    owner = card.name.partition("/")[0] if card is not None else "lagotto"
    state, failure = entry.slot.state, entry.slot.failure
    return {
        "id": entry.public,
        "object": "model",
        "created": entry.created,
        "owned_by": owner,
        "loaded": state == "loaded",
        "state": state,
        "error": None if failure is None else getattr(failure, "code", LagottoError.code),
        "root": entry.parent or entry.public,
        "parent": entry.parent,
    }


def _answer(request: OpenAIEmbeddings, call: Call, model: Embedder, inputs: list[Item]) -> Response:
    found = embed(model, request.model, inputs, Wish(dimensions=request.dimensions), call.settings)
    rows = written(found.dense, request.encoding_format)
    body = {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)],
        "model": request.model,
        "usage": usage(int(found.tokens.sum())),
    }
    return answer(call, model, body, cut_of(found))
