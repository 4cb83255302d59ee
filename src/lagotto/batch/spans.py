"""`split_spans`: a text into spans of whole sentences, for those who have no spans of their own."""

from __future__ import annotations

import re
from collections.abc import Iterator

from lagotto.core.errors import InvalidInputError

_CLOSING = "\"'”’)\\]」』）】》"
_SENTENCE = re.compile(rf"(?:(?<![.!?…])[.!?…]++[{_CLOSING}]*+(?=\s)|[。！？；]+[{_CLOSING}]*|[\r\n]+)\s*")
"""A sentence's end and the white space behind it; a full stop within a word or number ends none."""


def split_spans(text: str, size: int) -> list[tuple[int, int]]:
    """(start, end) of parts of at most ``size`` characters, as many whole sentences in each as fit.

    Every character other than white space is in exactly one. A sentence ends behind ``.!?…`` before white space, behind
    ``。！？；`` or with its line; one that is longer than ``size`` is cut at white space where there is any.
    Abbreviations are not known. Raises `InvalidInputError` for a text or a size that is none.

    >>> split_spans("Pandas eat bamboo. They sleep. Why?", 20)
    [(0, 18), (19, 35)]
    """
    if not isinstance(text, str):
        raise InvalidInputError(f"text is a {type(text).__name__}; give a string")
    if isinstance(size, bool) or not isinstance(size, int) or size < 1:
        raise InvalidInputError(f"size is {size!r}; give a number of characters of at least 1")
    spans: list[tuple[int, int]] = []
    joined = False  # whether the last span may take one more sentence
    for start, end in _sentences(text):
        if joined and end - spans[-1][0] <= size:
            spans[-1] = (spans[-1][0], end)
            continue
        spans.extend(_pieces(text, start, end, size))
        joined = True
    return spans


def _sentences(text: str) -> Iterator[tuple[int, int]]:
    """Sentences without the white space around them."""
    start = 0
    for end in [*(found.end() for found in _SENTENCE.finditer(text)), len(text)]:
        if sentence := _trimmed(text, start, end):
            yield sentence
        start = end


def _pieces(text: str, start: int, end: int, size: int) -> Iterator[tuple[int, int]]:
    """A sentence in parts of at most ``size``, cut behind the last white space that allows it."""
    while end - start > size:
        cut = next((at for at in range(start + size, start, -1) if text[at].isspace()), start + size)
        if piece := _trimmed(text, start, cut):
            yield piece
        start = next(at for at in range(cut, end) if not text[at].isspace())
    yield start, end


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    part = text[start:end]
    left, right = start + len(part) - len(part.lstrip()), start + len(part.rstrip())
    return (left, right) if left < right else None
