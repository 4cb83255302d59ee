"""Infinity's dialect: ``/embeddings``, and ``/infinity/...`` of its other routes, whose paths are shared."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.infinity import NOT_NAMED, InfinityClassify, InfinityEmbeddings, InfinityRerank
from lagotto.server.embedding import Wish, embed
from lagotto.server.inputs import Item, check_query, checked_inputs, checked_pairs
from lagotto.server.judge import AnyReranker, Judge
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.ranking import LABEL, RankWish, rank, results, spent
from lagotto.server.replies import answer, cut_of, usage
from lagotto.server.slots import Model
from lagotto.server.vectors import written

router = APIRouter(tags=["Infinity"])


@router.post("/embeddings")
@router.post("/infinity/embeddings")
async def embeddings(request: InfinityEmbeddings, call: Calling) -> Response:
    """Vectors of texts in OpenAI's shape, with an id and a time."""
    inputs = checked_inputs(request.input, call.settings.max_inputs)
    name = await call.pool.first("embed") if request.model == NOT_NAMED else request.model
    model = await call.embedder(name)
    return await call.compute(lambda: _answer(call, model, name, request, inputs))


@router.post("/infinity/rerank")
async def rerank(request: InfinityRerank, call: Calling) -> Response:
    """Documents ordered by relevance to a query; those sent back are bare strings."""
    check_query(request.query, request.documents, call.settings.max_inputs)
    name = await call.pool.first("rerank") if request.model == NOT_NAMED else request.model
    name, model = await call.reranker(name)
    return await call.compute(lambda: _ranked(call, model, name, request))


@router.post("/infinity/classify")
async def classify(request: InfinityClassify, call: Calling) -> Response:
    """The score of pairs of texts, as the one class that a reranker has."""
    given = [request.input] if isinstance(request.input, str) else request.input
    pairs = checked_pairs(given, call.settings.max_inputs, "input")
    name = await call.pool.first("rerank") if request.model == NOT_NAMED else request.model
    name, model = await call.reranker(name)
    return await call.compute(lambda: _classified(call, model, name, request, pairs))


@router.get("/infinity/models")
async def models(call: Calling) -> dict[str, Any]:
    """The models in memory."""
    return listing(call.pool)


@router.get("/infinity/health")
async def health() -> dict[str, float]:
    """200 once the models named at start are loaded."""
    return {"unix": time.time()}


def listing(pool: ModelPool) -> dict[str, Any]:
    """The models in memory, adapters apart, as Infinity lists them."""
    found = [(entry, model) for entry in pool.answering() if (model := entry.model) is not None]
    return {"object": "list", "data": [_described(entry, model, pool.running) for entry, model in found]}


def _described(entry: Entry, model: Model, running: int) -> dict[str, Any]:
    return {
        "id": entry.public,
        "object": "model",
        "owned_by": "infinity",  # the only value that Infinity's own client reads
        "created": entry.created,
        "backend": "llm" if isinstance(model, Judge) else model.engine.name,
        "capabilities": ["embed" if isinstance(model, Embedder) else "rerank"],
        "stats": {"queue_fraction": 0.0, "queue_absolute": 0, "results_pending": running, "batch_size": 0},
    }


def _answer(call: Call, model: Embedder, name: str, request: InfinityEmbeddings, inputs: list[Item]) -> Response:
    found = embed(model, name, inputs, Wish(dimensions=request.dimensions or None), call.settings)
    rows = written(found.dense, request.encoding_format)
    body = {
        "object": "list",
        "data": [{"object": "embedding", "embedding": row, "index": i} for i, row in enumerate(rows)],
        "model": name,
        "usage": usage(int(found.tokens.sum())),
        "id": f"infinity-{uuid.uuid4()}",
        "created": int(time.time()),
    }
    return answer(call, model, body, cut_of(found))


def _ranked(call: Call, model: AnyReranker, name: str, request: InfinityRerank) -> Response:
    wish = RankWish(request.top_n, normalize=not request.raw_scores, options=request.options())
    ranking = rank(model, request.query, request.documents, wish)
    back = request.documents.__getitem__ if request.return_documents else None
    body = {
        "object": "rerank",
        "results": results(ranking, back),
        "model": name,
        "usage": spent(ranking).usage(),
        "id": f"infinity-{uuid.uuid4()}",
        "created": int(time.time()),
    }
    return answer(call, model, body, ranking.truncated)


def _classified(
    call: Call, model: AnyReranker, name: str, request: InfinityClassify, pairs: list[tuple[str, str]]
) -> Response:
    found = model.score(pairs, normalize=not request.raw_scores, options=request.options())
    body = {
        "object": "classify",
        "data": [[{"score": score, "label": LABEL}] for score in found],
        "model": name,
        "usage": spent(found).usage(),
        "id": f"infinity-{uuid.uuid4()}",
        "created": int(time.time()),
    }
    return answer(call, model, body, np.flatnonzero(found.truncated).tolist())
