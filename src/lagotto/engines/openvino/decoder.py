"""The decoder graph: Llama, Mistral, Qwen2 and Qwen3, hidden states in the end.

Source of the computation: Touvron et al. 2023 and the Qwen2 and Qwen3 reports, as written in transformers'
``modeling_llama.py``, ``modeling_qwen2.py`` and ``modeling_qwen3.py``. There is no cache of keys and values: an
embedder reads each text once.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from openvino import Node

from lagotto.cards.decoder_config import DecoderConfig
from lagotto.engines.openvino.encoder import Inputs, pick
from lagotto.engines.openvino.ops import Parameters, integers, op, scalar

MASKED = -1e9
"""Added to the scores of what is not seen; finite, as in `encoder`."""


def decoder(config: DecoderConfig, longest: int, weights: Parameters, given: Inputs, only: Node | None = None) -> Node:
    """Normalised hidden states of the last layer, (batch, tokens, hidden), of texts of up to ``longest`` tokens.

    Padding stands behind a text, and tokens see only those before them, so it needs no mask. ``only`` (batch,) int32
    names the one token a row whose state is wanted: the last layer computes queries and all that follows for it alone,
    and the result is (batch, 1, hidden).
    """
    words = weights.constant("embed_tokens.weight", (config.vocab_size, config.hidden_size))
    x = op.gather(words, given.ids, op.constant(0))
    turns = _turns(config, longest, given.places)
    last = config.num_hidden_layers - 1
    for layer in range(config.num_hidden_layers):
        x = _layer(config, weights, f"layers.{layer}.", x, turns, given.places, only if layer == last else None)
    return rms_norm(x, weights, "norm", config.hidden_size, config.rms_norm_eps)


Turns = tuple[Node, Node]
"""Cosines and sines, (1, 1, tokens, head width) each."""


def _turns(config: DecoderConfig, longest: int, places: Node) -> Turns:
    """The angles of all positions, from a table: bfloat16, which counts no further than 256, could not compute them."""

    def of(table: NDArray[np.float32]) -> Node:
        rows = op.gather(op.constant(table), places, op.constant(0))  # (1, tokens, head width)
        return op.unsqueeze(rows, op.constant(1))

    cosines, sines = angles(config, longest)
    return of(cosines), of(sines)


def angles(config: DecoderConfig, longest: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(positions, head width) cosines and sines of the angles that queries and keys are turned by."""
    half = config.head_dim // 2
    slowness = config.rotary.theta ** -(np.arange(half) / half)
    turns = np.arange(longest)[:, None] * slowness  # float64
    turns = np.concatenate([turns, turns], axis=1)
    return np.cos(turns).astype(np.float32), np.sin(turns).astype(np.float32)


def _layer(
    config: DecoderConfig, weights: Parameters, name: str, x: Node, turns: Turns, places: Node, only: Node | None
) -> Node:
    size, inner, epsilon = config.hidden_size, config.intermediate_size, config.rms_norm_eps
    normal = rms_norm(x, weights, f"{name}input_layernorm", size, epsilon)
    asked = x if only is None else pick(x, only)
    x = op.add(asked, _attention(config, weights, f"{name}self_attn.", normal, turns, places, only))
    normal = rms_norm(x, weights, f"{name}post_attention_layernorm", size, epsilon)
    gate = weights.linear(normal, f"{name}mlp.gate_proj", size, inner, bias=False)
    up = weights.linear(normal, f"{name}mlp.up_proj", size, inner, bias=False)
    return op.add(x, weights.linear(op.multiply(op.swish(gate), up), f"{name}mlp.down_proj", inner, size, bias=False))


def _attention(
    config: DecoderConfig, weights: Parameters, name: str, x: Node, turns: Turns, places: Node, only: Node | None
) -> Node:
    size, heads, shared, width = (
        config.hidden_size,
        config.num_attention_heads,
        config.num_key_value_heads,
        config.head_dim,
    )

    def split(part: str, given: Node, number: int) -> Node:
        """(batch, tokens, hidden) -> (batch, heads, tokens, head width)."""
        y = weights.linear(given, f"{name}{part}_proj", size, number * width, config.qkv_bias)
        y = op.reshape(y, integers(0, 0, number, width), True)
        if config.head_norms and part != "v":
            y = rms_norm(y, weights, f"{name}{part}_norm", width, config.rms_norm_eps)
        return op.transpose(y, integers(0, 2, 1, 3))

    key, value = turned(split("k", x, shared), turns), split("v", x, shared)
    key, value = (repeated(y, heads // shared) for y in (key, value))
    if only is None:
        query = turned(split("q", x, heads), turns)
        mixed = op.scaled_dot_product_attention(query, key, value, causal=True)  # scaled by the head's width
    else:
        query = turned(split("q", pick(x, only), heads), _turns_at(turns, only))
        seen = op.less_equal(places, op.unsqueeze(only, op.constant(1)))  # (batch, tokens)
        bias = op.unsqueeze(op.unsqueeze(op.select(seen, scalar(0.0), scalar(MASKED)), op.constant(1)), op.constant(1))
        mixed = op.scaled_dot_product_attention(query, key, value, bias, scalar(width**-0.5), causal=False)
    mixed = op.reshape(op.transpose(mixed, integers(0, 2, 1, 3)), integers(0, 0, heads * width), True)
    return weights.linear(mixed, f"{name}o_proj", heads * width, size, bias=False)


def _turns_at(turns: Turns, only: Node) -> Turns:
    """The angles of one position a row, (batch, 1, 1, head width)."""
    flat = (op.squeeze(part, integers(0, 1)) for part in turns)  # (tokens, head width)
    at = op.unsqueeze(op.unsqueeze(only, op.constant(1)), op.constant(1))  # (batch, 1, 1)
    cosines, sines = (op.gather(part, at, op.constant(0)) for part in flat)
    return cosines, sines


def turned(x: Node, turns: Turns) -> Node:
    """Rotary positions: pairs of numbers, half a head apart, turned by their position's angle."""
    cosines, sines = turns
    first, second = op.split(x, op.constant(-1), 2).outputs()
    swapped = op.concat([op.multiply(second, scalar(-1.0)), first], -1)
    return op.add(op.multiply(x, cosines), op.multiply(swapped, sines))


def repeated(x: Node, times: int) -> Node:
    """Each head ``times`` times: (batch, heads, tokens, width) -> (batch, heads x times, tokens, width)."""
    if times == 1:
        return x
    shape = op.shape_of(x)  # (4,) int64
    parts = [op.gather(shape, integers(at), op.constant(0)) for at in range(4)]
    wide = op.broadcast(op.unsqueeze(x, op.constant(2)), op.concat([*parts[:2], integers(times), *parts[2:]], 0))
    return op.reshape(wide, op.concat([parts[0], op.multiply(parts[1], integers(times)), *parts[2:]], 0), False)


def rms_norm(x: Node, weights: Parameters, name: str, size: int, epsilon: float) -> Node:
    """x / sqrt(mean(x^2) + epsilon) * weight over the last axis."""
    mean = op.reduce_mean(op.power(x, scalar(2.0)), integers(-1), True)
    normal = op.multiply(x, op.divide(scalar(1.0), op.sqrt(op.add(mean, scalar(epsilon)))))
    return op.multiply(normal, weights.constant(f"{name}.weight", (size,)))
