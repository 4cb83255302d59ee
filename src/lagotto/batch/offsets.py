"""Which characters of a text its tokens stand for, and which tokens a span of characters has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ranges = NDArray[np.int64]
"""(tokens, 2) half-open ranges of characters."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenRanges:
    """The tokens of one text, where its characters are what a Python string counts."""

    ranges: Ranges
    """Of all tokens, those that were cut off too; a prompt's lie outside the text."""
    kept: tuple[int, int]
    """The half-open range of tokens that the model reads."""
    first: int
    """Position of the first of them in the sequence, behind the special tokens."""

    def find(self, spans: Sequence[tuple[int, int]]) -> list[Ranges]:
        """For each span of characters, (found,) the tokens that share a character with it, rising."""
        starts, ends = self.ranges[:, 0], self.ranges[:, 1]
        # Ranges rise but for normalisers that reorder characters: bounds that hold for those too, then a closer look.
        reached, ahead = np.maximum.accumulate(ends), np.minimum.accumulate(starts[::-1])[::-1]
        found: list[Ranges] = []
        for start, end in spans:
            low, high = int(np.searchsorted(reached, start, side="right")), int(np.searchsorted(ahead, end))
            near = slice(low, max(low, high))
            filled = ends[near] > starts[near]
            found.append(low + np.flatnonzero(filled & (ends[near] > start) & (starts[near] < end)))
        return found


def lowered(text: str) -> tuple[str, Ranges | None]:
    """The text in lower case and, where that is longer, (length,) the character that each of its characters is from."""
    small = text.lower()
    if len(small) == len(text):
        return small, None
    return small, np.repeat(np.arange(len(text)), [len(character.lower()) for character in text])


def original(ranges: Ranges, origin: Ranges | None) -> Ranges:
    """Ranges in a text from those in its lower case."""
    if origin is None:
        return ranges
    filled = ranges[:, 1] > ranges[:, 0]
    out = np.zeros_like(ranges)
    out[filled, 0] = origin[ranges[filled, 0]]
    out[filled, 1] = origin[ranges[filled, 1] - 1] + 1
    return out


def without_space(ranges: Ranges, text: str) -> Ranges:
    """Ranges without the white space at their ends: some tokenizers count the space before a word as a part of it.

    A range of nothing but white space stays as it is.
    """
    solid = ~np.fromiter(map(str.isspace, text), np.bool_, len(text))
    at = np.arange(len(text) + 1)
    after = np.minimum.accumulate(np.where(np.append(solid, True), at, len(text))[::-1])[::-1]
    before = np.maximum.accumulate(np.where(np.insert(solid, 0, True), at, 0))
    out = np.stack([after[ranges[:, 0]], before[ranges[:, 1]]], axis=1)
    return np.where((out[:, 0] < out[:, 1])[:, None], out, ranges)
