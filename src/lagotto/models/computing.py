"""From token ids to `Embeddings`: what a call wants of each text, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.long_texts import LongTexts, MultiCls, Windows
from lagotto.batch.sequences import Sequences
from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.core.values import Embeddings
from lagotto.models.combining import combine_dense, combine_multivector, combine_sparse
from lagotto.models.loading import Loaded
from lagotto.models.pipeline import run
from lagotto.models.rendering import Rendering, Role
from lagotto.models.token_outputs import HeadReader, chosen_outputs


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of each text."""

    limit: int | None
    """Tokens a text may have; None: as many as is usual for its side."""
    long: LongTexts
    """What happens to longer ones."""
    dimensions: int | None = None
    normalize: bool | None = None
    outputs: Collection[str] | None = None
    """None: what the model gives, the dense vector of one that has one."""
    role: Role = "text"


Compute = Callable[[Iterable[Sequences], Callable[[int], None] | None], Iterator[Embeddings]]
"""Chunks of sequences to values, chunk by chunk; the second argument hears how many inputs were finished."""


class Computing:
    """What one model can compute of token ids."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._heads = HeadReader(loaded)

    def encode(self, texts: Sequence[str], render: Rendering, wanted: Wanted, start: int) -> Sequences:
        """Token ids of texts, the first of which has the number ``start``."""
        side = self._heads.sides[wanted.role]
        limit = side.max_length if wanted.limit is None else wanted.limit
        return side.encode(texts, render, limit, wanted.long, start)

    def start(self, wanted: Wanted) -> Compute:
        """The function that turns sequences into values; all that can be wrong with what is wanted is wrong here."""
        loaded, checkpoint = self._loaded, self._loaded.checkpoint
        outputs = chosen_outputs(wanted.outputs, checkpoint)
        if wanted.dimensions is not None:
            if "dense" not in outputs:
                raise InvalidInputError("dimensions cuts dense vectors, and outputs does not ask for them")
            check_dimensions(wanted.dimensions, loaded.engine.info.output)
        unit = checkpoint.card.normalize if wanted.normalize is None else wanted.normalize
        self._check_long(wanted)
        how = wanted.long.combine if isinstance(wanted.long, Windows) else "mean"
        many_cls = isinstance(wanted.long, MultiCls)
        collect = self._heads.collector(outputs, wanted.role, many_cls=many_cls)

        def compute(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
            for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                found = part.outputs
                vectors = None
                if found.dense is not None:
                    vectors = combine_dense(_cut(found.dense, wanted.dimensions, unit), part.sequences, how, unit)
                yield _embeddings(part.sequences, vectors, found.sparse, found.multivector)

        return compute

    def nothing(self, wanted: Wanted) -> Embeddings:
        """The value of no texts."""
        outputs = chosen_outputs(wanted.outputs, self._loaded.checkpoint)
        none = Sequences([], [], [], [], 0)
        width = (wanted.dimensions or self._loaded.engine.info.output) if "dense" in outputs else 0
        found = self._heads.collector(outputs, wanted.role)(none).value()
        return _embeddings(none, np.zeros((0, width), np.float32), found.sparse, found.multivector)

    def _check_long(self, wanted: Wanted) -> None:
        """Raise `UnsupportedModelError` where the model can't read longer texts so."""
        checkpoint = self._loaded.checkpoint
        name, pooling = checkpoint.name, checkpoint.card.pooling
        if isinstance(wanted.long, MultiCls) and pooling != "cls":
            raise UnsupportedModelError(
                f"MultiCls is for models that pool the CLS token; {name} has {pooling} pooling. "
                "Give truncation=Windows() to read longer texts"
            )
        if not isinstance(wanted.long, Windows):
            return
        cure = "give truncation='right', 'left' or 'error'"
        if pooling == "splade_sum":
            raise UnsupportedModelError(f"{name} sums weights over tokens, of which windows share some; {cure}")
        if self._heads.sides[wanted.role].filler is not None:
            raise UnsupportedModelError(f"{name} fills queries up to a length of their own, without windows; {cure}")


def _cut(vectors: NDArray[np.float32], dimensions: int | None, unit: bool) -> NDArray[np.float32]:
    short = shorten(vectors, dimensions)
    return normalize(short) if unit else short


def _embeddings(
    sequences: Sequences,
    dense: NDArray[np.float32] | None,
    sparse: SparseVectors | None = None,
    multivector: MultiVectors | None = None,
) -> Embeddings:
    return Embeddings(
        np.zeros((sequences.inputs, 0), np.float32) if dense is None else dense,
        sequences.totals(),
        np.array(sequences.truncated, np.bool_)[sequences.firsts()],
        None if sparse is None else combine_sparse(sparse, sequences),
        None if multivector is None else combine_multivector(multivector, sequences),
    )
