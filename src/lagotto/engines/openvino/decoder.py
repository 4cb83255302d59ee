"""The decoder graph: Gemma, Llama, Mistral, Qwen2 and Qwen3, hidden states in the end.

Source of the computation: Touvron et al. 2023 and the reports of Gemma, Qwen2 and Qwen3, as written in transformers'
``modeling_llama.py``, ``modeling_gemma.py``, ``modeling_qwen2.py`` and ``modeling_qwen3.py``. There is no cache of keys
and values: each text is read once.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from openvino import Node

from lagotto.cards.decoder_config import DecoderConfig
from lagotto.cards.rotary import frequencies
from lagotto.engines.openvino.ops import Parameters, activation, integers, op, scalar, unseen
from lagotto.engines.openvino.packing import Packed, take

Turns = tuple[Node, Node]
"""Cosines and sines of tokens' positions, (tokens, 1, head width) each."""


class Attend(Protocol):
    """How tokens see each other."""

    def __call__(self, query: Node, key: Node, value: Node, single: bool) -> Node:
        """(tokens, heads, head width) -> (tokens, heads x head width).

        ``single``: there is one query a row, (rows, heads, head width) -> (rows, heads x head width).
        """
        ...


def decoder(config: DecoderConfig, longest: int, weights: Parameters, given: Packed, only: Node | None = None) -> Node:
    """Normalised hidden states of the last layer, (tokens, hidden), of texts of up to ``longest`` tokens.

    ``only`` (rows,) int32 names the one token a row whose state is wanted: the last layer computes queries and all that
    follows for it alone, and the result is (rows, hidden).
    """
    x = layers(config, longest, weights, given.ids, given.positions, _Rows(config, given, only), only)
    return _rms_norm(x, weights, "norm", config.hidden_size, config)


def layers(
    config: DecoderConfig,
    longest: int,
    weights: Parameters,
    ids: Node,
    positions: Node,
    attend: Attend,
    only: Node | None = None,
) -> Node:
    """States behind the last layer, not yet normalised: (tokens, hidden), or (rows, hidden) where there is ``only``."""
    words = weights.constant("embed_tokens.weight", (config.vocab_size, config.hidden_size))
    x = op.gather(words, ids, op.constant(0))
    if config.embedding_scale != 1:
        x = op.multiply(x, scalar(config.embedding_scale))
    turns = _turns(config, longest, positions)
    last = config.num_hidden_layers - 1
    for layer in range(config.num_hidden_layers):
        x = _layer(config, weights, f"layers.{layer}.", x, turns, attend, only if layer == last else None)
    return x


def _turns(config: DecoderConfig, longest: int, positions: Node) -> Turns:
    """The angles of all positions, from a table: bfloat16, which counts no further than 256, could not compute them."""
    angles = np.arange(longest)[:, None] * frequencies(config.rotary, config.head_dim).astype(np.float64)
    angles = np.concatenate([angles, angles], axis=1)

    def of(table: NDArray[np.float64]) -> Node:
        rows = op.gather(op.constant(table.astype(np.float32)), positions, op.constant(0))
        return op.unsqueeze(rows, op.constant(1))

    return of(np.cos(angles)), of(np.sin(angles))


def _layer(
    config: DecoderConfig,
    weights: Parameters,
    name: str,
    x: Node,
    turns: Turns,
    attend: Attend,
    only: Node | None,
) -> Node:
    size, inner = config.hidden_size, config.intermediate_size
    heads, shared, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
    normal = _rms_norm(x, weights, f"{name}input_layernorm", size, config)

    def split(part: str, given: Node, number: int) -> Node:
        """(tokens, hidden) -> (tokens, heads, head width)."""
        y = weights.linear(given, f"{name}self_attn.{part}_proj", size, number * width, config.qkv_bias)
        y = op.reshape(y, integers(-1, number, width), False)
        if config.head_norms and part != "v":
            y = _rms_norm(y, weights, f"{name}self_attn.{part}_norm", width, config)
        return y

    key, value = _turned(split("k", normal, shared), turns), split("v", normal, shared)
    if only is None:
        query = _turned(split("q", normal, heads), turns)
    else:
        cosines, sines = (take(part, only) for part in turns)
        query = _turned(split("q", take(normal, only), heads), (cosines, sines))
        x = take(x, only)
    mixed = attend(query, key, value, only is not None)
    x = op.add(x, weights.linear(mixed, f"{name}self_attn.o_proj", heads * width, size, bias=False))
    normal = _rms_norm(x, weights, f"{name}post_attention_layernorm", size, config)
    gate, up = (weights.linear(normal, f"{name}mlp.{part}_proj", size, inner, bias=False) for part in ("gate", "up"))
    inside = op.multiply(activation(config.activation, gate), up)
    return op.add(x, weights.linear(inside, f"{name}mlp.down_proj", inner, size, bias=False))


