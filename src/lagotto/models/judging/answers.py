"""Answers: the form that is asked for, and how each is read. Nothing is guessed at: another form is malformed."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lagotto.core.errors import EndpointError
from lagotto.llm.base import Reply

AnswerFormat = Literal["json_schema", "json_object", "text"]
"""By a JSON schema that the endpoint enforces, as any JSON object, or in plain text."""
Kind = Literal["grade", "yes_no", "choice", "order"]

HIGHEST_GRADE = 10
LEAST_LOG_ODDS = -100.0
"""Stands for a document without a judgement where others have log-odds; as a probability it is 0."""
TOP_LOGPROBS = 20
"""The most that OpenAI and vLLM give."""

_THINKING = re.compile(r"\s*<think>.*?</think>", re.DOTALL)
_CHAIN = re.compile(r"\[[0-9]{1,6}\](?:\s*>\s*\[[0-9]{1,6}\])*")
_YES, _NO = frozenset({"yes", "是"}), frozenset({"no", "否"})
_AROUND = " \t\r\n\"'`*.。,，:▁Ġ"

_FIELDS: dict[Kind, tuple[str, Mapping[str, Any]]] = {
    "grade": ("relevance", {"type": "integer", "enum": list(range(HIGHEST_GRADE + 1))}),
    "yes_no": ("relevant", {"type": "boolean"}),
    "choice": ("better", {"type": "string", "enum": ["A", "B"]}),
    "order": ("ranking", {"type": "array"}),
}


class MalformedError(ValueError):
    """An answer has not the form that was asked for; the message says what it has instead."""


@dataclass(frozen=True, slots=True)
class Order:
    """An order of n passages as it was answered."""

    named: tuple[int, ...]
    """The passages that it names, counted from 0, the best first, each once."""
    missing: int
    duplicate: int
    unknown: int


def response_format(kind: Kind, form: AnswerFormat, count: int) -> Mapping[str, Any] | None:
    """OpenAI's ``response_format`` for an answer about so many passages; None for plain text."""
    if form == "text":
        return None
    if form == "json_object":
        return {"type": "json_object"}
    name, value = _FIELDS[kind]
    if kind == "order":
        value = {**value, "items": {"type": "integer", "enum": list(range(1, count + 1))}}
    schema = {"type": "object", "properties": {name: value}, "required": [name], "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": name, "strict": True, "schema": schema}}


def read_grade(reply: Reply, form: AnswerFormat) -> float:
    """A whole number from 0 to 10. Raises `MalformedError`."""
    if form == "text":
        text = _text(reply)
        value: Any = int(text) if re.fullmatch(r"[0-9]{1,3}", text) else None
    else:
        value = _field(reply, "grade")
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= HIGHEST_GRADE:
        raise MalformedError(f"no whole number from 0 to {HIGHEST_GRADE}")
    return float(value)


def read_yes_no(reply: Reply, form: AnswerFormat) -> float:
    """1 for yes, 0 for no. Raises `MalformedError`."""
    if form == "text":
        word = _text(reply).strip(_AROUND).casefold()
        value: Any = True if word in _YES else False if word in _NO else None
    else:
        value = _field(reply, "yes_no")
    if not isinstance(value, bool):
        raise MalformedError("neither yes nor no")
    return float(value)


def read_choice(reply: Reply, form: AnswerFormat) -> Literal["A", "B"]:
    """Which passage is better. Raises `MalformedError`."""
    value = _text(reply).strip(_AROUND) if form == "text" else _field(reply, "choice")
    if value == "A":
        return "A"
    if value == "B":
        return "B"
    raise MalformedError("neither A nor B")


def read_order(reply: Reply, form: AnswerFormat, count: int) -> Order:
    """An order of passages 1 to ``count``. Raises `MalformedError`, also where it names no passage at all.

    Identifiers that no passage has are left out, and of one that comes again the first place counts; both are counted,
    as are missing ones, which the caller puts at the end in the order they were in.
    """
    if form == "text":
        text = _text(reply)
        if not _CHAIN.fullmatch(text):
            raise MalformedError("not of the form [3] > [1] > [2]")
        named: Any = [int(digits) for digits in re.findall("[0-9]+", text)]
    else:
        named = _field(reply, "order")
    if not isinstance(named, list) or any(isinstance(i, bool) or not isinstance(i, int) for i in named):
        raise MalformedError("no list of identifiers")
    known = [number - 1 for number in named if 1 <= number <= count]
    first = tuple(dict.fromkeys(known))
    if not first:
        raise MalformedError("it names none of the passages")
    return Order(first, count - len(first), len(known) - len(first), len(named) - len(known))


def read_log_odds(reply: Reply) -> float:
    """log P(yes) - log P(no) of the answer's first token, spellings added up.

    Where one of both is not among the tokens listed, the least likely of these stands for it: it can't be likelier.
    Raises `MalformedError` where neither is, and `EndpointError` where the endpoint gave no log-probabilities.
    """
    if reply.first_token is None:
        raise EndpointError(
            "the endpoint gave no logprobs, which judgement='logprobs' rests on; give judgement='grade' or 'yes_no'"
        )
    listed = [(token.strip(_AROUND).casefold(), value) for token, value in reply.first_token]
    yes = [value for word, value in listed if word in _YES]
    no = [value for word, value in listed if word in _NO]
    if not yes and not no:
        raise MalformedError("neither yes nor no among the likeliest first tokens")
    least = min(value for _, value in listed)
    return max(LEAST_LOG_ODDS, min(-LEAST_LOG_ODDS, _total(yes or [least]) - _total(no or [least])))


def _total(logs: list[float]) -> float:
    highest = max(logs)
    return highest + math.log(sum(math.exp(value - highest) for value in logs))


def _text(reply: Reply) -> str:
    """The answer behind what a thinking model thought aloud."""
    if reply.finish == "length":
        raise MalformedError("cut off at the limit of tokens; give the endpoint a larger max_tokens")
    return _THINKING.sub("", reply.text, count=1).strip()


def _field(reply: Reply, kind: Kind) -> Any:
    name = _FIELDS[kind][0]
    text = _text(reply)
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):  # also a number of thousands of digits, brackets thousands deep
        raise MalformedError("not JSON") from None
    if not isinstance(found, dict) or set(found) != {name}:
        raise MalformedError(f"not a JSON object with {name!r} alone")
    return found[name]
