"""`Prompt`: what a language model is told. Our own, in English and Chinese, or the caller's."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from string import Formatter
from typing import Any, Literal, get_args

from lagotto.core.errors import InvalidInputError
from lagotto.llm.base import Chat, Message
from lagotto.models.judging.answers import AnswerFormat, Kind
from lagotto.models.judging.strategies import StrategyName

Language = Literal["en", "zh"]

_NEEDED = ("query", "passages", "answer")
_ALLOWED = (*_NEEDED, "count")


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message and a user message, with fields in braces; ``{{`` stands for a brace.

    Both together must hold ``{query}``, ``{passages}`` and ``{answer}`` (which form the answer is to have), and may
    hold ``{count}`` (how many passages there are). An empty system message is not sent. Raises `InvalidInputError`
    for other fields, and for missing ones.
    """

    user: str
    system: str = ""

    def __post_init__(self) -> None:
        found: list[str] = []
        for part, text in (("user", self.user), ("system", self.system)):
            if not isinstance(text, str):
                raise InvalidInputError(f"the prompt's {part} message is a {type(text).__name__}; give a string")
            found += _fields(part, text)
        if missing := [name for name in _NEEDED if name not in found]:
            raise InvalidInputError(f"the prompt has no field {{{missing[0]}}}; it needs {_listed(_NEEDED)}")

    def chat(self, query: str, passages: str, answer: str, count: int) -> Chat:
        """The request. What is filled in is not looked at for fields again."""
        values = {"query": query, "passages": passages, "answer": answer, "count": count}
        system = (Message("system", self.system.format_map(values)),) if self.system else ()
        return Chat((*system, Message("user", self.user.format_map(values))))


def _fields(part: str, text: str) -> list[str]:
    try:
        parsed = [item[1:] for item in Formatter().parse(text) if item[1] is not None]
    except ValueError as error:
        raise InvalidInputError(f"the prompt's {part} message has braces that don't match ({error})") from None
    for name, spec, conversion in parsed:
        if name not in _ALLOWED or spec or conversion:
            shown = f"{name}{'!' + conversion if conversion else ''}{':' + spec if spec else ''}"
            raise InvalidInputError(
                f"the prompt's {part} message has the field {{{shown}}}; allowed are {_listed(_ALLOWED)}; for a brace "
                "write it twice"
            )
    return [str(name) for name, _, _ in parsed]


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(f"{{{name}}}" for name in names)


@dataclass(frozen=True, slots=True)
class Words:
    """What is said in one language beside the prompt itself."""

    again: str
    """Said behind an answer that could not be read."""
    answers: Mapping[str, Mapping[str, str]]
    """Kind of answer -> form -> how to answer."""

    def answer(self, kind: Kind, form: AnswerFormat) -> str:
        """How to answer."""
        return self.answers[kind]["text" if form == "text" else "json"]


def own_prompt(strategy: StrategyName, language: Language) -> Prompt:
    """Our prompt for a strategy."""
    told = _read()[language][strategy]
    return Prompt(told["user"].strip(), told["system"].strip())


def words_of(language: Language) -> Words:
    """Our words in a language. Raises `InvalidInputError` for one there are none in."""
    if language not in get_args(Language):
        raise InvalidInputError(f"language is {language!r}; allowed are {', '.join(get_args(Language))}")
    told = _read()[language]
    return Words(told["again"], told["answers"])


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(files(__package__).joinpath("prompts.toml").read_text(encoding="utf-8"))
