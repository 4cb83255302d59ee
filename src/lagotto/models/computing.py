"""From token ids to `Embeddings`: what a call wants of each text, and how it is computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
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
from lagotto.models.pipeline import Pooled, run
from lagotto.models.token_outputs import DENSE, HeadReader, TokenOutputs, check_outputs


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a call asks of each text."""

    limit: int
    """Tokens a text may have."""
    long: LongTexts
    """What happens to longer ones."""
    dimensions: int | None = None
    normalize: bool | None = None
    outputs: Collection[str] = DENSE


Compute = Callable[[Iterable[Sequences], Callable[[int], None] | None], Iterator[Embeddings]]
"""Chunks of sequences to values, chunk by chunk; the second argument hears how many inputs were finished."""


class Computing:
    """What one model can compute of token ids."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._heads = HeadReader(loaded)

    def start(self, wanted: Wanted) -> Compute:
        """The function that turns sequences into values; all that can be wrong with what is wanted is wrong here."""
        loaded, info = self._loaded, self._loaded.engine.info
        outputs = check_outputs(wanted.outputs)
        if wanted.dimensions is not None:
            if "dense" not in outputs:
                raise InvalidInputError("dimensions cuts dense vectors, and outputs does not ask for them")
            check_dimensions(wanted.dimensions, info.output)
        unit = loaded.checkpoint.card.normalize if wanted.normalize is None else wanted.normalize
        how = wanted.long.combine if isinstance(wanted.long, Windows) else "mean"
        if isinstance(wanted.long, MultiCls):
            self._check_cls()
        elif outputs == {"dense"}:

            def dense(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
                def collect(sequences: Sequences) -> Pooled:
                    return Pooled(len(sequences), info.output)

                for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                    vectors = _cut(part.outputs, wanted.dimensions, unit)
                    yield _embeddings(part.sequences, combine_dense(vectors, part.sequences, how, unit))

            return dense
        heads = self._heads.read(outputs)

        def tokens(encoded: Iterable[Sequences], done: Callable[[int], None] | None) -> Iterator[Embeddings]:
            def collect(sequences: Sequences) -> TokenOutputs:
                return TokenOutputs(sequences, heads)

            for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, collect, done):
                found = part.outputs
                vectors = None
                if found.dense is not None:
                    vectors = combine_dense(_cut(found.dense, wanted.dimensions, unit), part.sequences, how, unit)
                yield _embeddings(part.sequences, vectors, found.sparse, found.multivector)

        return tokens

    def nothing(self, wanted: Wanted) -> Embeddings:
        """The value of no texts."""
        outputs = check_outputs(wanted.outputs)
        none = Sequences([], [], [], [], 0)
        width = (wanted.dimensions or self._loaded.engine.info.output) if "dense" in outputs else 0
        dense = np.zeros((0, width), np.float32)
        if outputs == {"dense"}:
            return _embeddings(none, dense)
        found = TokenOutputs(none, self._heads.read(outputs)).value()
        return _embeddings(none, dense, found.sparse, found.multivector)

    def _check_cls(self) -> None:
        checkpoint = self._loaded.checkpoint
        if checkpoint.card.pooling != "cls":
            raise UnsupportedModelError(
                f"MultiCls is for models that pool the CLS token; {checkpoint.name} has {checkpoint.card.pooling} "
                "pooling. Give truncation=Windows() to read longer texts"
            )


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
