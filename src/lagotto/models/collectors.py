"""What puts an engine's values for a chunk of texts together: dense vectors, sparse weights, token vectors."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Sequences
from lagotto.cards.schema import Pooling
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.engines.base import Output
from lagotto.heads.pooling import pool
from lagotto.heads.tokens import MultiVectorHead, SparseHead
from lagotto.models.pipeline import Pooled

_Row = tuple[NDArray[np.int32], NDArray[np.float32]]
"""(token ids, weights) of one text."""


@dataclass(frozen=True, slots=True, eq=False)
class TokenHeads:
    """The heads of one model that were asked for."""

    pooling: Pooling | None
    """How the dense vector is pooled; None where it is not wanted."""
    sparse: SparseHead | None
    multivector: MultiVectorHead | None
    vocabulary: int
    hidden: int


@dataclass(frozen=True, slots=True, eq=False)
class TokenValues:
    """What a chunk gives; None for what was not wanted."""

    dense: NDArray[np.float32] | None
    """(sequences, output), not yet normalised."""
    sparse: SparseVectors | None = None
    multivector: MultiVectors | None = None


class DenseOutputs:
    """A `Collector` of dense vectors alone, pooled by the engine."""

    output: Output = "pooled"

    def __init__(self, sequences: int, width: int) -> None:
        self._pooled = Pooled(sequences, width)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """(rows, width) vectors."""
        self._pooled.add(rows, values)

    def value(self) -> TokenValues:
        """Everything, in the order of the sequences."""
        return TokenValues(self._pooled.value())


class VocabularyOutputs:
    """A `Collector` of a SPLADE model's weights: of each text's row over the vocabulary, what is above 0."""

    output: Output = "pooled"

    def __init__(self, sequences: int, vocabulary: int) -> None:
        self._vocabulary = vocabulary
        self._rows: list[_Row] = [(np.zeros(0, np.int32), np.zeros(0, np.float32))] * sequences

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """(rows, vocabulary) weights."""
        for row, weights in zip(rows, values, strict=True):
            ids = np.flatnonzero(weights > 0).astype(np.int32)
            self._rows[row] = ids, weights[ids]

    def value(self) -> TokenValues:
        """Everything, in the order of the sequences."""
        return TokenValues(None, SparseVectors.from_rows(self._rows, self._vocabulary))


class TokenOutputs:
    """A `Collector` that turns each batch's hidden states into what is wanted, and lets them go."""

    output: Output = "states"

    def __init__(self, sequences: Sequences, heads: TokenHeads) -> None:
        self._sequences, self._heads = sequences, heads
        self._dense = np.empty((len(sequences), heads.hidden), np.float32) if heads.pooling else None
        self._sparse: list[_Row] = [(np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(sequences)
        self._multi = [np.zeros((0, 0), np.float32)] * len(sequences)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """States of these sequences, padded behind their last tokens."""
        heads = self._heads
        for row, padded in zip(rows, values, strict=True):
            ids = self._sequences.ids[row]
            states = padded[: len(ids)]
            if self._dense is not None and heads.pooling is not None:
                cls = None if self._sequences.cls is None else self._sequences.cls[row]
                self._dense[row] = pool(states, heads.pooling) if cls is None else states[cls].mean(axis=0)
            if heads.sparse is not None:
                self._sparse[row] = heads.sparse(states, ids)
            if heads.multivector is not None:
                self._multi[row] = heads.multivector(states, ids, self._sequences.speaking(row))

    def value(self) -> TokenValues:
        """Everything, in the order of the sequences."""
        heads = self._heads
        return TokenValues(
            self._dense,
            None if heads.sparse is None else SparseVectors.from_rows(self._sparse, heads.vocabulary),
            None if heads.multivector is None else MultiVectors.from_rows(self._multi, heads.multivector.dimension),
        )
