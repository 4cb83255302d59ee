"""Texts one behind another, as the graphs take them: nothing is computed for padding but in attention.

Linear layers, nine tenths of a model's work, do not care which text a token belongs to. Only attention does, and there
rows are laid out again for its scores alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from openvino import Node

from lagotto.batch.sequences import Batch
from lagotto.cards.model_config import ModelConfig
from lagotto.engines.openvino.ops import count, integers, op
from lagotto.engines.places import positions, token_types

MULTIPLE = 16
"""Many tokens are made up to a multiple of it, since kernels are compiled for each number,"""
_MANY = 128
"""and fewer than this are left as they are."""

Values = dict[str, NDArray[np.int32]]


def pack(batch: Batch, config: ModelConfig, multiple: int = MULTIPLE) -> Values:
    """A batch as the graph's inputs, see `Packed`."""
    sizes = np.array(batch.sizes(), np.int32)
    rows, width = len(sizes), int(sizes.max())
    place = np.arange(width, dtype=np.int32)
    real = place < sizes[:, None]
    tokens = int(sizes.sum())
    room = -(-tokens // multiple) * multiple if tokens >= _MANY else tokens

    def flat(values: NDArray[np.int32]) -> NDArray[np.int32]:
        out = np.zeros(room, np.int32)  # what makes up the number is some token that nobody looks at
        out[:tokens] = values[:, :width][real]
        return out

    firsts = np.cumsum(sizes, dtype=np.int32) - sizes
    kinds = {"kinds": flat(token_types(batch, config))} if config.type_vocab_size > 1 else {}
    return kinds | {
        "ids": flat(batch.ids),
        "positions": flat(positions(batch.ids, config)),
        "slots": flat(np.arange(rows * width, dtype=np.int32).reshape(rows, width)),
        "index": firsts[:, None] + np.minimum(place, sizes[:, None] - 1),
        "firsts": firsts,
        "lengths": batch.lengths,
    }


@dataclass(frozen=True, slots=True)
class Packed:
    """The graph's inputs, and what follows from them. All int32."""

    ids: Node
    """(tokens,)"""
    positions: Node
    """(tokens,) as the architecture counts them."""
    kinds: Node | None
    """(tokens,) 1 in the second segment of a pair; None for models that do not tell them apart."""
    slots: Node
    """(tokens,) places in rows that lie one behind another, each as wide as the widest."""
    index: Node
    """(rows, width) which token stands in a row's place; behind its end the last one again."""
    firsts: Node
    """(rows,) each row's first token."""
    lengths: Node
    """(rows,) tokens that others may see."""
    places: Node
    """(1, width): 0, 1, 2 ..."""
    mask: Node
    """(rows, width) boolean: tokens that others may see"""

    def parameters(self) -> list[Node]:
        """The graph's parameters in order."""
        given = (self.ids, self.positions, self.kinds, self.slots, self.index, self.firsts, self.lengths)
        return [node for node in given if node is not None]

    def parted(self, x: Node) -> Node:
        """(tokens, ...) -> (rows, width, ...)"""
        return op.gather(x, self.index, op.constant(0))

    def joined(self, x: Node) -> Node:
        """(rows, width, size) -> (tokens, size)"""
        size = x.get_output_partial_shape(0)[2].get_length()
        return op.gather(op.reshape(x, integers(-1, size), False), self.slots, op.constant(0))


def declare(kinds: bool) -> Packed:
    """The inputs of a graph; ``kinds``: it tells the texts of a pair apart."""
    ids, positions_, slots, firsts, lengths = (
        parameter(name, 1) for name in ("ids", "positions", "slots", "firsts", "lengths")
    )
    index = parameter("index", 2)
    places = op.unsqueeze(count(op.shape_of(index, "i64"), axis=1), op.constant(0))
    mask = op.less(places, op.unsqueeze(lengths, op.constant(1)))
    told = parameter("kinds", 1) if kinds else None
    return Packed(ids, positions_, told, slots, index, firsts, lengths, places, mask)


def parameter(name: str, axes: int) -> Node:
    """An int32 input of any sizes."""
    node = op.parameter([-1] * axes, np.int32, name=name)
    node.output(0).get_tensor().set_names({name})
    return node


def take(x: Node, tokens: Node) -> Node:
    """(tokens, ...), (rows,) -> (rows, ...): one token a row."""
    return op.gather(x, tokens, op.constant(0))
