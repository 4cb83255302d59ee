"""What every dialect's embedding route does: inputs to vectors, in the wording and the length that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lagotto.batch.long_texts import LongTexts, Truncation
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.models.rendering import Asked, Role, rendering
from lagotto.models.reranker import Reranker
from lagotto.models.token_outputs import OutputName
from lagotto.server.inputs import Item
from lagotto.server.judge import AnyReranker
from lagotto.server.settings import Settings
from lagotto.server.token_ids import read_ids


@dataclass(frozen=True, slots=True)
class Wish:
    """How inputs are to be embedded; None leaves a thing to the model or the operator."""

    role: Role = "text"
    prompt: str | None = None
    dimensions: int | None = None
    normalize: bool | None = None
    max_length: int | None = None
    truncation: LongTexts | None = None


def embed(model: Embedder, name: str, inputs: Sequence[Item], wish: Wish, settings: Settings) -> Embeddings:
    """One dense vector an input. Raises `InvalidInputError` for a model without dense vectors, and for foreign ids."""
    require(model, name, "dense")
    items = read_ids(inputs, model.tokenizer, settings.token_ids, name)
    texts = [i for i, item in enumerate(items) if isinstance(item, str)]
    ids = [i for i, item in enumerate(items) if not isinstance(item, str)]
    if ids and (wish.role != "text" or wish.prompt):
        raise InvalidInputError("a prompt can't be put before token ids; send texts, or no prompt", param="input")
    shared: dict[str, Any] = {
        "dimensions": wish.dimensions,
        "normalize": wish.normalize,
        "max_length": length_of(model, wish.max_length),
        "truncation": wish.truncation,
    }
    parts: list[Embeddings] = []
    if texts:
        chosen: list[Any] = [items[i] for i in texts]
        encode = {"text": model.encode, "query": model.encode_queries, "document": model.encode_documents}[wish.role]
        parts.append(encode(chosen, prompt=wish.prompt, **shared))
    if ids:
        given: list[Any] = [items[i] for i in ids]
        parts.append(model.encode_ids(given, **shared))
    found = Embeddings.concatenate(parts, model.dimension)
    if not (texts and ids):
        return found
    order = np.argsort([*texts, *ids])
    return Embeddings(found.dense[order], found.tokens[order], found.truncated[order])


def length_of(model: Embedder, asked: int | None) -> int | None:
    """How many tokens of a text are read: no more than the model reads anyway."""
    return None if asked is None else min(asked, model.max_length)


def require(model: Embedder, name: str, output: OutputName) -> None:
    """Raise `InvalidInputError` that says what the model gives, unless it gives what is wanted (``"dense"``)."""
    if output not in model.outputs:
        given = " and ".join(model.outputs)
        raise InvalidInputError(
            f"model {name!r} gives no {output} vectors, only {given}; POST /v1/encode answers with what a model gives",
            param="model",
        )


def collect(model: Embedder, texts: Sequence[str], output: OutputName, **how: Any) -> Embeddings:
    """One output of texts, which is not the dense vector; ``how`` is what `Embedder.stream` takes."""
    return Embeddings.concatenate(list(model.stream(texts, outputs=(output,), **how)), 0)


def cutting(model: Embedder | AnyReranker, truncate: bool | None) -> Truncation | None:
    """What a client's yes or no to cutting long texts means: None leaves all to the operator, yes the side."""
    if truncate is None:
        return None
    if not truncate:
        return "error"
    return "left" if model.truncation == "left" else "right"


def wording(model: Embedder, prompt_name: str | None) -> dict[str, Any]:
    """What `Embedder.stream` and its like take for a prompt by name: ``prompt``; none for no name.

    It is ``role`` for a side whose texts end with something of the model's own, since a prompt has no end.
    """
    if prompt_name is None:
        return {}
    sides: dict[str, Role] = {"query": "query", "document": "document"}
    side = sides.get(prompt_name)
    if side is not None and rendering(model.card, "", side, Asked()).frame is not None:
        return {"role": side}
    return {"prompt": prompt_of(model, prompt_name)}


def prompt_of(model: Embedder | Reranker, name: str) -> str:
    """A prompt that the model's card names, or that of its queries or documents (``query``, ``document``).

    Raises `InvalidInputError` that lists the names there are.
    """
    prompts = prompts_of(model)
    if name not in prompts:
        names = ", ".join(sorted(prompts))
        raise InvalidInputError(f"prompt_name {name!r} is not known. Available prompts: [{names}]", param="prompt_name")
    return prompts[name]


def prompts_of(model: Embedder | Reranker) -> dict[str, str]:
    """The prompts that a model's card names, and those of its queries and documents, where they have one."""
    card = model.card
    known = {"query": card.query, "document": card.document}
    prompts = {side: template.around()[0] for side, template in known.items() if template.instruction}
    return prompts | {key: text for key, text in card.prompts.items() if text}
