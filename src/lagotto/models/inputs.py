"""Check what callers hand in, and say which item is wrong."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from lagotto.core.errors import InvalidInputError


def checked_texts(texts: str | Iterable[str]) -> Iterator[str]:
    """Texts one by one; a single string is one text. Raises `InvalidInputError` at the first that is not a string."""
    if isinstance(texts, str):
        yield texts
        return
    if isinstance(texts, bytes | dict) or not isinstance(texts, Iterable):
        raise InvalidInputError(f"texts is a {type(texts).__name__}; give a string or an iterable of strings")
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidInputError(f"text {number} is a {type(text).__name__} ({_shown(text)}); texts must be strings")
        yield text


Span = tuple[int, int]


def checked_spans(
    texts: str | Iterable[str], spans: Iterable[Sequence[int]] | Iterable[Iterable[Sequence[int]]]
) -> Iterator[tuple[str, list[Span]]]:
    """Texts one by one, each with its spans: a list of them for a single string, else such a list for each text."""
    if isinstance(spans, str | bytes | dict) or not isinstance(spans, Iterable):
        raise InvalidInputError(f"spans is a {type(spans).__name__}; give a list of (start, end) pairs for each text")
    lists = iter([spans] if isinstance(texts, str) else spans)
    number = -1
    for number, text in enumerate(checked_texts(texts)):
        found = next(lists, _NO_SPANS)
        if found is _NO_SPANS:
            raise InvalidInputError(
                f"spans has lists for {number} texts, and text {number} came too; give one for each"
            )
        if isinstance(found, str | bytes | dict) or not isinstance(found, Iterable):
            raise InvalidInputError(f"spans of text {number} are {_shown(found)}; give a list of (start, end) pairs")
        yield text, [_span(span, text, f"text {number}, span {place}") for place, span in enumerate(found)]
    if next(lists, _NO_SPANS) is not _NO_SPANS:
        raise InvalidInputError(f"there are {number + 1} texts and more lists of spans; give one for each text")


_NO_SPANS = object()


def _span(span: object, text: str, name: str) -> Span:
    if isinstance(span, str | bytes) or not isinstance(span, Sequence | np.ndarray) or len(span) != 2:
        raise InvalidInputError(f"{name} is {_shown(span)}; a span is a pair of character numbers, (start, end)")
    if any(isinstance(place, bool | np.bool_) or not isinstance(place, int | np.integer) for place in span):
        raise InvalidInputError(f"{name} is {_shown(span)}; start and end are integers")
    start, end = (int(place) for place in span)
    if not 0 <= start < end <= len(text):
        raise InvalidInputError(
            f"{name} is ({start}, {end}); 0 <= start < end <= {len(text)} must hold, the characters of the text"
        )
    return start, end


def checked_ids(inputs: Iterable[Sequence[int]]) -> Iterator[Sequence[int]]:
    """Lists of token ids one by one; whether they are this model's is the tokenizer's business."""
    if isinstance(inputs, str | bytes | dict) or not isinstance(inputs, Iterable):
        raise InvalidInputError(f"inputs is a {type(inputs).__name__}; give lists of token ids, one a text")
    for number, ids in enumerate(inputs):
        if isinstance(ids, str | bytes) or not isinstance(ids, Sequence | np.ndarray):
            raise InvalidInputError(f"input {number} is {_shown(ids)}; each input is a list of token ids")
        yield ids


def is_pair(value: object) -> bool:
    """Whether a value is one (query, document) pair rather than a list of pairs."""
    return isinstance(value, list | tuple) and len(value) == 2 and all(isinstance(part, str) for part in value)


def checked_pairs(pairs: Iterable[Sequence[str]]) -> Iterator[tuple[str, str]]:
    """(query, document) pairs one by one; a single pair of strings is one pair."""
    if isinstance(pairs, str | bytes | dict) or not isinstance(pairs, Iterable):
        raise InvalidInputError(f"pairs is a {type(pairs).__name__}; give (query, document) tuples")
    if is_pair(pairs):
        pairs = [pairs]  # type: ignore[list-item]  # a pair of strings is itself an iterable of strings
    for number, pair in enumerate(pairs):
        if not is_pair(pair):
            raise InvalidInputError(f"pair {number} is {_shown(pair)}; a pair is two strings, (query, document)")
        yield pair[0], pair[1]


def check_count(name: str, value: int | None, least: int = 1) -> None:
    """Raise `InvalidInputError` unless the value is None or an integer of at least ``least``."""
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidInputError(f"{name} is {value!r}; give an integer of at least {least}, or None")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
