"""SPLADE's end of a graph: a masked-language-model's logits, brought to one weight a vocabulary entry.

Source of the head: Devlin et al. 2018 as written in transformers' ``BertLMPredictionHead`` and ``XLMRobertaLMHead``;
of the pooling: Formal et al. 2021, log(1 + relu(logit)), the maximum (or sum) over a text's tokens, padding left out.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Node

from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.encoder_config import EncoderConfig
from lagotto.engines.openvino.ops import Parameters, activation, op, scalar
from lagotto.engines.openvino.packing import Packed

Array = NDArray[np.float32]

_COLUMNS = 2048
"""Vocabulary entries whose logits are in memory together: 6 MB for a batch of 768 tokens. More are not quicker."""


def splade(
    checkpoint: Checkpoint,
    config: EncoderConfig,
    tensors: Mapping[str, NDArray[Any]],
    encoder: Parameters,
    given: Packed,
    states: Node,
) -> Node:
    """(batch, tokens, hidden) -> (batch, vocabulary) weights of at least 0.

    Logits of all tokens would take tokens x vocabulary x 4 bytes (94 MB for 768 tokens of BERT, 768 MB of XLM-RoBERTa).
    They are computed for `_COLUMNS` entries at a time and pooled at once, so no more than that many exist a batch; what
    stays is (batch, vocabulary). The word embeddings are in memory twice: as a table, and as this matrix.

    ``tensors`` are the checkpoint's under their full names, ``encoder`` those of the encoder.
    """
    whole = Parameters(tensors, str(checkpoint.folder))
    hidden = _transform(config, whole, states)
    largest = checkpoint.card.pooling == "splade_max"  # behind a row's end its last token stands once more: no mask
    matrix, bias = _decoder(config, tensors, whole, encoder)
    pooled = []
    for start in range(0, config.vocab_size, _COLUMNS):
        part = slice(start, start + _COLUMNS)
        logits = op.matmul(hidden, op.constant(matrix[part]), False, True)  # (batch, tokens, columns)
        shift = op.constant(bias[part])
        if largest:  # log(1 + relu(x + bias)) rises with x, so the maximum is taken before it
            pooled.append(_weight(checkpoint, op.add(op.reduce_max(logits, op.constant(1)), shift)))
        else:
            weights = _weight(checkpoint, op.add(logits, shift))
            real = op.select(op.unsqueeze(given.mask, op.constant(2)), weights, scalar(0.0))
            pooled.append(op.reduce_sum(real, op.constant(1)))
    return op.concat(pooled, 1)


def _weight(checkpoint: Checkpoint, logits: Node) -> Node:
    weights = op.log(op.add(op.relu(logits), scalar(1.0)))
    if checkpoint.card.options.get("activation") == "log1p_relu":
        return op.log(op.add(weights, scalar(1.0)))
    return weights


def _transform(config: EncoderConfig, whole: Parameters, states: Node) -> Node:
    """The head's dense layer, activation and layer norm."""
    size, epsilon = config.hidden_size, config.layer_norm_eps
    if config.architecture == "bert":
        hidden = activation(config.hidden_act, whole.linear(states, "cls.predictions.transform.dense", size, size))
        return whole.layer_norm(hidden, "cls.predictions.transform.LayerNorm", size, epsilon)
    hidden = activation("gelu", whole.linear(states, "lm_head.dense", size, size))
    return whole.layer_norm(hidden, "lm_head.layer_norm", size, epsilon)


def _decoder(
    config: EncoderConfig, present: Container[str], whole: Parameters, encoder: Parameters
) -> tuple[Array, Array]:
    """(vocabulary, hidden) matrix, the word embeddings unless the file has one of its own, and (vocabulary,) bias."""
    head = "cls.predictions" if config.architecture == "bert" else "lm_head"
    shape = (config.vocab_size, config.hidden_size)
    own = f"{head}.decoder.weight"
    matrix = whole.array(own, shape) if own in present else encoder.array("embeddings.word_embeddings.weight", shape)
    name = f"{head}.decoder.bias" if f"{head}.decoder.bias" in present else f"{head}.bias"
    return matrix, whole.array(name, (config.vocab_size,))
