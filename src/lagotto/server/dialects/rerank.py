"""Cohere's dialect of reranking: ``POST /v1/rerank`` (Jina's fields are the same)."""

from __future__ import annotations

import uuid
from typing import Any

from fastapi import APIRouter, Response

from lagotto.core.errors import InvalidInputError
from lagotto.models.reranker import MAX_WINDOWS, OVERLAP, Reranker
from lagotto.server.call import Calling
from lagotto.server.dialects.schemas import RerankDocument, RerankRequest
from lagotto.server.replies import json_response, truncation_header

router = APIRouter(tags=["Rerank"])


@router.post("/v1/rerank")
async def rerank(request: RerankRequest, call: Calling) -> Response:
    """Documents ordered by relevance to a query; scores lie in 0..1."""
    _check(request, call.settings.max_inputs)
    name, model = await call.reranker(request.model)
    return await call.compute(lambda: _answer(request, name, model))


def _check(request: RerankRequest, limit: int) -> None:
    if not request.query:
        raise InvalidInputError("query is empty; give the text to rank for", param="query")
    if not request.documents:
        raise InvalidInputError("documents is an empty list; give at least one", param="documents")
    if len(request.documents) > limit:
        raise InvalidInputError(
            f"documents holds {len(request.documents)}, {limit} are allowed in one request", param="documents"
        )


def _answer(request: RerankRequest, name: str, model: Reranker) -> Response:
    texts = [d.text if isinstance(d, RerankDocument) else d for d in request.documents]
    ranking = model.rank(
        request.query,
        texts,
        top_n=request.top_n,
        max_windows=request.max_chunks_per_doc or MAX_WINDOWS,
        overlap=OVERLAP if request.overlap_tokens is None else request.overlap_tokens,
    )
    used = {"input_tokens": ranking.tokens, "output_tokens": 0}
    body = {
        "id": str(uuid.uuid4()),
        "model": name,
        "results": [_result(request, r.index, r.score) for r in ranking],
        "tokens": used,
        "usage": {"prompt_tokens": ranking.tokens, "total_tokens": ranking.tokens},
        "meta": {"api_version": {"version": "1"}, "billed_units": {"search_units": 1}, "tokens": used},
    }
    return json_response(body, truncation_header(ranking.truncated))


def _result(request: RerankRequest, index: int, score: float) -> dict[str, Any]:
    result: dict[str, Any] = {"index": index, "relevance_score": score}
    if request.return_documents:
        document = request.documents[index]
        result["document"] = document.model_dump() if isinstance(document, RerankDocument) else {"text": document}
    return result
