"""Jina's dialect: ``POST /jina/v1/embeddings`` and ``/jina/v1/rerank``; the paths without prefix are shared."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from lagotto.batch.long_texts import Windows
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.models.rendering import Role
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.base import text_of
from lagotto.server.dialects.schemas.jina import JinaEmbeddings, JinaRerank
from lagotto.server.embedding import Wish, collect, cutting, embed, require
from lagotto.server.inputs import check_query, checked_inputs
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import RankWish, rank, results, spent
from lagotto.server.replies import answer, cut_of, usage
from lagotto.server.vectors import typed, written

router = APIRouter(tags=["Jina"])

_ROLES: dict[str | None, Role] = {
    "retrieval.query": "query",
    "code.query": "query",
    "retrieval.passage": "document",
    "code.passage": "document",
}


@router.post("/jina/v1/embeddings")
async def embeddings(request: JinaEmbeddings, call: Calling) -> Response:
    """Vectors of texts by task, one type or several; late chunking; a vector a token."""
    given = request.input if isinstance(request.input, str) else [text_of(item) for item in request.input]
    texts: Any = checked_inputs(given, call.settings.max_inputs)
    if request.late_chunking and request.return_multivector:
        raise InvalidInputError(
            "late_chunking gives a vector a text; leave out return_multivector", param="late_chunking"
        )
    model = await call.embedder(request.model)
    return await call.compute(lambda: _answer(call, model, request, texts))


@router.post("/jina/v1/rerank")
async def rerank(request: JinaRerank, call: Calling) -> Response:
    """Documents ordered by relevance to a query, sent back with their scores unless that is not wanted."""
    query = text_of(request.query)
    check_query(query, request.documents, call.settings.max_inputs)
    _, model = await call.reranker(request.model)
    return await call.compute(lambda: _ranked(call, model, request, query))


def _answer(call: Call, model: Embedder, request: JinaEmbeddings, texts: list[str]) -> Response:
    role = _ROLES.get(request.task, "text")
    if request.return_multivector:
        found = _multivectors(model, request, texts, role)
        assert found.multivector is not None
        data = [{"embeddings": _by_type(request, matrix)} for matrix in found.multivector]
    else:
        found = _vectors(call, model, request, texts, role)
        data = [{"embedding": _by_type(request, row)} for row in found.dense]
    body = {
        "model": request.model,
        "object": "list",
        "usage": usage(int(found.tokens.sum())),
        "data": [{"object": "embedding", "index": i, **item} for i, item in enumerate(data)],
    }
    return answer(call, model, body, cut_of(found))


def _vectors(call: Call, model: Embedder, request: JinaEmbeddings, texts: list[str], role: Role) -> Embeddings:
    if request.late_chunking:
        return _late(model, request, texts, role)
    cut = cutting(model, request.truncate)
    wish = Wish(role, dimensions=request.dimensions, normalize=request.normalized, truncation=cut)
    return embed(model, request.model, texts, wish, call.settings)


def _late(model: Embedder, request: JinaEmbeddings, texts: list[str], role: Role) -> Embeddings:
    """The texts read as one, with a space between two; each gets the mean of its own tokens' states."""
    require(model, request.model, "dense")
    spans, end = [], 0
    for text in texts:
        spans.append((end, end + len(text)))
        end += len(text) + 1
    found = model.encode_spans(
        " ".join(texts),
        spans,
        role=role,
        dimensions=request.dimensions,
        normalize=request.normalized,
        truncation="error" if request.truncate is False else Windows(),
    )
    return Embeddings(found.dense, found.tokens, found.truncated)


def _multivectors(model: Embedder, request: JinaEmbeddings, texts: list[str], role: Role) -> Embeddings:
    require(model, request.model, "multivector")
    if request.dimensions is not None:
        raise InvalidInputError(
            "dimensions cuts vectors of texts, and return_multivector asks for others", param="dimensions"
        )
    return collect(model, texts, "multivector", role=role, truncation=cutting(model, request.truncate))


def _by_type(request: JinaEmbeddings, vectors: Any) -> Any:
    """A vector or matrix in the type asked for; of several types, an object that has each."""
    asked = request.embedding_type
    if isinstance(asked, list) and len(asked) > 1:
        return {name: _as(name, vectors) for name in dict.fromkeys(asked)}
    return _as(asked if isinstance(asked, str) else asked[0], vectors)


def _as(name: str, vectors: Any) -> Any:
    if name == "base64":
        return written(vectors, "base64") if vectors.ndim > 1 else written(vectors[None], "base64")[0]
    dtype: Any = "f32" if name == "float" else name
    return typed(vectors, dtype)


def _ranked(call: Call, model: AnyReranker, request: JinaRerank, query: str) -> Response:
    texts = [text_of(document) for document in request.documents]
    wish = RankWish(request.top_n, truncation=cutting(model, request.truncate), options=request.options())
    ranking = rank(model, query, texts, wish)

    def sent_back(index: int) -> dict[str, str]:
        return {"text": texts[index]}

    body = {
        "model": request.model,
        "object": "list",
        "usage": spent(ranking).usage(),
        "results": results(ranking, sent_back if request.return_documents else None),
    }
    return answer(call, model, body, ranking.truncated)