class _Rows:
    """Each token sees those before it in its row.

    Padding stands behind a row, so it needs no mask but for the one query of a last layer.
    """

    def __init__(self, config: DecoderConfig, given: Packed, only: Node | None) -> None:
        self._config, self._given, self._only = config, given, only

    def __call__(self, query: Node, key: Node, value: Node, single: bool) -> Node:
        config, given = self._config, self._given
        key, value = (spread(config, by_head(given.parted(y))) for y in (key, value))
        if single:
            place = op.unsqueeze(op.subtract(self._only, given.firsts), op.constant(1))  # (rows, 1)
            bias = unseen(op.less_equal(given.places, place))  # (rows, width)
            bias = op.unsqueeze(op.unsqueeze(bias, op.constant(1)), op.constant(1))
            query, scale = op.unsqueeze(query, op.constant(2)), scalar(config.attention_scale)
            mixed = op.scaled_dot_product_attention(query, key, value, bias, scale, causal=False)
            return op.squeeze(by_token(config, mixed), integers(1))
        query = by_head(given.parted(query))
        mixed = op.scaled_dot_product_attention(query, key, value, causal=True)  # scaled by the head's width
        return given.joined(by_token(config, mixed))


def by_head(x: Node) -> Node:
    """(rows, tokens, heads, width) -> (rows, heads, tokens, width)"""
    return op.transpose(x, integers(0, 2, 1, 3))


def by_token(config: DecoderConfig, x: Node) -> Node:
    """(rows, heads, tokens, width) -> (rows, tokens, heads x width)"""
    size = config.num_attention_heads * config.head_dim
    return op.reshape(op.transpose(x, integers(0, 2, 1, 3)), integers(0, 0, size), True)


def _turned(x: Node, turns: Turns) -> Node:
    """Rotary positions: pairs of numbers, half a head apart, turned by their position's angle."""
    cosines, sines = turns
    first, second = op.split(x, op.constant(-1), 2).outputs()
    swapped = op.concat([op.multiply(second, scalar(-1.0)), first], -1)
    return op.add(op.multiply(x, cosines), op.multiply(swapped, sines))


def spread(config: DecoderConfig, x: Node) -> Node:
    """Each head as often as queries share it: (batch, key heads, tokens, width) -> (batch, heads, tokens, width)."""
    times = config.num_attention_heads // config.num_key_value_heads
    if times == 1:
        return x
    shape = op.shape_of(x)  # (4,) int64
    parts = [op.gather(shape, integers(at), op.constant(0)) for at in range(4)]
    wide = op.broadcast(op.unsqueeze(x, op.constant(2)), op.concat([*parts[:2], integers(times), *parts[2:]], 0))
    return op.reshape(wide, op.concat([parts[0], op.multiply(parts[1], integers(times)), *parts[2:]], 0), False)


def _rms_norm(x: Node, weights: Parameters, name: str, size: int, config: DecoderConfig) -> Node:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axis."""
    mean = op.reduce_mean(op.power(x, scalar(2.0)), integers(-1), True)
    normal = op.multiply(x, op.divide(scalar(1.0), op.sqrt(op.add(mean, scalar(config.rms_norm_eps)))))
    return op.multiply(normal, op.constant(weights.array(f"{name}.weight", (size,)) + np.float32(config.norm_offset)))
