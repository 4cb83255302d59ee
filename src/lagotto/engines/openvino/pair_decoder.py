"""The graph of a language model that reads pairs: the decoder's layers, with what pairs begin with computed once.

All tokens, those of the prefixes and those of the rows, lie one behind another, so that each linear layer is one
product over all of them; only attention takes them apart. Source of the computation: see `decoder`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from openvino import Model, Node

from lagotto.cards.decoder_config import DecoderConfig
from lagotto.engines.openvino.decoder import MASKED, angles, repeated, rms_norm, turned
from lagotto.engines.openvino.encoder import pick
from lagotto.engines.openvino.ops import Parameters, integers, op, scalar


@dataclass(frozen=True, slots=True)
class _Tokens:
    """What the layers need to know of the tokens."""

    prefixes: Node
    """Tokens of the prefixes, padding counted: int64 (1,)"""
    prefix_shape: Node
    """(2,) int64: prefixes, tokens"""
    shape: Node
    """(2,) int64: rows, tokens"""
    owner: Node
    """(rows,) int32"""
    last: Node
    """(rows,) int32 place of a row's last token"""
    positions: Node
    """(all tokens,) int32"""
    bias: Node
    """(rows, 1, tokens, prefix tokens + tokens) float32: 0 where a token sees another"""


def pair_decoder(config: DecoderConfig, longest: int, weights: Parameters) -> Model:
    """(rows, hidden) states of the rows' last tokens behind the last layer, not yet normalised.

    Inputs are those of `Shared`, int32: ``prefixes`` (prefixes, tokens), ``prefix_lengths`` (prefixes,), ``owner``
    (rows,), ``rest`` (rows, tokens), ``lengths`` (rows,). Positions go up to ``longest``.
    """
    prefixes, rest = _parameter("prefixes", 2), _parameter("rest", 2)
    begins, owner, lengths = (_parameter(name, 1) for name in ("prefix_lengths", "owner", "lengths"))
    tokens = _tokens(prefixes, begins, owner, rest, lengths)
    words = weights.constant("embed_tokens.weight", (config.vocab_size, config.hidden_size))
    ids = op.concat([op.reshape(part, integers(-1), False) for part in (prefixes, rest)], 0)
    x = op.gather(words, ids, op.constant(0))  # (all tokens, hidden)
    places = op.minimum(tokens.positions, op.constant(longest - 1, np.int32))  # padding may lie beyond them
    turns = tuple(
        op.unsqueeze(op.gather(op.constant(table), places, op.constant(0)), op.constant(1))  # (all tokens, 1, width)
        for table in angles(config, longest)
    )
    for layer in range(config.num_hidden_layers):
        x = _Layer(config, weights, f"layers.{layer}.", tokens, turns)(x, last=layer == config.num_hidden_layers - 1)
    result = op.result(op.convert(x, "f32"))
    return Model([result], [prefixes, begins, owner, rest, lengths], f"{config.architecture} pairs")


