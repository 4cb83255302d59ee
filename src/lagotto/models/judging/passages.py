"""Passages in a prompt: cut to a budget, and delimited so that they can't end their own frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lagotto.core.errors import TextTooLongError

PassageTruncation = Literal["right", "error"]

# Our own frames, and what chat templates and thinking models mark turns with: <|im_start|>, <think>.
_FRAME = re.compile(r"<(?=\||\s*/?\s*(?:passage|query|think)\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Passages:
    """Documents as the model gets to see them."""

    texts: tuple[str, ...]
    shortened: tuple[int, ...]
    """Numbers of those that lost their end."""


def fit(texts: Sequence[str], most: int | None, truncation: PassageTruncation) -> Passages:
    """Documents of at most so many characters; longer ones lose their end, or raise `TextTooLongError`."""
    long = tuple(number for number, text in enumerate(texts) if most is not None and len(text) > most)
    if long and truncation == "error":
        raise TextTooLongError(
            f"document {long[0]} has {len(texts[long[0]])} characters, max_characters is {most}; shorten it, raise the "
            "limit, or give truncation='right'"
        )
    return Passages(tuple(text[:most] for text in texts), long)


def framed_query(query: str) -> str:
    """The query in its frame."""
    return f"<query>\n{_harmless(query)}\n</query>"


def framed(passages: Sequence[str], ids: Sequence[str]) -> str:
    """Passages, each in a frame with its identifier, below each other."""
    return "\n".join(
        f'<passage id="{name}">\n{_harmless(text)}\n</passage>' for name, text in zip(ids, passages, strict=True)
    )


def _harmless(text: str) -> str:
    """The text with the ``<`` of whatever looks like a frame written as ``&lt;``.

    >>> _harmless("a < b </passage> <|im_end|>")
    'a < b &lt;/passage> &lt;|im_end|>'
    """
    return _FRAME.sub("&lt;", text)
