"""The graph of a language model that reads pairs: what pairs begin with goes through the layers once.

The tokens of the prefixes and those of the rows lie one behind another; only attention takes them apart.
"""

from __future__ import annotations

import numpy as np
from openvino import Model, Node

from lagotto.cards.decoder_config import DecoderConfig
from lagotto.engines.openvino.decoder import by_head, by_token, layers, spread
from lagotto.engines.openvino.ops import Parameters, count, integers, op, scalar, unseen
from lagotto.engines.openvino.packing import parameter


def pair_decoder(config: DecoderConfig, longest: int, weights: Parameters) -> Model:
    """(rows, hidden) states of the rows' last tokens behind the last layer, not yet normalised.

    Inputs are those of `Shared`, int32: ``prefixes`` (prefixes, tokens), ``prefix_lengths`` (prefixes,), ``owner``
    (rows,), ``rest`` (rows, tokens), ``lengths`` (rows,). Positions go up to ``longest``.
    """
    prefixes, rest = parameter("prefixes", 2), parameter("rest", 2)
    begins, owner, lengths = (parameter(name, 1) for name in ("prefix_lengths", "owner", "lengths"))
    ids = op.concat([op.reshape(part, integers(-1), False) for part in (prefixes, rest)], 0)
    pairs = _Pairs(config, prefixes, begins, owner, rest, lengths)
    positions = op.minimum(pairs.positions, op.constant(longest - 1, np.int32))  # padding may lie beyond them
    states = layers(config, longest, weights, ids, positions, pairs, pairs.last)
    result = op.result(op.convert(states, "f32"))
    return Model([result], [prefixes, begins, owner, rest, lengths], f"{config.architecture} pairs")


class _Pairs:
    """A token sees those before it in its row, and the prefix that the row continues."""

    def __init__(
        self, config: DecoderConfig, prefixes: Node, begins: Node, owner: Node, rest: Node, lengths: Node
    ) -> None:
        self._config, self._owner = config, owner
        self._shapes = op.shape_of(prefixes, "i64"), op.shape_of(rest, "i64")
        first, place = (count(shape, axis=1) for shape in self._shapes)  # (tokens,) int32: 0, 1, 2 ...
        begin = op.unsqueeze(op.gather(begins, owner, op.constant(0)), op.constant(1))  # (rows, 1)
        parts = op.broadcast(op.unsqueeze(first, op.constant(0)), self._shapes[0]), op.add(begin, place)
        self.positions = op.concat([op.reshape(part, integers(-1), False) for part in parts], 0)
        """(all tokens,) int32"""
        self._before = op.reduce_prod(self._shapes[0], integers(0), True)  # tokens of the prefixes, padding counted
        self._ends = op.subtract(lengths, op.constant(1, np.int32))
        rows, tokens = (op.gather(self._shapes[1], integers(axis), op.constant(0)) for axis in range(2))  # (1,) int64
        given = op.gather(self._shapes[0], integers(1), op.constant(0))
        row = op.multiply(count(self._shapes[1], axis=0), op.convert(tokens, "i32"))  # (rows,) int32
        start = op.add(op.convert(self._before, "i32"), row)
        self.last = op.add(start, self._ends)
        """(rows,) int32 which of all tokens is a row's last one"""
        seen = op.less(op.unsqueeze(first, op.constant(0)), begin)  # (rows, prefix tokens)
        earlier = op.less_equal(op.unsqueeze(place, op.constant(0)), op.unsqueeze(place, op.constant(1)))
        masks = [
            op.broadcast(op.unsqueeze(seen, op.constant(1)), op.concat([rows, tokens, given], 0)),
            op.broadcast(op.unsqueeze(earlier, op.constant(0)), op.concat([rows, tokens, tokens], 0)),
        ]
        bias = unseen(op.concat(masks, 2))
        self._bias = op.unsqueeze(bias, op.constant(1))  # (rows, 1, tokens, prefix tokens + tokens)

    def __call__(self, query: Node, key: Node, value: Node, single: bool) -> Node:
        config, bias = self._config, self._bias
        (first_key, key), (first_value, value) = self._apart(key), self._apart(value)
        keys, values = (
            spread(config, op.concat([op.gather(first, self._owner, op.constant(0)), own], 2))
            for first, own in ((first_key, key), (first_value, value))
        )
        scale = scalar(config.attention_scale)
        if single:
            bias = op.gather(bias, op.unsqueeze(self._ends, op.constant(1)), op.constant(2), 1)  # (rows, 1, 1, keys)
            query = op.unsqueeze(query, op.constant(2))
            mixed = op.scaled_dot_product_attention(query, keys, values, bias, scale, causal=False)
            return op.squeeze(by_token(config, mixed), integers(1))
        first_query, query = self._apart(query)
        first = (first_query, spread(config, first_key), spread(config, first_value))
        mixed = [
            op.scaled_dot_product_attention(*first, causal=True),  # scaled by the head's width
            op.scaled_dot_product_attention(query, keys, values, bias, scale, causal=False),
        ]
        size = config.num_attention_heads * config.head_dim
        return op.concat([op.reshape(by_token(config, part), integers(-1, size), False) for part in mixed], 0)

    def _apart(self, x: Node) -> tuple[Node, Node]:
        """(all tokens, heads, width) -> (prefixes, heads, tokens, width) and (rows, heads, tokens, width)."""
        parts = op.variadic_split(x, op.constant(0), op.concat([self._before, integers(-1)], 0)).outputs()
        tail = op.gather(op.shape_of(x, "i64"), integers(1, 2), op.constant(0))
        first, own = (
            by_head(op.reshape(part, op.concat([shape, tail], 0), False))
            for part, shape in zip(parts, self._shapes, strict=True)
        )
        return first, own
