"""Paths that several dialects share: a body's fields tell whose it is; ``/jina/v1/...`` and the like fix it instead.

- ``/v1/embeddings``: ``task``, ``embedding_type`` and the like are Jina's, ``input_type``, ``output_dtype`` and their
  like Voyage's, all else OpenAI's.
- ``/v1/rerank``: ``top_k`` is Voyage's; all else is answered with what Cohere's, Jina's and vLLM's clients read.
- ``/rerank``: ``texts`` is TEI's, ``raw_scores`` Infinity's; all else as on ``/v1/rerank``.
- ``/classify``: ``raw_scores`` is Infinity's, all else vLLM's.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter, Request, Response

from lagotto.server.call import Call, Calling
from lagotto.server.dialects import cohere, infinity, jina, openai, tei, vllm_pairs, voyage
from lagotto.server.dialects.paths import Dialect, speak
from lagotto.server.dialects.schemas.base import text_of
from lagotto.server.dialects.schemas.infinity import InfinityClassify, InfinityRerank
from lagotto.server.dialects.schemas.jina import JinaEmbeddings
from lagotto.server.dialects.schemas.shared import (
    BareRerankBody,
    ClassifyBody,
    EmbeddingsBody,
    RerankBody,
    SharedRerank,
)
from lagotto.server.dialects.schemas.tei import TeiRerank
from lagotto.server.dialects.schemas.voyage import VoyageEmbeddings, VoyageRerank
from lagotto.server.embedding import cutting
from lagotto.server.inputs import check_query
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import RankWish, rank, results, spent, warnings_of
from lagotto.server.replies import answer

router = APIRouter(tags=["Shared"])

SPOKEN: dict[str, tuple[Dialect, ...]] = {
    "/v1/embeddings": ("openai", "jina", "voyage"),
    "/v1/rerank": ("any", "voyage"),
    "/rerank": ("any", "tei", "infinity"),
    "/classify": ("vllm", "infinity"),
}
"""The dialects of each path; the first is that of a request whose body tells nothing."""


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingsBody, call: Calling, connection: Request) -> Response:
    """Vectors of texts, as OpenAI, Jina or Voyage, whose fields the body has."""
    speak(connection, body.dialect)
    if isinstance(body, JinaEmbeddings):
        return await jina.embeddings(body, call)
    if isinstance(body, VoyageEmbeddings):
        return await voyage.embeddings(body, call)
    return await openai.embeddings(body, call)


@router.post("/v1/rerank")
async def rerank(body: RerankBody, call: Calling, connection: Request) -> Response:
    """Documents ordered by relevance to a query; scores lie in 0..1."""
    speak(connection, body.dialect)
    if isinstance(body, VoyageRerank):
        return await voyage.rerank(body, call)
    return await _rerank(body, call, body_default=call.settings.return_documents)


@router.post("/rerank")
async def bare_rerank(body: BareRerankBody, call: Calling, connection: Request, model: str | None = None) -> Response:
    """Documents ordered by relevance to a query, as TEI, Infinity or vLLM, whose fields the body has."""
    speak(connection, body.dialect)
    if isinstance(body, TeiRerank):
        return await tei.rerank(body, call, model)
    if isinstance(body, InfinityRerank):
        return await infinity.rerank(body, call)
    return await _rerank(body, call, body_default=True)


@router.post("/classify")
async def classify(body: ClassifyBody, call: Calling, connection: Request) -> Response:
    """The score of pairs of texts as a class, as vLLM or Infinity, whose fields the body has."""
    speak(connection, body.dialect)
    if isinstance(body, InfinityClassify):
        return await infinity.classify(body, call)
    return await vllm_pairs.classify(body, call)


async def _rerank(request: SharedRerank, call: Call, *, body_default: bool) -> Response:
    query = text_of(request.query)
    check_query(query, request.documents, call.settings.max_inputs)
    name, model = await call.reranker(request.model)
    back = body_default if request.return_documents is None else request.return_documents
    return await call.compute(lambda: _answer(call, request, name, model, query, back))


def _answer(call: Call, request: SharedRerank, name: str, model: AnyReranker, query: str, back: bool) -> Response:
    wish = RankWish(
        request.top_n,
        max_windows=request.max_chunks_per_doc,
        overlap=request.overlap_tokens,
        document_max_length=request.max_tokens_per_doc,
        truncation=cutting(model, request.truncate),
        options=request.options(),
    )
    ranking = rank(model, query, [text_of(document) for document in request.documents], wish)

    def sent_back(index: int) -> dict[str, Any]:
        document = request.documents[index]
        return {"text": document} if isinstance(document, str) else document.model_dump()

    used = spent(ranking)
    body = {
        "id": str(uuid.uuid4()),
        "object": "rerank",
        "created": int(time.time()),
        "model": name,
        "results": results(ranking, sent_back if back else None),
        "tokens": {"input_tokens": used.read, "output_tokens": used.written},
        "usage": used.usage(),
        "meta": cohere.meta("1", {"search_units": 1}, used, ranking.truncated, warnings_of(ranking)),
    }
    return answer(call, model, body, ranking.truncated)
