"""vLLM's dialect: ``/pooling`` and ``/vllm/rerank``; `vllm_pairs` has what scores pairs, `shared` what it shares."""

from __future__ import annotations

import time
import uuid
from typing import Any

from fastapi import APIRouter, Response

from lagotto.batch.long_texts import Truncation
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.vllm import VllmPooling, VllmRerank
from lagotto.server.embedding import Wish, collect, embed
from lagotto.server.inputs import Item, check_query, checked_inputs
from lagotto.server.judge import AnyReranker, Judge
from lagotto.server.ranking import RankWish, rank, results, spent
from lagotto.server.replies import answer, cut_of, usage
from lagotto.server.vectors import DType, packed, typed, written

router = APIRouter(tags=["vLLM"])

_DTYPES: dict[str, DType] = {"float32": "f32", "float16": "f16"}


@router.post("/vllm/rerank")
@router.post("/vllm/v1/rerank")
@router.post("/vllm/v2/rerank")
async def rerank(request: VllmRerank, call: Calling) -> Response:
    """Documents ordered by relevance to a query, sent back with their scores."""
    check_query(request.query, request.documents, call.settings.max_inputs)
    name, model = await call.reranker(request.model)
    return await call.compute(lambda: _ranked(call, model, name, request))


@router.post("/pooling")
@router.post("/vllm/pooling")
async def pooling(request: VllmPooling, call: Calling) -> Response:
    """A vector an input (``embed``), or a vector a token of each (``token_embed``)."""
    inputs = checked_inputs(request.input, call.settings.max_inputs)
    model = await call.embedder(request.model)
    return await call.compute(lambda: _pooled(call, model, request, inputs))


def limit_of(model: Embedder | AnyReranker, tokens: int | None) -> tuple[int | None, Truncation | None]:
    """How many tokens are read and what happens to longer texts, by ``truncate_prompt_tokens``."""
    if tokens is None:
        return None, None
    cut: Truncation = "left" if model.truncation == "left" else "right"
    most = tokens if isinstance(model, Judge) else min(tokens, model.max_length)
    return (None if tokens == -1 else most), cut


def _ranked(call: Call, model: AnyReranker, name: str, request: VllmRerank) -> Response:
    length, cut = limit_of(model, request.truncate_prompt_tokens)
    wish = RankWish(
        request.top_n or None,
        max_length=length,
        document_max_length=request.max_tokens_per_doc or None,
        truncation=cut,
        options=request.options(),
    )
    ranking = rank(model, request.query, request.documents, wish)
    body = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": name,
        "usage": spent(ranking).usage(),
        "results": results(ranking, lambda index: {"text": request.documents[index]}),
    }
    return answer(call, model, body, ranking.truncated)


def _pooled(call: Call, model: Embedder, request: VllmPooling, inputs: list[Item]) -> Response:
    length, cut = limit_of(model, request.truncate_prompt_tokens)
    dtype = _DTYPES[request.embed_dtype]
    if request.task == "embed":
        wish = Wish(dimensions=request.dimensions, max_length=length, truncation=cut)
        found = embed(model, request.model, inputs, wish, call.settings)
        data = written(typed(found.dense, dtype), request.encoding_format)
    else:
        found = _tokens(model, request, inputs, length, cut)
        matrices = [typed(matrix, dtype) for matrix in found.multivector or []]
        data = [packed(matrix) for matrix in matrices] if request.encoding_format == "base64" else matrices
    body = {
        "id": f"pool-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": request.model,
        "data": [{"index": i, "object": "pooling", "data": row} for i, row in enumerate(data)],
        "usage": usage(int(found.tokens.sum())),
    }
    return answer(call, model, body, cut_of(found))


def _tokens(
    model: Embedder, request: VllmPooling, inputs: list[Item], length: int | None, cut: Truncation | None
) -> Embeddings:
    """Token vectors of the model's own head where it has one, else its last hidden states at unit length."""
    texts: list[Any] = inputs
    if not all(isinstance(item, str) for item in inputs):
        raise InvalidInputError("token_embed reads texts, not token ids", param="input")
    if request.dimensions is not None:
        raise InvalidInputError("dimensions cuts vectors of texts, and token_embed gives others", param="dimensions")
    if "multivector" in model.outputs:
        return collect(model, texts, "multivector", max_length=length, truncation=cut)
    return model.encode_states(texts, normalize=True, max_length=length, truncation=cut)
