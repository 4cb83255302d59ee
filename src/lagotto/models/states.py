"""Hidden states of every token, as the model's last layer gives them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Sequences
from lagotto.core.arrays import normalize
from lagotto.core.token_values import MultiVectors
from lagotto.core.values import Embeddings
from lagotto.engines.base import Output
from lagotto.models.loading import Loaded
from lagotto.models.pipeline import run


class States:
    """A `Collector` that keeps every state there is: (tokens, hidden) for each sequence."""

    output: Output = "states"

    def __init__(self, sequences: Sequences, unit: bool) -> None:
        self._lengths = sequences.lengths()
        self._unit = unit
        self._rows = [np.zeros((0, 0), np.float32)] * len(sequences)

    def add(self, rows: Sequence[int], values: NDArray[np.float32]) -> None:
        """States of these sequences, padded behind their lengths."""
        for row, padded in zip(rows, values, strict=True):
            states = padded[: self._lengths[row]]
            self._rows[row] = normalize(states) if self._unit else states.copy()

    def value(self) -> list[NDArray[np.float32]]:
        """One matrix a sequence."""
        return self._rows


def compute_states(
    loaded: Loaded, encoded: Iterable[Sequences], unit: bool, done: Callable[[int], None] | None
) -> Embeddings:
    """Every state of texts that are one sequence each; ``unit`` brings them to unit length."""
    rows: list[NDArray[np.float32]] = []
    tokens: list[int] = []
    truncated: list[bool] = []
    for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded, lambda found: States(found, unit), done):
        rows += part.outputs
        tokens += list(part.sequences.lengths())
        truncated += part.sequences.truncated
    states = MultiVectors.from_rows(rows, loaded.checkpoint.config.hidden_size)
    counted, cut = np.array(tokens, np.int32), np.array(truncated, np.bool_)
    return Embeddings(np.zeros((len(rows), 0), np.float32), counted, cut, multivector=states)
