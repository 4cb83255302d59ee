"""`PairScores`: from a language model's last states to scores of (query, passage) pairs."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.weights import Weights
from lagotto.core.errors import EngineError
from lagotto.engines.base import PAIR_TOKENS, Output, Scoring
from lagotto.engines.openvino.graph import encoder_prefix
from lagotto.engines.sharing import part

Infer = Callable[[Mapping[str, NDArray[np.int32]]], NDArray[np.float32]]
"""Runs the graph that `pair_decoder` built."""


class PairScores:
    """Parts a batch into what its pairs begin with and the rest, and scores the states that come of it.

    The last norm and the rows of the vocabulary that are compared with it are computed here, in float32: bfloat16
    logits would come in steps of 1/16. No other rows are kept, unless they are the embeddings too.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        """Raises `CheckpointError` where a weight is missing or has another shape."""
        assert checkpoint.decoder is not None  # such a checkpoint is opened by other engines
        self._config, self._weights = checkpoint.decoder, Weights.open(checkpoint.folder)
        base = encoder_prefix(checkpoint)
        self._head = f"{base}embed_tokens.weight" if self._config.tied else "lm_head.weight"
        self._weights.check(self._head, (self._config.vocab_size, self._config.hidden_size))
        self._weights.check(f"{base}norm.weight", (self._config.hidden_size,))
        self._norm = np.array(self._weights[f"{base}norm.weight"], np.float32) + np.float32(self._config.norm_offset)
        self._rows: dict[tuple[int, ...], NDArray[np.float32]] = {}  # of the vocabulary, by their ids

    def __call__(self, batch: Batch, output: Output, infer: Infer) -> NDArray[np.float32]:
        """(rows, 1) float32 scores. Raises `EngineError` for what such a model does not give."""
        if not isinstance(output, Scoring) or output.yes is None:
            raise EngineError(f"a language model that reranks gives scores of pairs, not {output!r}: give a Scoring")
        if batch.ids.shape[1] > PAIR_TOKENS:
            # What comes first attends without a mask, whose size is the square of a row's. Such a row is alone anyway.
            batch = Batch(batch.ids, batch.lengths, batch.lengths - 1, batch.pad_id)
        shared = part(batch)
        states = infer(
            {
                "prefixes": shared.prefixes,
                "prefix_lengths": shared.lengths,
                "owner": shared.owner,
                "rest": shared.rest,
                "lengths": shared.behind,
            }
        )
        scale = np.sqrt(np.square(states).mean(axis=1, keepdims=True) + self._config.rms_norm_eps)
        tokens = (output.yes,) if output.no is None else (output.yes, output.no)
        logits = (states / scale * self._norm) @ self._vocabulary(tokens).T
        found: NDArray[np.float32] = logits[:, :1] if output.no is None else logits[:, :1] - logits[:, 1:]
        return found

    def _vocabulary(self, tokens: tuple[int, ...]) -> NDArray[np.float32]:
        """(tokens, hidden)"""
        if tokens not in self._rows:
            self._rows[tokens] = self._weights.rows(self._head, tokens)
        return self._rows[tokens]
