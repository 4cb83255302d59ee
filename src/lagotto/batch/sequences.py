"""`Sequences` (token ids of some texts) and `Batch` (a padded part of them, what an engine computes)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Sequences:
    """Token ids ready for the model, special tokens included; one entry a text, pair or window."""

    ids: list[Ids]
    """Each (tokens,)."""
    second: list[int]
    """Where the second segment of a pair starts; the length of the sequence where there is none."""
    truncated: list[bool]
    """Whether tokens were cut off."""
    owner: list[int]
    """Which input a sequence belongs to: its own number, unless an input was split into windows."""
    inputs: int
    """How many texts or pairs these sequences stand for."""

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [len(ids) for ids in self.ids]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A right-padded batch."""

    ids: Ids
    """(rows, tokens)"""
    lengths: Ids
    """(rows,)"""
    second: Ids
    """(rows,) start of the second segment, which gets token type 1."""
    pad_id: int
    """What fills the rows behind their lengths."""


def pad(sequences: Sequences, rows: Sequence[int], pad_id: int) -> Batch:
    """Put the chosen sequences into one batch, padded on the right to the longest of them."""
    lengths = np.array([len(sequences.ids[i]) for i in rows], np.int32)
    ids = np.full((len(rows), int(lengths.max())), pad_id, np.int32)
    for row, i in enumerate(rows):
        ids[row, : lengths[row]] = sequences.ids[i]
    return Batch(ids, lengths, np.array([sequences.second[i] for i in rows], np.int32), pad_id)
