"""Where tokens stand, as architectures count it: positions, and the segment of a pair. Integers, no tensors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.model_config import ModelConfig


def positions(ids: NDArray[np.int32], config: ModelConfig) -> NDArray[np.int32]:
    """(rows, tokens) positions of right-padded texts."""
    if not config.counts_positions_from_padding:
        return np.broadcast_to(np.arange(ids.shape[1], dtype=np.int32), ids.shape)
    real = ids != config.pad_token_id  # a padding token that a text spells out gets the padding position, too
    counted: NDArray[np.int32] = np.cumsum(real, axis=1, dtype=np.int32) * real + np.int32(config.pad_token_id)
    return counted


def token_types(batch: Batch, config: ModelConfig) -> NDArray[np.int32]:
    """(rows, tokens) 1 for the second text of a pair; 0 throughout for a model with one type."""
    types = (np.arange(batch.ids.shape[1]) >= batch.second[:, None]).astype(np.int32)
    return np.minimum(types, np.int32(config.type_vocab_size - 1))
