"""TEI's tokenizer routes, and what it says of itself."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

import lagotto
from lagotto.core.errors import InvalidInputError, PermissionDeniedError
from lagotto.engines.base import TOKEN_BUDGET
from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker
from lagotto.server.call import Call, Calling
from lagotto.server.dialects.schemas.tei import TeiDecode, TeiTokenize
from lagotto.server.dialects.tei import embedder, reranker
from lagotto.server.embedding import prompt_of
from lagotto.server.inputs import checked_inputs
from lagotto.server.judge import AnyReranker, Judge
from lagotto.server.ranking import LABEL
from lagotto.server.replies import answer

router = APIRouter(tags=["TEI"])

_DTYPES = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@router.post("/tokenize")
@router.post("/tei/tokenize")
async def tokenize(request: TeiTokenize, call: Calling, model: str | None = None) -> Response:
    """Each input's tokens: id, text, whether it is special, where its characters are."""
    texts = checked_inputs(request.inputs, call.settings.max_inputs, "inputs")
    found = await _tokeniser(call, model)

    def work() -> Response:
        prompt = "" if request.prompt_name is None else prompt_of(found, request.prompt_name)
        return answer(call, found, [_tokens(found, f"{prompt}{text}", request.add_special_tokens) for text in texts])

    return await call.compute(work)


@router.post("/decode")
@router.post("/tei/decode")
async def decode(request: TeiDecode, call: Calling, model: str | None = None) -> Response:
    """The text of token ids, or of each of several lists of them."""
    lists: Any = checked_inputs(request.ids, call.settings.max_inputs, "ids")
    found = await _tokeniser(call, model)

    def work() -> Response:
        size = found.tokenizer.vocab_size
        outside = next((i for ids in lists for i in ids if not 0 <= i < size), None)
        if outside is not None:
            raise InvalidInputError(f"token id {outside} is outside this model's vocabulary of {size}", param="ids")
        skip = request.skip_special_tokens
        return answer(call, found, [found.tokenizer.decode(ids, skip_special=skip) for ids in lists])

    return await call.compute(work)


@router.get("/info")
@router.get("/tei/info")
async def info(call: Calling, model: str | None = None) -> Response:
    """What answers at TEI's routes. Limits that this server does not have are null."""
    name, found = await _either(call, model)
    body = {
        "model_id": name,
        "model_sha": None,
        "model_dtype": _dtype(found),
        "served_model_name": name,
        "model_type": _kind(found),
        "max_concurrent_requests": None,
        "max_input_length": None if isinstance(found, Judge) else found.max_length,
        "max_batch_tokens": None if isinstance(found, Judge) else TOKEN_BUDGET,
        "max_batch_requests": None,
        "max_client_batch_size": call.settings.max_inputs,
        "auto_truncate": call.settings.auto_truncate,
        "tokenization_workers": None,
        "version": lagotto.__version__,
        "sha": None,
        "docker_label": None,
    }
    return answer(call, found, body)


@router.get("/")
@router.get("/ping")
@router.get("/tei/ping")
@router.get("/tei/health")
async def alive() -> Response:
    """Empty, with status 200, once the models named at start are loaded."""
    return Response()


async def _either(call: Call, name: str | None) -> tuple[str, Embedder | AnyReranker]:
    """The model that is named, of whichever kind, else the first embedder, else the first reranker."""
    try:
        return await embedder(call, name)
    except (InvalidInputError, PermissionDeniedError):  # a reranker, no embedder at all, or a key for rerankers
        return await reranker(call, name)


async def _tokeniser(call: Call, name: str | None) -> Embedder | Reranker:
    """What `_either` finds. Raises `InvalidInputError` for a model whose tokenizer is not here."""
    public, found = await _either(call, name)
    if isinstance(found, Judge):
        raise InvalidInputError(
            f"model {public!r} is a language model elsewhere, whose tokenizer is not here; name another with ?model=",
            param="model",
        )
    return found


def _dtype(model: Embedder | AnyReranker) -> str | None:
    if isinstance(model, Judge):
        return None
    return _DTYPES.get(model.engine.precision, model.engine.precision)


def _kind(model: Embedder | AnyReranker) -> dict[str, Any]:
    if isinstance(model, Embedder):
        return {"embedding": {"pooling": model.card.pooling}}
    return {"reranker": {"id2label": {"0": LABEL}, "label2id": {LABEL: 0}}}


def _tokens(model: Embedder | Reranker, text: str, special: bool) -> list[dict[str, Any]]:
    return [
        {"id": token.id, "text": token.text, "special": token.special, "start": token.start, "stop": token.end}
        for token in model.tokenizer.tokenize(text, special=special)
    ]
