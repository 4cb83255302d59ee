"""From token ids to `Embeddings`: what a call wants of each text, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from lagotto.batch.long_texts import LongTexts, MultiCls, Windows
from lagotto.batch.sequences import Sequences
from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.values import Embeddings
from lagotto.models.collectors import TokenValues
from lagotto.models.combining import combine_dense, combine_multivector, combine_sparse
from lagotto.models.loading import Loaded
from lagotto.models.pipeline import run
from lagotto.models.sides import Side, sides
from lagotto.models.token_outputs import HeadReader, chosen_outputs, outputs_of


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of each text."""

    side: Side
    """How it is tokenised."""
    limit: int
    """Tokens it may have."""
    long: LongTexts
    """What happens to a longer one."""
    dimensions: int | None = None
    normalize: bool | None = None
    outputs: Collection[str] | None = None
    adapter: str | None = None


Compute = Callable[[Iterable[Sequences], Callable[[int], None] | None], Iterator[Embeddings]]
"""Chunks of sequences to values, chunk by chunk; the second argument hears how many inputs were finished."""


class Computing:
    """What one model can compute of token ids."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._heads = HeadReader(loaded)
        self.outputs = outputs_of(loaded.checkpoint)
        """What it can give; the folder is looked through once, and not by every call."""
        self.sides = sides(loaded)
        """How texts become token ids, by what they are."""

    def start(self, wanted: Wanted) -> Compute:
        """The function that turns sequences into values; all that can be wrong with what is wanted is wrong here."""
        loaded = self._loaded.using(wanted.adapter)
        outputs = chosen_outputs(wanted.outputs, self.outputs, loaded.checkpoint.name)
        if wanted.dimensions is not None:
            if "dense" not in outputs:
                raise InvalidInputError("dimensions cuts dense vectors, and outputs does not ask for them")
            check_dimensions(wanted.dimensions, loaded.engine.info.output)
        self._check_long(wanted)
        collect = self._heads.collector(outputs, wanted.side.dropped, several_cls=isinstance(wanted.long, MultiCls))

        def compute(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
            for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                yield self._embeddings(part.sequences, part.outputs, wanted)

        return compute

    def nothing(self, wanted: Wanted) -> Embeddings:
        """The value of no texts."""
        return next(self.start(wanted)([Sequences([], [], [], [], 0)], None))

    def _embeddings(self, sequences: Sequences, values: TokenValues, wanted: Wanted) -> Embeddings:
        """One value a text."""
        card = self._loaded.checkpoint.card
        dense, sparse, multivector = np.zeros((sequences.inputs, 0), np.float32), None, None
        if values.dense is not None:
            unit = card.normalize if wanted.normalize is None else wanted.normalize
            how = wanted.long.combine if isinstance(wanted.long, Windows) else "mean"
            short = shorten(values.dense, wanted.dimensions)
            dense = combine_dense(normalize(short) if unit else short, sequences, how, unit)
        if values.sparse is not None:
            sparse = combine_sparse(values.sparse, sequences, card.options.get("max_active_dims"))
        if values.multivector is not None:
            multivector = combine_multivector(values.multivector, sequences)
        truncated = np.array(sequences.truncated, np.bool_)[sequences.firsts()]
        return Embeddings(dense, sequences.totals(), truncated, sparse, multivector)

    def _check_long(self, wanted: Wanted) -> None:
        """Raise `UnsupportedModelError` for a way to read long texts that has no meaning for the model."""
        name, pooling = self._loaded.checkpoint.name, self._loaded.checkpoint.card.pooling
        if isinstance(wanted.long, MultiCls) and pooling != "cls":
            raise UnsupportedModelError(
                f"MultiCls is for models that pool the CLS token; {name} has {pooling} pooling. Give "
                "truncation=Windows() to read longer texts"
            )
        if not isinstance(wanted.long, Windows):
            return
        if pooling == "splade_sum":
            raise UnsupportedModelError(
                f"{name} adds up the weights of all tokens (splade_sum), and those that windows share would count "
                "twice; give truncation='right' or 'left'"
            )
        if wanted.side.filler is not None:
            raise UnsupportedModelError(
                f"{name} fills queries up to {wanted.side.width} tokens and reads them in one piece, without windows; "
                "give truncation='right' or 'left' for queries"
            )
