"""What an embedder gives beside one vector a text: which outputs exist, and how they come from hidden states."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Sequences
from lagotto.batch.special_tokens import special_ids
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.hubs import MULTI_VECTOR_FILES, SPARSE_FILES
from lagotto.cards.schema import Pooling
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.engines.base import Output
from lagotto.heads.pooling import pool
from lagotto.heads.tokens import Linear, MultiVectorHead, SparseHead, require_head
from lagotto.models.loading import Loaded

OutputName = Literal["dense", "sparse", "multivector"]
"""What can be asked of an embedder; see `Embeddings`."""
DENSE: tuple[OutputName, ...] = ("dense",)


def check_outputs(outputs: Collection[str]) -> frozenset[str]:
    """Raise `InvalidInputError` unless at least one known output is asked for."""
    allowed = get_args(OutputName)
    if isinstance(outputs, str):
        raise InvalidInputError(f"outputs is {outputs!r}; give a collection, as outputs={{{outputs!r}}}")
    unknown = sorted(str(name) for name in outputs if name not in allowed)
    if unknown or not outputs:
        raise InvalidInputError(f"outputs are {unknown or 'none'}; allowed are {', '.join(allowed)}, at least one")
    return frozenset(outputs)


@dataclass(frozen=True, slots=True, eq=False)
class TokenHeads:
    """The heads of one model that were asked for."""

    pooling: Pooling | None
    """How the dense vector is pooled; None where it is not wanted."""
    sparse: SparseHead | None
    multivector: MultiVectorHead | None
    vocabulary: int
    hidden: int


class HeadReader:
    """The heads of one model; their files are read when they are first asked for, and once."""

    def __init__(self, loaded: Loaded) -> None:
        self._loaded = loaded
        self._known: dict[frozenset[str], TokenHeads] = {}

    def read(self, outputs: frozenset[str]) -> TokenHeads:
        """The heads of these outputs.

        Raises `ModelNotFoundError` that names a missing one, `CheckpointError` for one that does not fit.
        """
        if outputs not in self._known:
            self._known[outputs] = _open_heads(self._loaded, outputs)
        return self._known[outputs]


def _open_heads(loaded: Loaded, outputs: frozenset[str]) -> TokenHeads:
    checkpoint = loaded.checkpoint
    config = checkpoint.config
    if checkpoint.dense:
        raise UnsupportedModelError(
            f"{checkpoint.name} has Dense modules; sparse and multi-vector output have none, "
            "nor have the means of several CLS tokens"
        )
    sparse, multi = None, None
    if "sparse" in outputs:
        linear = _linear(checkpoint, SPARSE_FILES, "sparse")
        sparse = SparseHead(linear, special_ids(checkpoint.folder, loaded.tokenizer))
    if "multivector" in outputs:
        multi = MultiVectorHead(_linear(checkpoint, MULTI_VECTOR_FILES, "multi-vector"))
    pooling = checkpoint.card.pooling if "dense" in outputs else None
    return TokenHeads(pooling, sparse, multi, config.vocab_size, config.hidden_size)


def _linear(checkpoint: Checkpoint, names: Sequence[str], what: str) -> Linear:
    return Linear.read(require_head(checkpoint.folder, names, what), checkpoint.config.hidden_size)


@dataclass(frozen=True, slots=True, eq=False)
class TokenValues:
    """What `TokenOutputs` gives for a chunk; None for what was not wanted."""

    dense: NDArray[np.float32] | None
    """(sequences, hidden), not yet normalised."""
    sparse: SparseVectors | None
    multivector: MultiVectors | None


class TokenOutputs:
    """A `Collector` that turns each batch's hidden states into what is wanted, and lets them go."""

    output: Output = "states"

    def __init__(self, sequences: Sequences, heads: TokenHeads) -> None:
        self._sequences, self._heads = sequences, heads
        self._dense = np.empty((len(sequences), heads.hidden), np.float32) if heads.pooling else None
        empty = np.zeros(0, np.int32), np.zeros(0, np.float32)
        self._sparse = [empty] * len(sequences)
        self._multi = [np.zeros((0, 0), np.float32)] * len(sequences)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """States of these sequences, padded behind their lengths."""
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
                self._multi[row] = heads.multivector(states[self._sequences.speaking(row)])

    def value(self) -> TokenValues:
        """Everything, in the order of the sequences."""
        heads = self._heads
        return TokenValues(
            self._dense,
            None if heads.sparse is None else SparseVectors.from_rows(self._sparse, heads.vocabulary),
            None if heads.multivector is None else MultiVectors.from_rows(self._multi, heads.multivector.dimension),
        )
