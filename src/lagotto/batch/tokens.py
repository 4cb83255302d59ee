"""`Token`: one token of a text, for people to look at."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Token:
    """One token as a tokenizer gives it."""

    id: int
    text: str
    """The characters it stands for; a special token as the vocabulary spells it."""
    special: bool
    """Whether the tokenizer put it in, as ``[CLS]``; it stands for no characters then."""
    start: int | None = None
    """Where its characters begin in the text."""
    end: int | None = None
    """Where they end; ``text[start:end]`` are they."""
