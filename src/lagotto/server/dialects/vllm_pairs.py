"""What scores pairs of texts in vLLM's dialect: ``/score`` and ``/vllm/classify``; ``/classify`` is shared."""

from __future__ import annotations

import time
import uuid
from typing import Any

import numpy as np
from fastapi import APIRouter, Response

from lagotto.core.errors import InvalidInputError
from lagotto.models.embedder import Embedder
from lagotto.models.score_options import ScoreOptions
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.vllm import VllmClassify, VllmScore
from lagotto.server.dialects.vllm import limit_of
from lagotto.server.embedding import Wish, embed
from lagotto.server.inputs import checked_inputs, checked_pairs
from lagotto.server.judge import AnyReranker
from lagotto.server.ranking import LABEL, spent
from lagotto.server.replies import answer, usage

router = APIRouter(tags=["vLLM"])

_SIDES = (("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2"))


@router.post("/score")
@router.post("/v1/score")
@router.post("/vllm/score")
@router.post("/vllm/v1/score")
async def score(request: VllmScore, call: Calling) -> Response:
    """Scores of pairs of texts, one with many or as many with as many: a reranker's, or cosines of an embedder."""
    pairs = _pairs(request, call.settings.max_inputs)
    name, model = await call.scorer(request.model)
    if isinstance(model, Embedder):
        return await call.compute(lambda: _compared(call, model, name, request, pairs))
    return await call.compute(lambda: _scored(call, model, name, request, pairs))


@router.post("/vllm/classify")
async def classify(request: VllmClassify, call: Calling) -> Response:
    """The score of pairs of texts, as the one class that a reranker has."""
    given = [request.input] if isinstance(request.input, str) else request.input
    pairs = checked_pairs(given, call.settings.max_inputs, "input")
    name, model = await call.reranker(request.model)
    return await call.compute(lambda: _classified(call, model, name, request, pairs))


def _pairs(request: VllmScore, limit: int) -> list[tuple[str, str]]:
    """What is scored. Raises `InvalidInputError` for sides that are missing, doubled or of unequal lengths."""
    given = {name for names in _SIDES for name in names if getattr(request, name) is not None}
    sides = next((names for names in _SIDES if set(names) == given), None)
    if sides is None:
        allowed = "; or ".join(" and ".join(names) for names in _SIDES)
        raise InvalidInputError(f"give {allowed}; came: {', '.join(sorted(given)) or 'none'}", param=_SIDES[0][0])
    first, second = ([side] if isinstance(side, str) else side for side in (getattr(request, name) for name in sides))
    checked_inputs(first, limit, sides[0])
    checked_inputs(second, limit, sides[1])
    if len(first) == 1:
        first = first * len(second)
    if len(first) != len(second):
        raise InvalidInputError(
            f"{sides[0]} holds {len(first)} texts and {sides[1]} {len(second)}; give one, or as many", param=sides[0]
        )
    return list(zip(first, second, strict=True))


def _scored(call: Call, model: AnyReranker, name: str, request: VllmScore, pairs: list[tuple[str, str]]) -> Response:
    length, cut = limit_of(model, request.truncate_prompt_tokens)
    found = model.score(
        pairs,
        normalize=request.use_activation is not False,
        max_length=length,
        truncation=cut,
        options=request.options(),
    )
    truncated = np.flatnonzero(found.truncated).tolist()
    return answer(call, model, _scores(name, list(found), spent(found).usage()), truncated)


def _compared(call: Call, model: Embedder, name: str, request: VllmScore, pairs: list[tuple[str, str]]) -> Response:
    """Cosines of both sides; a text that comes several times is read once."""
    if request.use_activation is not None:
        raise InvalidInputError(
            f"use_activation is a reranker's, and {name!r} is an embedder, whose scores are cosines",
            param="use_activation",
        )
    if request.options() != ScoreOptions():
        raise InvalidInputError(
            "cutoff_layers, compress_layers, compress_ratio, instruction and prompt are for rerankers that are "
            f"language models, and {name!r} is an embedder",
            param="model",
        )
    length, cut = limit_of(model, request.truncate_prompt_tokens)
    places = {text: place for place, text in enumerate(dict.fromkeys(text for pair in pairs for text in pair))}
    wish = Wish(normalize=True, max_length=length, truncation=cut)
    found = embed(model, name, list(places), wish, call.settings)
    first, second = (np.array([places[pair[side]] for pair in pairs]) for side in (0, 1))
    cosines = np.einsum("ij,ij->i", found.dense[first], found.dense[second])  # (pairs,)
    truncated = np.flatnonzero(found.truncated[first] | found.truncated[second]).tolist()
    return answer(call, model, _scores(name, cosines.tolist(), usage(int(found.tokens.sum()))), truncated)


def _scores(name: str, scores: list[float], used: dict[str, int]) -> dict[str, Any]:
    return {
        "id": f"score-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": [{"index": i, "object": "score", "score": score} for i, score in enumerate(scores)],
        "usage": used,
    }


def _classified(
    call: Call, model: AnyReranker, name: str, request: VllmClassify, pairs: list[tuple[str, str]]
) -> Response:
    length, cut = limit_of(model, request.truncate_prompt_tokens)
    found = model.score(
        pairs,
        normalize=request.use_activation is not False,
        max_length=length,
        truncation=cut,
        options=request.options(),
    )
    body = {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "created": int(time.time()),
        "model": name,
        "data": [{"index": i, "label": LABEL, "probs": [score], "num_classes": 1} for i, score in enumerate(found)],
        "usage": spent(found).usage(),
    }
    return answer(call, model, body, np.flatnonzero(found.truncated).tolist())
