"""Voyage's dialect: ``POST /voyage/v1/embeddings`` and ``/voyage/v1/rerank``; the paths without prefix are shared."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.voyage import VoyageEmbeddings, VoyageRerank
from lagotto.server.embedding import Wish, cutting, embed
from lagotto.server.inputs import Item, check_query, checked_inputs
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import RankWish, rank, results, spent
from lagotto.server.replies import answer, cut_of
from lagotto.server.vectors import typed, written

router = APIRouter(tags=["Voyage"])


@router.post("/voyage/v1/embeddings")
async def embeddings(request: VoyageEmbeddings, call: Calling) -> Response:
    """Vectors of texts by input type and number type."""
    inputs = checked_inputs(request.input, call.settings.max_inputs)
    model = await call.embedder(request.model)
    return await call.compute(lambda: _answer(call, model, request, inputs))


@router.post("/voyage/v1/rerank")
async def rerank(request: VoyageRerank, call: Calling) -> Response:
    """Documents ordered by relevance to a query, under ``data``."""
    check_query(request.query, request.documents, call.settings.max_inputs)
    _, model = await call.reranker(request.model)
    return await call.compute(lambda: _ranked(call, model, request))


def _answer(call: Call, model: Embedder, request: VoyageEmbeddings, inputs: list[Item]) -> Response:
    wish = Wish(
        role=request.input_type or "text",
        dimensions=request.output_dimension,
        truncation=cutting(model, request.truncation),
    )
    found = embed(model, request.model, inputs, wish, call.settings)
    dtype: Any = "f32" if request.output_dtype in (None, "float") else request.output_dtype
    rows = written(typed(found.dense, dtype), request.encoding_format or "float")
    body = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": row, "index": i} for i, row in enumerate(rows)],
        "model": request.model,
        "usage": {"total_tokens": int(found.tokens.sum())},
    }
    return answer(call, model, body, cut_of(found))


def _ranked(call: Call, model: AnyReranker, request: VoyageRerank) -> Response:
    wish = RankWish(request.top_k, truncation=cutting(model, request.truncation), options=request.options())
    ranking = rank(model, request.query, request.documents, wish)
    back = request.documents.__getitem__ if request.return_documents else None
    body = {
        "object": "list",
        "data": results(ranking, back),
        "model": request.model,
        "usage": {"total_tokens": spent(ranking).total},
    }
    return answer(call, model, body, ranking.truncated)
