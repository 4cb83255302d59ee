"""How the texts of a task are written for a model: its card's word first, then the benchmark's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from lagotto.cards.schema import ModelCard
from lagotto.models.examples import Example
from lagotto.models.rendering import Role

Side = Literal["query", "document", "text"]
"""Which side of a task a text is on; ``text`` where both sides are alike (STS, bitext, clustering)."""


@dataclass(frozen=True, slots=True)
class TaskHint:
    """What a data set knows of itself that a model may want to be told."""

    name: str = ""
    """Name of the task, as mteb has it (``NFCorpus``), or the data set's own."""
    type: str = ""
    """Type of the task, as mteb has it: ``Retrieval``, ``STS``, ``BitextMining`` ..."""
    instruction: str = ""
    """The instruction that instruction-tuned models are given for this task."""


@dataclass(frozen=True, slots=True)
class Wording:
    """How to write texts: arguments of `Embedder.stream`."""

    role: Role = "text"
    prompt: str | None = None
    instruction: str | None = None
    task: str | None = None
    examples: tuple[Example, ...] = ()


def wording(card: ModelCard, task: TaskHint, side: Side) -> Wording:
    """How a model wants the texts of one side of a task to be written.

    1. A prompt that the card keeps for the task or its type: ``NFCorpus-query``, ``NFCorpus``, ``Retrieval-query``,
       ``Retrieval`` (the order of mteb). One without a side is for queries and for texts without sides.
    2. A model that takes instructions in a template is given the task's, on the query side and for texts without
       sides; its card's own where the task has none.
    3. The card's template of the side. Texts without sides stand as they are, unless the model was trained with a
       prefix before every text (e5): then they are written as queries, as its authors say.
    """
    for name in _names(task, side):
        if name in card.prompts:
            return Wording(side, prompt=card.prompts[name])
    if side == "document":
        return Wording("document")
    if takes_instructions(card):
        return Wording("query", instruction=task.instruction or card.query.instruction)
    prefixed = bool(card.query.instruction and card.document.instruction)
    return Wording("query" if side == "query" or prefixed else "text")


def takes_instructions(card: ModelCard) -> bool:
    """Whether the query template has a place for an instruction, rather than a fixed prefix or end (LLARA)."""
    template = card.query.format
    return template != "{instruction}{text}" and "{instruction}" in template and "last_tokens" not in card.options


def _names(task: TaskHint, side: Side) -> Iterator[str]:
    for base in filter(None, (task.name, task.type)):
        for suffix in {"query": ("-query",), "document": ("-document", "-passage"), "text": ()}[side]:
            yield base + suffix
        if side != "document":
            yield base
