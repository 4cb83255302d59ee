"""Tasks that a model's card names: a prompt for queries, for documents, or for both.

A card's prompts are named for a task and, where its sides differ, for the side: ``qa_query`` and ``qa_document``
(llm-embedder), ``apps`` (bge-code-v1, whose documents stay plain), ``NFCorpus-query`` (sentence-transformers).
"""

from __future__ import annotations

from typing import Literal

from lagotto.cards.schema import ModelCard
from lagotto.core.errors import InvalidInputError

Side = Literal["text", "query", "document"]
_ENDINGS: dict[Side, tuple[str, ...]] = {
    "query": ("_query", "-query"),
    "document": ("_document", "-document", "_passage", "-passage"),
    "text": (),
}


def tasks_of(card: ModelCard) -> tuple[str, ...]:
    """The tasks that ``task=`` takes, in the card's order."""
    return tuple(dict.fromkeys(_base(name) for name in card.prompts))


def task_prompt(card: ModelCard, task: str, side: Side) -> str | None:
    """What the card puts before one side's texts of a task; None where the task leaves documents as they always are.

    Raises `InvalidInputError` for a task that the card does not name, and for one that tells its sides apart where
    nobody said which side a text is on.
    """
    names = [task + ending for ending in _ENDINGS[side]] + ([] if side == "document" else [task])
    found = next((card.prompts[name] for name in names if name in card.prompts), None)
    known = tasks_of(card)
    if found is not None or (side == "document" and (task in known or task in card.prompts)):
        return found
    if task in known:
        raise InvalidInputError(
            f"task {task!r} of {card.name} has prompts for {_sides(card, task)}; say which a text is: encode_queries "
            "or encode_documents, role='query' or 'document'",
            param="task",
        )
    allowed = f"known are {', '.join(known)}" if known else "its card names none; give an instruction instead"
    raise InvalidInputError(f"task {task!r} is none of {card.name}: {allowed}", param="task")


def _base(name: str) -> str:
    for ending in (ending for endings in _ENDINGS.values() for ending in endings):
        if name.endswith(ending) and len(name) > len(ending):
            return name.removesuffix(ending)
    return name


def _sides(card: ModelCard, task: str) -> str:
    named: tuple[Side, ...] = ("query", "document")
    return " and ".join(side for side in named if any(task + ending in card.prompts for ending in _ENDINGS[side]))
