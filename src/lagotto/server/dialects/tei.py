"""TEI's dialect (text-embeddings-inference): vectors, scores and what the server is; `tei_tokens` has its tokenizer.

Its routes have no field for a model: the first embedder or reranker answers, or the one that ``?model=`` names. Each is
there with and without ``/tei`` before it; ``/rerank`` alone is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Response
from pydantic import Discriminator, Tag

from lagotto.batch.long_texts import Truncation
from lagotto.core.errors import InvalidInputError
from lagotto.models.embedder import Embedder
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.tei import (
    TeiEmbed,
    TeiEmbedAll,
    TeiEmbedSparse,
    TeiPredict,
    TeiRequest,
    TeiRerank,
    TeiSimilarity,
    TeiSimilarityParameters,
    alias_tag,
)
from lagotto.server.embedding import Wish, collect, embed, require, wording
from lagotto.server.inputs import Item, check_query, checked_inputs, checked_pairs
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import LABEL, RankWish, rank
from lagotto.server.replies import answer, cut_of

router = APIRouter(tags=["TEI"])


async def embedder(call: Call, name: str | None) -> tuple[str, Embedder]:
    """The embedder that is named, else the first."""
    chosen = await call.pool.first("embed") if name is None else name
    return chosen, await call.embedder(chosen)


async def reranker(call: Call, name: str | None) -> tuple[str, AnyReranker]:
    """The reranker that is named, else the first."""
    return await call.reranker(await call.pool.first("rerank") if name is None else name)


@router.post("/embed")
@router.post("/tei/embed")
async def vectors(request: TeiEmbed, call: Calling, model: str | None = None) -> Response:
    """One vector an input: ``[[...]]``."""
    inputs = checked_inputs(request.inputs, call.settings.max_inputs, "inputs")
    name, found = await embedder(call, model)
    return await call.compute(lambda: _embedded(call, found, name, request, inputs))


@router.post("/embed_all")
@router.post("/tei/embed_all")
async def states(request: TeiEmbedAll, call: Calling, model: str | None = None) -> Response:
    """One vector a token, special tokens included: the model's last hidden states, not normalised."""
    texts = _texts(checked_inputs(request.inputs, call.settings.max_inputs, "inputs"))
    _, found = await embedder(call, model)

    def work() -> Response:
        cut = cutting(call, request)
        value = found.encode_states(texts, truncation=cut, **wording(found, request.prompt_name))
        assert value.multivector is not None
        return answer(call, found, list(value.multivector), cut_of(value))

    return await call.compute(work)


@router.post("/embed_sparse")
@router.post("/tei/embed_sparse")
async def sparse(request: TeiEmbedSparse, call: Calling, model: str | None = None) -> Response:
    """Weights of vocabulary entries: ``[[{"index", "value"}]]``."""
    texts = _texts(checked_inputs(request.inputs, call.settings.max_inputs, "inputs"))
    name, found = await embedder(call, model)

    def work() -> Response:
        require(found, name, "sparse")
        cut, how = cutting(call, request), wording(found, request.prompt_name)
        value = collect(found, texts, "sparse", truncation=cut, **how)
        assert value.sparse is not None
        rows = [[{"index": i, "value": weight} for i, weight in row.items()] for row in value.sparse]
        return answer(call, found, rows, cut_of(value))

    return await call.compute(work)


@router.post("/tei/rerank")
async def rerank(request: TeiRerank, call: Calling, model: str | None = None) -> Response:
    """Texts by relevance to a query, best first: ``[{"index", "score", "text"?}]``."""
    check_query(request.query, request.texts, call.settings.max_inputs, "texts")
    _, found = await reranker(call, model)

    def work() -> Response:
        wish = RankWish(normalize=not request.raw_scores, truncation=cutting(call, request), options=request.options())
        ranking = rank(found, request.query, request.texts, wish)
        body: list[dict[str, Any]] = [{"index": place.index, "score": place.score} for place in ranking]
        if request.return_text:
            body = [{**row, "text": request.texts[row["index"]]} for row in body]
        return answer(call, found, body, ranking.truncated)

    return await call.compute(work)


@router.post("/predict")
@router.post("/tei/predict")
async def predict(request: TeiPredict, call: Calling, model: str | None = None) -> Response:
    """The score of a pair of texts, or of each of several: rerankers have one label."""
    single = isinstance(request.inputs, str) or all(isinstance(part, str) for part in request.inputs)
    given: list[Any] = [request.inputs] if single else list(request.inputs)
    pairs = checked_pairs(given, call.settings.max_inputs, "inputs")
    _, found = await reranker(call, model)

    def work() -> Response:
        scores = found.score(
            pairs,
            normalize=not request.raw_scores,
            truncation=cutting(call, request),
            options=request.options(),
        )
        rows = [[{"score": score, "label": LABEL}] for score in scores]
        return answer(call, found, rows[0] if single else rows, np.flatnonzero(scores.truncated).tolist())

    return await call.compute(work)


@router.post("/similarity")
@router.post("/tei/similarity")
async def similarity(request: TeiSimilarity, call: Calling, model: str | None = None) -> Response:
    """Cosines of a sentence with others: ``[0.9, ...]``."""
    sentences = checked_inputs(request.inputs.sentences, call.settings.max_inputs, "sentences")
    texts = [*checked_inputs(request.inputs.source_sentence, 1, "source_sentence"), *sentences]
    how = request.parameters or TeiSimilarityParameters()
    name, found = await embedder(call, model)

    def work() -> Response:
        wish = Wish(normalize=True, truncation=cutting(call, how), **wording(found, how.prompt_name))
        value = embed(found, name, texts, wish, call.settings)
        cut = [number - 1 for number in cut_of(value) if number > 0]
        return answer(call, found, value.dense[1:] @ value.dense[0], cut)

    return await call.compute(work)


AliasBody = Annotated[
    Annotated[TeiEmbed, Tag("as embed")]
    | Annotated[TeiRerank, Tag("as rerank")]
    | Annotated[TeiSimilarity, Tag("as similarity")],
    Discriminator(alias_tag),
]


@router.post("/")
async def alias(body: AliasBody, call: Calling, model: str | None = None) -> Response:
    """``/embed``, ``/rerank`` (a body with ``texts``) or ``/similarity``: what Hugging Face's inference clients ask."""
    if isinstance(body, TeiRerank):
        return await rerank(body, call, model)
    if isinstance(body, TeiSimilarity):
        return await similarity(body, call, model)
    return await vectors(body, call, model)


def cutting(call: Call, request: TeiRequest) -> Truncation:
    """What happens to long texts; where the client does not say, TEI's own default unless the operator changed it."""
    cut = call.settings.auto_truncate if request.truncate is None else request.truncate
    return request.truncation_direction if cut else "error"


def _embedded(call: Call, model: Embedder, name: str, request: TeiEmbed, inputs: Sequence[Item]) -> Response:
    wish = Wish(
        dimensions=request.dimensions,
        normalize=request.normalize,
        truncation=cutting(call, request),
        **wording(model, request.prompt_name),
    )
    found = embed(model, name, inputs, wish, call.settings)
    return answer(call, model, found.dense, cut_of(found))


def _texts(items: Sequence[Item]) -> list[str]:
    texts = [item for item in items if isinstance(item, str)]
    if len(texts) < len(items):
        raise InvalidInputError("token ids are read by /embed alone; send texts here", param="inputs")
    return texts
