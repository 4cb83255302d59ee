"""Cohere's dialect, versions 1 and 2: ``/v1/embed``, ``/v2/embed``, ``/v2/rerank``; ``/v1/rerank`` is shared."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.models.rendering import Role
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.base import Document
from lagotto.server.dialects.schemas.cohere import CohereEmbedV1, CohereEmbedV2, CohereRerankV1, CohereRerankV2
from lagotto.server.embedding import Wish, embed
from lagotto.server.inputs import Item, check_query, checked_inputs
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import RankWish, Spent, rank, results, spent, warnings_of
from lagotto.server.replies import answer, cut_of, shown
from lagotto.server.vectors import typed, written

router = APIRouter(tags=["Cohere"])

_ROLES: dict[str, Role] = {"search_query": "query", "search_document": "document"}
_CUTS: dict[str, Any] = {"NONE": "error", "START": "left", "END": "right"}


@router.post("/v1/embed")
@router.post("/cohere/v1/embed")
async def embed_v1(request: CohereEmbedV1, call: Calling) -> Response:
    """Vectors of texts: plain lists of numbers, or by type where types are asked for."""
    wish = Wish(role=_ROLES.get(request.input_type or "", "text"), truncation=_CUTS.get(request.truncate or ""))
    return await _embed(call, request, request.texts, wish, "1")


@router.post("/v2/embed")
@router.post("/cohere/v2/embed")
async def embed_v2(request: CohereEmbedV2, call: Calling) -> Response:
    """Vectors of texts by type: float, int8, uint8, binary, ubinary, base64."""
    if (request.texts is None) == (request.inputs is None):
        raise InvalidInputError("give either texts or inputs", param="texts")
    texts = request.texts
    if texts is None:
        texts = ["\n".join(part.text for part in item.content) for item in request.inputs or []]
    wish = Wish(
        role=_ROLES.get(request.input_type, "text"),
        dimensions=request.output_dimension,
        max_length=request.max_tokens,
        truncation=_CUTS.get(request.truncate or ""),
    )
    return await _embed(call, request, texts, wish, "2")


@router.post("/cohere/v1/rerank")
async def rerank_v1(request: CohereRerankV1, call: Calling) -> Response:
    """Documents ordered by relevance to a query; scores lie in 0..1."""
    check_query(request.query, request.documents, call.settings.max_inputs)
    texts = [_text(document, request.rank_fields, n) for n, document in enumerate(request.documents)]
    _, model = await call.reranker(request.model)
    wish = RankWish(request.top_n, max_windows=request.max_chunks_per_doc, options=request.options())

    def sent_back(index: int) -> Any:
        document = request.documents[index]
        return {"text": document} if isinstance(document, str) else _keys(document)

    back = sent_back if request.return_documents else None
    return await call.compute(lambda: _ranked(call, model, request.query, texts, wish, "1", back))


@router.post("/v2/rerank")
@router.post("/cohere/v2/rerank")
async def rerank_v2(request: CohereRerankV2, call: Calling) -> Response:
    """Documents ordered by relevance to a query; scores lie in 0..1, and no documents are sent back."""
    check_query(request.query, request.documents, call.settings.max_inputs)
    _, model = await call.reranker(request.model)
    wish = RankWish(request.top_n, document_max_length=request.max_tokens_per_doc, options=request.options())
    return await call.compute(lambda: _ranked(call, model, request.query, request.documents, wish, "2", None))


def meta(
    version: str, call_units: dict[str, int], used: Spent, cut: Sequence[int], warnings: Sequence[str] = ()
) -> dict[str, Any]:
    """Cohere's ``meta``: version, what would be billed, tokens, and warnings, one where inputs were cut."""
    found: dict[str, Any] = {
        "api_version": {"version": version},
        "billed_units": call_units,
        "tokens": {"input_tokens": used.read, "output_tokens": used.written},
    }
    said = [f"not read whole, since they are longer than the model reads: inputs {shown(cut)}"] if cut else []
    if said or warnings:
        found["warnings"] = [*said, *warnings]
    return found


async def _embed(
    call: Call, request: CohereEmbedV1 | CohereEmbedV2, texts: list[str], wish: Wish, version: str
) -> Response:
    inputs = checked_inputs(texts, call.settings.max_inputs, "texts")
    model = await call.embedder(request.model)
    return await call.compute(lambda: _embedded(call, model, request, inputs, wish, version))


def _embedded(
    call: Call, model: Embedder, request: CohereEmbedV1 | CohereEmbedV2, texts: list[Item], wish: Wish, version: str
) -> Response:
    found = embed(model, request.model, texts, wish, call.settings)
    tokens, cut = int(found.tokens.sum()), cut_of(found)
    plain = request.embedding_types is None and version == "1"
    types = dict.fromkeys(request.embedding_types or ["float"])
    body = {
        "id": str(uuid.uuid4()),
        "embeddings": written(found.dense) if plain else {name: _as(name, found) for name in types},
        "texts": texts,
        "meta": meta(version, {"input_tokens": tokens}, Spent(tokens), cut),
        "response_type": "embeddings_floats" if plain else "embeddings_by_type",
    }
    return answer(call, model, body, cut)


def _as(name: str, found: Embeddings) -> list[Any]:
    if name == "base64":
        return written(found.dense, "base64")
    dtype: Any = "f32" if name == "float" else name
    return written(typed(found.dense, dtype))


def _ranked(
    call: Call, model: AnyReranker, query: str, texts: Sequence[str], wish: RankWish, version: str, back: Any
) -> Response:
    ranking = rank(model, query, texts, wish)
    body = {
        "id": str(uuid.uuid4()),
        "results": results(ranking, back),
        "meta": meta(version, {"search_units": 1}, spent(ranking), ranking.truncated, warnings_of(ranking)),
    }
    return answer(call, model, body, ranking.truncated)


def _keys(document: Document | dict[str, str]) -> dict[str, Any]:
    return document if isinstance(document, dict) else document.model_dump()


def _text(document: str | Document | dict[str, str], fields: list[str] | None, number: int) -> str:
    """What is read of a document: its ``text``, or the fields asked for, a line each."""
    if isinstance(document, str):
        return document
    keys = _keys(document)
    missing = next((name for name in fields or ["text"] if not isinstance(keys.get(name), str)), None)
    if missing is not None:
        raise InvalidInputError(f"document {number} has no text {missing!r}", param="documents")
    if fields is None or fields == ["text"]:
        return str(keys["text"])
    return "\n".join(f"{name}: {keys[name]}" for name in fields)
