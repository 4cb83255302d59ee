"""From a checkpoint to a whole graph: encoder, pooling, dense layers or a classification head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from openvino import Model, Node

from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.encoder_config import EncoderConfig
from lagotto.cards.folder import DenseModule
from lagotto.cards.splade import is_splade
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, UnsupportedModelError
from lagotto.engines.openvino.decoder import decoder
from lagotto.engines.openvino.encoder import encoder
from lagotto.engines.openvino.ops import Parameters, activation, integers, op, scalar
from lagotto.engines.openvino.packing import Packed, declare, take
from lagotto.engines.openvino.pair_decoder import pair_decoder
from lagotto.engines.openvino.splade import splade

_PREFIXES = ("", "bert.", "roberta.", "model.", "0.auto_model.")
"""What transformers, sentence-transformers and FlagEmbedding put before the encoder's names."""
_PROBES = ("embeddings.word_embeddings.weight", "embed_tokens.weight")
"""A weight that every encoder has, and one that every decoder has."""


def build(checkpoint: Checkpoint, *, states: bool = False, parameters: type[Parameters] = Parameters) -> Model:
    """The graph of a checkpoint: what `pack` makes of a batch -> (rows, output) float32.

    An embedder gives pooled vectors that are not normalised (that, and cutting dimensions, is cheaper and more exact
    in float32 afterwards), a SPLADE model weights of the vocabulary, a reranker the raw logit. With ``states`` an
    embedder's graph has a second output, the last hidden states, (rows, tokens, hidden). A ColBERT model has no pooled
    vector: not a number stands in its place. A language model that reranks has a graph of its own, see `pair_decoder`.
    ``parameters`` makes the layers.
    """
    config = checkpoint.config
    weights = Weights.open(checkpoint.folder)
    named = parameters(_Renamed(weights, _prefix(weights, checkpoint)), str(checkpoint.folder))
    if checkpoint.decoder is not None and checkpoint.card.task == "rerank":
        return pair_decoder(checkpoint.decoder, config.max_position_embeddings, named)
    if checkpoint.card.task == "rerank":
        given = declare(kinds=config.type_vocab_size > 1)
        state = _states(checkpoint, named, given, only=given.firsts)
        out = [_classifier(_encoder_config(checkpoint), Parameters(weights, str(checkpoint.folder)), named, state)]
    else:
        given = declare(kinds=False)
        whole = _states(checkpoint, named, given) if states else None
        pooled = _pooled(checkpoint, _Renamed(weights, ""), named, given, whole)
        for module in checkpoint.dense:
            pooled = _dense(module, pooled)
        out = [pooled] if whole is None else [pooled, given.parted(whole)]
    results = [op.result(op.convert(node, "f32")) for node in out]
    return Model(results, given.parameters(), checkpoint.config.architecture)


def encoder_prefix(checkpoint: Checkpoint) -> str:
    """What stands before the encoder's names in the checkpoint's files."""
    return _prefix(Weights.open(checkpoint.folder), checkpoint)


def _encoder_config(checkpoint: Checkpoint) -> EncoderConfig:
    """All sizes of an encoder. Raises `UnsupportedModelError` for an architecture whose graph is not built here."""
    if not isinstance(checkpoint.config, EncoderConfig):
        raise UnsupportedModelError(
            f"{checkpoint.name}: no OpenVINO graph of this kind is built for {checkpoint.config.architecture!r}; pass "
            "engine='torch'"
        )
    return checkpoint.config


def _states(checkpoint: Checkpoint, weights: Parameters, given: Packed, only: Node | None = None) -> Node:
    """Hidden states of the last layer, of all tokens or of ``only`` one a row; see `encoder` and `decoder`."""
    if checkpoint.decoder is not None:
        return decoder(checkpoint.decoder, checkpoint.config.max_position_embeddings, weights, given, only)
    return encoder(_encoder_config(checkpoint), weights, given, only)


def _prefix(weights: Weights, checkpoint: Checkpoint) -> str:
    probe = _PROBES[checkpoint.decoder is not None]
    for prefix in _PREFIXES:
        if prefix + probe in weights:
            return prefix
    raise CheckpointError(
        f"{checkpoint.folder}: no weight is called [{' | '.join(p or '(nothing)' for p in _PREFIXES)}]{probe}; "
        f"the file begins with {', '.join(list(weights)[:3])}"
    )


class _Renamed(Mapping[str, NDArray[Any]]):
    """A view of tensors without their common prefix, and with the layer norms of 2018 under today's names."""

    def __init__(self, weights: Weights, prefix: str) -> None:
        self._weights = weights
        self._names = {_modern(n.removeprefix(prefix)): n for n in weights if n.startswith(prefix)}

    def __getitem__(self, name: str) -> NDArray[Any]:
        return self._weights[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _modern(name: str) -> str:
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def _pooled(
    checkpoint: Checkpoint, tensors: Mapping[str, NDArray[Any]], weights: Parameters, given: Packed, whole: Node | None
) -> Node:
    """(rows, hidden): one vector a row, by the card's pooling; ``whole`` are the states, where all are computed."""
    pooling = checkpoint.card.pooling
    if pooling in ("cls", "last_token"):
        last = op.add(given.firsts, op.subtract(given.lengths, op.constant(1, np.int32)))
        only = given.firsts if pooling == "cls" else last
        return _states(checkpoint, weights, given, only=only) if whole is None else take(whole, only)
    if pooling == "none":
        return op.broadcast(scalar(float("nan")), op.concat([op.shape_of(given.lengths), integers(1)], 0))
    states = given.parted(_states(checkpoint, weights, given) if whole is None else whole)  # (rows, tokens, hidden)
    if is_splade(pooling):
        return splade(checkpoint, _encoder_config(checkpoint), tensors, weights, given, states)
    mask = op.unsqueeze(given.mask, op.constant(2))  # (rows, tokens, 1)
    if pooling == "max":
        return op.reduce_max(op.select(mask, states, scalar(-1e30)), op.constant(1))
    total = op.reduce_sum(op.select(mask, states, scalar(0.0)), op.constant(1))
    count = op.unsqueeze(op.convert(given.lengths, "f32"), op.constant(1))
    return op.divide(total, op.sqrt(count) if pooling == "mean_sqrt_len" else count)


def _dense(module: DenseModule, x: Node) -> Node:
    """A sentence-transformers Dense module."""
    weights = Parameters(Weights.open(module.folder), str(module.folder))
    return activation(
        module.activation, weights.linear(x, "linear", module.in_features, module.out_features, module.bias)
    )


def _classifier(config: EncoderConfig, whole: Parameters, encoder_weights: Parameters, state: Node) -> Node:
    """The logit: BERT pools (dense, tanh) inside the encoder's names, RoBERTa inside the classifier's."""
    size = config.hidden_size
    if config.architecture == "bert":
        pooled = op.tanh(encoder_weights.linear(state, "pooler.dense", size, size))
        return whole.linear(pooled, "classifier", size, config.num_labels)
    pooled = op.tanh(whole.linear(state, "classifier.dense", size, size))
    return whole.linear(pooled, "classifier.out_proj", size, config.num_labels)
