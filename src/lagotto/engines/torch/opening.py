"""`open_compute`: what computes a checkpoint's batches on one device, by the kind of its head."""

from __future__ import annotations

from typing import Any

from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.llm_rerankers import is_llm_reranker
from lagotto.engines.base import Precision, WeightFormat
from lagotto.engines.torch.forward import Forward
from lagotto.engines.torch.pair_scores import PairScores


def open_compute(
    checkpoint: Checkpoint, device: str, precision: Precision, weights: WeightFormat, **how: Any
) -> Forward | PairScores:
    """A `PairScores` for a reranker that is a language model, else a `Forward`, which ``how`` is for."""
    if is_llm_reranker(checkpoint.card):
        return PairScores(checkpoint, device, precision, weights=weights)
    return Forward(checkpoint, device, precision, weights=weights, **how)
