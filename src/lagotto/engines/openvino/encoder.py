"""The encoder graph: BERT and XLM-RoBERTa, hidden states in the end.

Source of the computation: Devlin et al. 2018 and Conneau et al. 2019, as written in transformers' ``modeling_bert.py``
and ``modeling_xlm_roberta.py``.
"""

from __future__ import annotations

from openvino import Node

from lagotto.cards.encoder_config import EncoderConfig
from lagotto.engines.openvino.ops import Parameters, activation, integers, op, scalar, unseen
from lagotto.engines.openvino.packing import Packed, take


def encoder(config: EncoderConfig, weights: Parameters, given: Packed, only: Node | None = None) -> Node:
    """Hidden states of the last layer, (tokens, hidden).

    ``only`` (rows,) int32 names the one token a row whose state is wanted: the last layer then computes nothing for
    the others, since they only matter as keys and values, and the result is (rows, hidden). It is exact, and saves
    about 7 % of a 12-layer model.
    """
    x = _embeddings(config, weights, given)
    bias = op.unsqueeze(op.unsqueeze(unseen(given.mask), op.constant(1)), op.constant(1))  # (rows, 1, 1, width)
    last = config.num_hidden_layers - 1
    for layer in range(config.num_hidden_layers):
        x = _layer(config, weights, f"encoder.layer.{layer}.", x, given, bias, only if layer == last else None)
    return x


def _embeddings(config: EncoderConfig, weights: Parameters, given: Packed) -> Node:
    size = config.hidden_size
    words = weights.constant("embeddings.word_embeddings.weight", (config.vocab_size, size))
    types = weights.array("embeddings.token_type_embeddings.weight", (config.type_vocab_size, size))
    table = weights.array("embeddings.position_embeddings.weight", (config.max_position_embeddings, size))
    x = op.gather(words, given.ids, op.constant(0))
    if given.kinds is None:  # every token has type 0: one table instead of two
        table = table + types[0]
    else:
        x = op.add(x, op.gather(op.constant(types), given.kinds, op.constant(0)))
    x = op.add(x, op.gather(op.constant(table), given.positions, op.constant(0)))
    return weights.layer_norm(x, "embeddings.LayerNorm", size, config.layer_norm_eps)


def _layer(
    config: EncoderConfig, weights: Parameters, name: str, x: Node, given: Packed, bias: Node, only: Node | None
) -> Node:
    size, inner, epsilon = config.hidden_size, config.intermediate_size, config.layer_norm_eps
    asked = x if only is None else take(x, only)
    attended = _attention(config, weights, f"{name}attention.self.", x, asked, given, bias)
    attended = weights.linear(attended, f"{name}attention.output.dense", size, size)
    asked = weights.layer_norm(op.add(attended, asked), f"{name}attention.output.LayerNorm", size, epsilon)
    hidden = activation(config.hidden_act, weights.linear(asked, f"{name}intermediate.dense", size, inner))
    hidden = weights.linear(hidden, f"{name}output.dense", inner, size)
    return weights.layer_norm(op.add(hidden, asked), f"{name}output.LayerNorm", size, epsilon)


def _attention(
    config: EncoderConfig, weights: Parameters, name: str, x: Node, asked: Node, given: Packed, bias: Node
) -> Node:
    """(tokens, hidden), or (rows, hidden) where one token a row is ``asked``."""
    size, heads, width = config.hidden_size, config.num_attention_heads, config.head_dim

    def split(y: Node) -> Node:  # (tokens, hidden) -> (rows, heads, width of the rows, head width)
        return op.transpose(op.reshape(given.parted(y), integers(0, 0, heads, width), True), integers(0, 2, 1, 3))

    query = weights.linear(asked, f"{name}query", size, size)
    key, value = (split(weights.linear(x, f"{name}{part}", size, size)) for part in ("key", "value"))
    if asked is x:
        query = split(query)
    else:
        query = op.unsqueeze(op.reshape(query, integers(0, heads, width), True), op.constant(2))
    mixed = op.scaled_dot_product_attention(query, key, value, bias, scalar(width**-0.5), causal=False)
    mixed = op.reshape(op.transpose(mixed, integers(0, 2, 1, 3)), integers(0, 0, size), True)
    return given.joined(mixed) if asked is x else op.squeeze(mixed, integers(1))
