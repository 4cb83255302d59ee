"""Late chunking: vectors of spans, pooled from the hidden states of the whole text.

Source: Günther et al. 2024, "Late Chunking: Contextual Chunk Embeddings Using Long-Context Embedding Models". Texts
that are longer than the model reads go through it in overlapping windows, as in their algorithm 2; there the earlier of
two windows gives the tokens that both have, here the one in whose middle a token lies more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.long_texts import MultiCls
from lagotto.batch.offsets import TokenRanges
from lagotto.batch.sequences import Sequences
from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.errors import InvalidInputError, TextTooLongError, UnsupportedModelError
from lagotto.core.span_values import SpanEmbeddings
from lagotto.engines.base import Output
from lagotto.models.computing import Wanted
from lagotto.models.inputs import Span
from lagotto.models.loading import Loaded
from lagotto.models.pipeline import chunks, run
from lagotto.models.rendering import Rendering
from lagotto.models.token_outputs import chosen_outputs, outputs_of

Places = list[NDArray[np.int64]]
"""For each span of a text the positions of its tokens, in the sequence that the text is without windows."""


class SpanPooled:
    """A `Collector` that adds each batch's hidden states up span by span, and lets them go."""

    output: Output = "states"

    def __init__(self, sequences: Sequences, places: Sequence[Places], hidden: int) -> None:
        self._sequences = sequences
        self._sizes = [len(spans) for spans in places]
        self._counts = np.array([len(found) for spans in places for found in spans], np.int32)
        self._sums = np.zeros((len(self._counts), hidden), np.float64)
        firsts = np.concatenate([[0], np.cumsum(self._sizes)])
        self._tokens = [_by_position(spans, int(first)) for spans, first in zip(places, firsts[:-1], strict=True)]
        self._starts = _starts(sequences)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """States of these sequences, padded behind their lengths."""
        weights = self._sequences.weights()
        for row, states in zip(rows, values, strict=True):
            positions, spans = self._tokens[self._sequences.owner[row]]
            start = self._starts[row]
            part = slice(*np.searchsorted(positions, [start, start + weights[row]]))
            if part.start == part.stop:
                continue
            own = 0 if self._sequences.own is None else self._sequences.own[row][0]
            order = np.argsort(spans[part], kind="stable")
            numbers, firsts = np.unique(spans[part][order], return_index=True)
            found = states[positions[part][order] - start + own]
            self._sums[numbers] += np.add.reduceat(found, firsts, axis=0, dtype=np.float64)

    def value(self) -> SpanEmbeddings:
        """The means, not yet normalised."""
        sequences = self._sequences
        return SpanEmbeddings(
            (self._sums / self._counts[:, None]).astype(np.float32),
            np.concatenate([np.zeros(1, np.int64), np.cumsum(self._sizes, dtype=np.int64)]),
            self._counts,
            sequences.totals(),
            np.array(sequences.truncated, np.bool_)[sequences.firsts()],
        )


def compute_spans(
    loaded: Loaded,
    inputs: Iterable[tuple[str, list[Span]]],
    render: Rendering,
    wanted: Wanted,
    done: Callable[[int], None] | None,
) -> Iterator[SpanEmbeddings]:
    """Values of chunks of texts with their spans. Everything that can be wrong with ``wanted`` is wrong before them."""
    checkpoint, info = loaded.checkpoint, loaded.engine.info
    if render.frame is not None:
        raise UnsupportedModelError(
            f"{checkpoint.name} puts something behind these texts that is never cut, and spans are not found there; "
            "give role='text', or prompt= with what is to stand before them"
        )
    chosen_outputs(wanted.outputs, outputs_of(checkpoint), checkpoint.name)
    if isinstance(wanted.long, MultiCls):
        raise InvalidInputError(
            "spans are pooled from their own tokens, which MultiCls does not change; give Windows()"
        )
    if checkpoint.dense:
        raise UnsupportedModelError(f"{checkpoint.name} has Dense modules, which are for vectors of whole texts only")
    if wanted.dimensions is not None:
        check_dimensions(wanted.dimensions, info.output)
    unit = checkpoint.card.normalize if wanted.normalize is None else wanted.normalize
    found: deque[list[Places]] = deque()

    def encoded() -> Iterator[Sequences]:
        around = (render.before, render.after)
        for start, chunk in chunks(inputs, lambda item: len(item[0])):
            sequences, ranges = loaded.tokenizer.encode_with_ranges(
                [render(text) for text, _ in chunk], loaded.limit(wanted.limit), wanted.long, around=around, start=start
            )
            pairs = enumerate(zip(chunk, ranges, strict=True), start)
            found.append([_places(text, spans, of, number) for number, ((text, spans), of) in pairs])
            yield sequences

    def collect(sequences: Sequences) -> SpanPooled:
        return SpanPooled(sequences, found.popleft(), checkpoint.config.hidden_size)

    def parts() -> Iterator[SpanEmbeddings]:
        for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded(), collect, done):
            value = part.outputs
            short = shorten(value.dense, wanted.dimensions)
            dense = normalize(short) if unit else short
            yield SpanEmbeddings(dense, value.offsets, value.span_tokens, value.tokens, value.truncated)

    return parts()


def _places(text: str, spans: Sequence[Span], ranges: TokenRanges, number: int) -> Places:
    """Where the tokens of each span are. Raises for a span without a token, and for one of which a token is cut off."""
    first, behind = ranges.kept
    places = []
    for place, (span, tokens) in enumerate(zip(spans, ranges.find(spans), strict=True)):
        name = f"text {number}, span {place}, characters {span[0]} to {span[1]}"
        if not len(tokens):
            raise InvalidInputError(f"{name}, has no token: it is {text[slice(*span)][:40]!r}; leave it out")
        if tokens[0] < first or tokens[-1] >= behind:
            raise TextTooLongError(
                f"{name}, lies in what was cut off the text: {len(ranges.ranges)} tokens, {behind - first} fit. "
                "Give truncation=Windows() to read all of it"
            )
        places.append(tokens - first + ranges.first)
    return places


def _by_position(spans: Places, first: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(tokens,) rising positions of all spans' tokens, and the number of the span that each is for."""
    positions = np.concatenate([np.zeros(0, np.int64), *spans])
    numbers = np.repeat(first + np.arange(len(spans)), [len(span) for span in spans])
    order = np.argsort(positions, kind="stable")
    return positions[order], numbers[order]


def _starts(sequences: Sequences) -> NDArray[np.int64]:
    """(sequences,) where the part that each speaks for begins in the sequence that its text is without windows."""
    ends = np.cumsum(sequences.weights(), dtype=np.int64)
    begins = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
    return begins - begins[sequences.firsts()][sequences.owner] if len(begins) else begins
