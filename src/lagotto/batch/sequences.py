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
    own: list[tuple[int, int]] | None = None
    """Where texts were split into windows: the half-open range of positions in which each sequence speaks for its text.
    A text's windows have each of its tokens once and in order; the first begins with the special tokens in front, the
    last ends with those behind, so together they are the sequence that the text would be without windows."""
    cls: list[Ids] | None = None
    """Where more CLS tokens were put in: the positions of all CLS tokens of each sequence."""
    attended: list[int] | None = None
    """How many of a sequence's first tokens may be seen; None: all of them.

    The rest (a ColBERT query's expansion tokens) are computed, and see those."""

    def __len__(self) -> int:
        return len(self.ids)

    def lengths(self) -> list[int]:
        """Tokens of each sequence."""
        return [len(ids) for ids in self.ids]

    def firsts(self) -> NDArray[np.int64]:
        """(inputs,) the first sequence of each input; its others follow it."""
        return np.searchsorted(self.owner, np.arange(self.inputs))

    def weights(self) -> Ids:
        """(sequences,) tokens of its text that each sequence speaks for."""
        return np.array(self.lengths() if self.own is None else [end - start for start, end in self.own], np.int32)

    def totals(self) -> Ids:
        """(inputs,) tokens of each input, those that windows share counted once."""
        return np.bincount(np.array(self.owner, np.int64), self.weights(), self.inputs).astype(np.int32)

    def speaking(self, row: int) -> Ids:
        """Positions of one sequence whose states stand for its text: those that no other window speaks for.

        CLS tokens that were put in stand for none of it.
        """
        positions = np.arange(len(self.ids[row]), dtype=np.int32)
        if self.cls is not None:
            return np.delete(positions, self.cls[row][1:])
        return positions if self.own is None else positions[slice(*self.own[row])]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """A right-padded batch."""

    ids: Ids
    """(rows, tokens)"""
    lengths: Ids
    """(rows,) tokens that others may see."""
    second: Ids
    """(rows,) start of the second segment, which gets token type 1."""
    pad_id: int
    """What fills the rows behind their last token."""

    def without_empty_rows(self) -> Batch:
        """The same, where an empty text, to which the tokenizer adds nothing, is read as one padding token."""
        if self.lengths.min(initial=1) > 0:
            return self
        ids = self.ids if self.ids.shape[1] else np.full((len(self.ids), 1), self.pad_id, np.int32)
        return Batch(ids, np.maximum(self.lengths, 1), np.maximum(self.second, 1), self.pad_id)

    def sizes(self) -> list[int]:
        """Tokens of each row, those behind its length included that are more than padding."""
        seen: list[int] = self.lengths.tolist()
        width = self.ids.shape[1]
        if min(seen, default=width) == width:
            return seen
        real = self.ids != self.pad_id
        last = np.where(real.any(axis=1), width - np.argmax(real[:, ::-1], axis=1), 0)
        return [max(length, end) for length, end in zip(seen, last.tolist(), strict=True)]


def pad(sequences: Sequences, rows: Sequence[int], pad_id: int) -> Batch:
    """Put the chosen sequences into one batch, padded on the right to the longest of them."""
    sizes = [len(sequences.ids[i]) for i in rows]
    seen = sizes if sequences.attended is None else [sequences.attended[i] for i in rows]
    ids = np.full((len(rows), max(sizes)), pad_id, np.int32)
    for row, i in enumerate(rows):
        ids[row, : sizes[row]] = sequences.ids[i]
    return Batch(ids, np.array(seen, np.int32), np.array([sequences.second[i] for i in rows], np.int32), pad_id)
