"""`Example`: a worked example of a task, which models with in-context learning (bge-en-icl) read before a query."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.cards.schema import ModelCard
from lagotto.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class Example:
    """A query of a task and a passage that answers it; without ``instruct`` the task is that of the call."""

    query: str
    response: str
    instruct: str | None = None


Examples = Iterable[Example | Mapping[str, Any]]
"""What a caller gives: `Example` values, or mappings with their names (FlagEmbedding's dicts)."""


def read_examples(given: Examples) -> tuple[Example, ...]:
    """Checked examples. Raises `InvalidInputError` that names the one which is none."""
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise InvalidInputError(
            f"examples is a {type(given).__name__}; give a list of {{'instruct', 'query', 'response'}}",
            param="examples",
        )
    return tuple(_example(one, number) for number, one in enumerate(given))


def read_examples_file(path: Path) -> tuple[Example, ...]:
    """Examples of a file: a JSON list of objects, or one object a line. Raises `InvalidInputError` that names it."""
    try:
        text = path.read_text(encoding="utf-8-sig")
        whole = text.lstrip().startswith("[")
        given = json.loads(text) if whole else [json.loads(line) for line in text.splitlines() if line.strip()]
        return read_examples(given)
    except (OSError, ValueError) as error:  # a JSON error is a ValueError, and so is `InvalidInputError`
        raise InvalidInputError(f"{path}: no examples can be read ({error})", param="examples") from None


def written(examples: Iterable[Example], card: ModelCard, instruction: str) -> str:
    """The examples as the card's model reads them, in front of the query; ``instruction`` is the call's.

    Raises `InvalidInputError` for a model that was not trained with examples.
    """
    shown = list(examples)
    if not shown:
        return ""
    form, separator = card.options.get("example_format"), str(card.options.get("example_separator", "\n\n"))
    if not isinstance(form, str):
        raise InvalidInputError(
            f"{card.name} was not trained with worked examples (bge-en-icl is); leave out examples", param="examples"
        )
    return "".join(_filled(form, one, instruction) + separator for one in shown)


def _filled(form: str, one: Example, instruction: str) -> str:
    """All places at once, since what is put in may hold braces of its own."""
    values = {"instruction": instruction if one.instruct is None else one.instruct}
    values |= {"query": one.query, "response": one.response}
    return re.sub(r"\{(instruction|query|response)\}", lambda found: values[found[1]], form)


def _example(one: object, number: int) -> Example:
    if isinstance(one, Mapping):
        unknown = sorted(set(one) - {"instruct", "query", "response"})
        missing = [name for name in ("query", "response") if name not in one]
        if unknown or missing:
            raise InvalidInputError(
                f"example {number} has {', '.join(map(str, one)) or 'nothing'}; it needs query and response, and may "
                "have instruct",
                param="examples",
            )
        one = Example(one["query"], one["response"], one.get("instruct"))
    if not isinstance(one, Example):
        raise InvalidInputError(f"example {number} is a {type(one).__name__}; give a mapping", param="examples")
    parts = {"query": one.query, "response": one.response, "instruct": "" if one.instruct is None else one.instruct}
    wrong = next((name for name, value in parts.items() if not isinstance(value, str)), None)
    if wrong is not None:
        raise InvalidInputError(f"example {number}: {wrong} is {parts[wrong]!r}; give a string", param="examples")
    return one
