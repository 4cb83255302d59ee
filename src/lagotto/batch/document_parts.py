"""What of a pair's document is read: cut at its end, or in windows that share tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lagotto.batch.layout import cut, too_long
from lagotto.batch.long_texts import Truncation
from lagotto.batch.windows import windows
from lagotto.core.errors import TextTooLongError


@dataclass(frozen=True, slots=True)
class Reading:
    """How much of documents is read."""

    truncation: Truncation = "right"
    document_max_length: int | None = None
    """Tokens of a document that are read; None: all."""
    overlap: int = 0
    """Tokens two neighbouring windows share, half a window at most."""
    max_windows: int | None = 1
    """1 cuts a document instead of splitting it; None reads all of it."""

    def room(self, max_length: int) -> int | None:
        """Tokens of a document that can reach the model; None where all may."""
        if self.max_windows == 1:
            return max_length
        return None if self.truncation == "error" or self.max_windows is None else self.max_windows * max_length


def parts_of(document: Sequence[int], size: int, reading: Reading, number: int) -> tuple[list[Sequence[int]], bool]:
    """Parts of a document of at most ``size`` tokens each, and whether they hold all of it.

    ``number`` is the document's, for the error: `TextTooLongError` where what is left out is to be refused.
    """
    whole, truncation = len(document), reading.truncation
    if reading.document_max_length is not None:
        document = document[slice(*cut(whole, reading.document_max_length, truncation, number))]
    if reading.max_windows == 1:
        part = document[slice(*cut(len(document), size, truncation, number))]
        return [part], len(part) == whole
    spans = windows(len(document), size, min(reading.overlap, size // 2))[: reading.max_windows]
    if truncation == "left":  # laid from the end
        spans = [(len(document) - b, len(document) - a) for a, b in reversed(spans)]
    covered = spans[-1][1] - spans[0][0]
    if covered < len(document) and truncation == "error":
        raise TextTooLongError(too_long(number, len(document), covered))
    return [document[a:b] for a, b in spans], covered == whole