def _parameter(name: str, axes: int) -> Node:
    node = op.parameter([-1] * axes, np.int32, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def _tokens(prefixes: Node, begins: Node, owner: Node, rest: Node, lengths: Node) -> _Tokens:
    shapes = op.shape_of(prefixes, "i64"), op.shape_of(rest, "i64")
    in_prefix, in_row = (_count(shape) for shape in shapes)  # (tokens,) int32: 0, 1, 2 ...
    begin = op.unsqueeze(op.gather(begins, owner, op.constant(0)), op.constant(1))  # (rows, 1)
    first = op.broadcast(op.unsqueeze(in_prefix, op.constant(0)), shapes[0])
    positions = [op.reshape(part, integers(-1), False) for part in (first, op.add(begin, in_row))]
    seen = op.less(op.unsqueeze(in_prefix, op.constant(0)), begin)  # (rows, prefix tokens)
    before = op.less_equal(op.unsqueeze(in_row, op.constant(0)), op.unsqueeze(in_row, op.constant(1)))
    rows, own = (op.gather(shapes[1], integers(axis), op.constant(0)) for axis in range(2))
    given = op.gather(shapes[0], integers(1), op.constant(0))
    parts = [
        op.broadcast(op.unsqueeze(seen, op.constant(1)), op.concat([rows, own, given], 0)),
        op.broadcast(op.unsqueeze(before, op.constant(0)), op.concat([rows, own, own], 0)),
    ]
    bias = op.select(op.concat(parts, 2), scalar(0.0), scalar(MASKED))
    return _Tokens(
        op.reduce_prod(shapes[0], integers(0), True),
        shapes[0],
        shapes[1],
        owner,
        op.subtract(lengths, op.constant(1, np.int32)),
        op.concat(positions, 0),
        op.unsqueeze(bias, op.constant(1)),
    )


def _count(shape: Node) -> Node:
    tokens = op.convert(op.gather(shape, op.constant(1), op.constant(0)), "i32")
    return op.range(op.constant(0, np.int32), tokens, op.constant(1, np.int32), "i32")


class _Layer:
    """One layer's pieces of the graph."""

    def __init__(
        self, config: DecoderConfig, weights: Parameters, name: str, tokens: _Tokens, turns: tuple[Node, ...]
    ) -> None:
        self._config, self._weights, self._name = config, weights, name
        self._tokens, self._turns = tokens, turns

    def __call__(self, x: Node, last: bool) -> Node:
        """(all tokens, hidden) -> the same; of the last layer (rows, hidden), of each row's last token alone."""
        size, inner = self._config.hidden_size, self._config.intermediate_size
        attended = self._attention(self._norm(x, "input_layernorm", size), last)
        x = op.add(self._last(x) if last else x, attended)
        normal = self._norm(x, "post_attention_layernorm", size)
        gate, up = (self._linear(normal, f"mlp.{part}_proj", size, inner) for part in ("gate", "up"))
        return op.add(x, self._linear(op.multiply(op.swish(gate), up), "mlp.down_proj", inner, size))

    def _attention(self, x: Node, last: bool) -> Node:
        config, bias = self._config, self._tokens.bias
        heads, keys, width = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        (first_key, key), (first_value, value) = (self._apart(self._heads(part, x, keys)) for part in ("k", "v"))
        owner = self._tokens.owner
        key, value = (
            repeated(op.concat([op.gather(first, owner, op.constant(0)), own], 2), heads // keys)
            for first, own in ((first_key, key), (first_value, value))
        )
        if last:
            turns = tuple(op.unsqueeze(self._last(part, width), op.constant(1)) for part in self._turns)
            query = op.unsqueeze(self._heads("q", self._last(x), heads, turns), op.constant(2))
            at = op.unsqueeze(self._tokens.last, op.constant(1))
            bias = op.gather(bias, at, op.constant(2), 1)  # (rows, 1, 1, all keys)
            mixed = [self._mixed(query, key, value, bias)]
        else:
            first_query, query = self._apart(self._heads("q", x, heads))
            first_key, first_value = (repeated(part, heads // keys) for part in (first_key, first_value))
            mixed = [self._mixed(first_query, first_key, first_value), self._mixed(query, key, value, bias)]
        flat = [op.reshape(op.transpose(y, integers(0, 2, 1, 3)), integers(-1, heads * width), False) for y in mixed]
        return self._linear(op.concat(flat, 0), "self_attn.o_proj", heads * width, config.hidden_size)

    def _heads(self, part: str, x: Node, number: int, turns: tuple[Node, ...] | None = None) -> Node:
        """(tokens, hidden) -> (tokens, heads, head width), turned by their positions where they are compared."""
        config, width = self._config, self._config.head_dim
        bias = config.qkv_bias
        y = self._linear(x, f"self_attn.{part}_proj", config.hidden_size, number * width, bias)
        y = op.reshape(y, integers(-1, number, width), False)
        if part == "v":
            return y
        if config.head_norms:
            y = self._norm(y, f"self_attn.{part}_norm", width)
        cosines, sines = turns or self._turns
        return turned(y, (cosines, sines))

    def _apart(self, x: Node) -> tuple[Node, Node]:
        """(all tokens, heads, width) -> (prefixes, heads, tokens, width) and (rows, heads, tokens, width)."""
        parts = self._parted(x).outputs()
        shapes = self._tokens.prefix_shape, self._tokens.shape
        tail = op.gather(op.shape_of(x, "i64"), integers(1, 2), op.constant(0))
        first, own = (
            op.transpose(op.reshape(part, op.concat([shape, tail], 0), False), integers(0, 2, 1, 3))
            for part, shape in zip(parts, shapes, strict=True)
        )
        return first, own

    def _last(self, x: Node, width: int | None = None) -> Node:
        """(all tokens, ...) -> (rows, ...) of each row's last token."""
        shape = op.concat([self._tokens.shape, integers(width or self._config.hidden_size)], 0)
        own = op.reshape(self._parted(x).output(1), shape, False)
        return op.squeeze(pick(own, self._tokens.last), integers(1))

    def _parted(self, x: Node) -> Node:
        return op.variadic_split(x, op.constant(0), op.concat([self._tokens.prefixes, integers(-1)], 0))

    def _mixed(self, query: Node, key: Node, value: Node, bias: Node | None = None) -> Node:
        if bias is None:
            return op.scaled_dot_product_attention(query, key, value, causal=True)  # scaled by the head's width
        scale = scalar(self._config.attention_scale)
        return op.scaled_dot_product_attention(query, key, value, bias, scale, causal=False)

    def _linear(self, x: Node, part: str, size_in: int, size_out: int, bias: bool = False) -> Node:
        return self._weights.linear(x, f"{self._name}{part}", size_in, size_out, bias)

    def _norm(self, x: Node, part: str, size: int) -> Node:
        return rms_norm(x, self._weights, f"{self._name}{part}", size, self._config.rms_norm_eps)
