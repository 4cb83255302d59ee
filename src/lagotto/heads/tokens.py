"""Heads for tokens: a weight for each (BGE-M3's sparse, "lexical"), a vector for each (BGE-M3's, ColBERT's).

Source: Chen et al. 2024 (M3-Embedding), and FlagEmbedding's ``finetune/embedder/encoder_only/m3/modeling.py`` and
``inference/embedder/encoder_only/m3.py``; Khattab and Zaharia 2020 (ColBERT). Each is one linear layer over the
encoder's last hidden states, and is computed here in float32: a third of a percent of the encoder's work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.cards.weights import Weights, read_tensors
from lagotto.core.arrays import normalize
from lagotto.core.errors import CheckpointError, ModelNotFoundError

States = NDArray[np.float32]
"""(tokens, hidden) of one text, padding left out."""


@dataclass(frozen=True, slots=True, eq=False)
class Linear:
    """x W^T + b."""

    weight: NDArray[np.float32]
    """(out, in)"""
    bias: NDArray[np.float32]
    """(out,)"""

    @staticmethod
    def read(path: Path, size_in: int) -> Linear:
        """A linear layer's state dict. Raises `CheckpointError` for one that does not fit the encoder."""
        tensors = read_tensors(path)
        if set(tensors) != {"weight", "bias"}:
            raise CheckpointError(f"{path}: holds {', '.join(sorted(tensors)) or 'nothing'}; expected weight and bias")
        return Linear.fitting(tensors["weight"], tensors["bias"], size_in, path)

    @staticmethod
    def of_folder(folder: Path, size_in: int) -> Linear:
        """``linear.weight`` (and ``linear.bias``, if there is one) of a folder's weights. Raises as `read` does."""
        tensors = Weights.open(folder)
        if "linear.weight" not in tensors:
            raise CheckpointError(f"{folder}: weight 'linear.weight', the projection of token vectors, is missing")
        weight = tensors["linear.weight"]
        bias = tensors["linear.bias"] if "linear.bias" in tensors else np.zeros(weight.shape[:1], np.float32)
        return Linear.fitting(weight, bias, size_in, folder)

    @staticmethod
    def fitting(weight: NDArray[Any], bias: NDArray[Any], size_in: int, path: Path) -> Linear:
        """A layer of these tensors. Raises `CheckpointError` unless it takes ``size_in`` numbers."""
        weight = np.ascontiguousarray(weight, np.float32)
        bias = np.ascontiguousarray(bias, np.float32)
        if weight.ndim != 2 or weight.shape[1] != size_in or bias.shape != weight.shape[:1]:
            raise CheckpointError(
                f"{path}: weight has shape {weight.shape} and bias {bias.shape}; the encoder gives {size_in} numbers"
            )
        return Linear(weight, bias)

    def then(self, other: Linear) -> Linear:
        """Both layers as one: first this, then the other."""
        return Linear(other.weight @ self.weight, other(self.bias))

    def __call__(self, x: NDArray[np.float32]) -> NDArray[np.float32]:
        """(..., in) -> (..., out)."""
        out: NDArray[np.float32] = x @ self.weight.T + self.bias
        return out


@dataclass(frozen=True, slots=True, eq=False)
class SparseHead:
    """A weight a token: ReLU of a linear layer; of a token that comes several times the largest counts."""

    linear: Linear
    unused: frozenset[int]
    """Special tokens, which get no weight."""

    def __call__(self, states: States, ids: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """(token ids, weights) of a text, ids rising, weights above 0."""
        weights = np.maximum(self.linear(states)[:, 0], 0)
        found, places = np.unique(ids, return_inverse=True)
        largest = np.zeros(len(found), np.float32)
        np.maximum.at(largest, places, weights)
        keep = (largest > 0) & ~np.isin(found, list(self.unused))
        return found[keep].astype(np.int32), largest[keep]


@dataclass(frozen=True, slots=True, eq=False)
class MultiVectorHead:
    """A unit vector for every token that is kept."""

    linear: Linear
    first: int
    """Tokens left out at the beginning: 1 for BGE-M3, which gives CLS no vector, 0 for ColBERT."""
    dropped: frozenset[int] = frozenset()
    """Ids of tokens that get no vector."""

    @property
    def dimension(self) -> int:
        """Length of the vectors."""
        return len(self.linear.bias)

    def __call__(self, states: States, ids: NDArray[np.int32], positions: NDArray[np.int32]) -> NDArray[np.float32]:
        """(kept tokens, dimension) unit vectors of a text, of the tokens at these positions alone."""
        kept = positions[(positions >= self.first) & ~np.isin(ids[positions], list(self.dropped))]
        return normalize(self.linear(states[kept]))


def find_head(folder: Path, names: Sequence[str]) -> Path | None:
    """The first of these files that is in a folder."""
    return next((folder / name for name in names if (folder / name).is_file()), None)


def require_head(folder: Path, names: Sequence[str], what: str) -> Path:
    """The head's file. Raises `ModelNotFoundError` without it: random weights would be worse than none."""
    path = find_head(folder, names)
    if path is None:
        raise ModelNotFoundError(
            f"{what} output needs {' or '.join(names)}, and {folder} has neither; download the whole checkpoint, "
            "or ask for dense output alone"
        )
    return path
