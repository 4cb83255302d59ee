"""`Template`: the special tokens that a tokenizer puts around one text and around a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lagotto.core.errors import CheckpointError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around one text and around a pair, found by asking the tokenizer itself."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    between: tuple[int, ...]
    """Between the two texts of a pair: ``[SEP]``, or ``</s></s>``."""
    second_offset: int | None
    """How many of ``between`` belong to the first segment; None where both texts have token type 0 (XLM-RoBERTa)."""


def find_template(rust: RustTokenizer, path: Path) -> Template:
    """Special tokens around texts, read off two probes, so that every kind of post-processor is understood."""
    first, second = _probes(rust, path)
    single = rust.encode(_PROBES[0]).ids
    at = _find(single, first, path)
    encoded = rust.encode(_PROBES[0], _PROBES[1])
    pair, types = encoded.ids, encoded.type_ids
    start = _find(pair, first, path)
    middle = start + len(first)
    behind = _find(pair[middle:], second, path) + middle
    prefix, suffix = tuple(single[:at]), tuple(single[at + len(first) :])
    if tuple(pair[:start]) != prefix or tuple(pair[behind + len(second) :]) != suffix:
        raise CheckpointError(f"{path}: special tokens around a pair differ from those around one text; not supported")
    ones = [i for i in range(middle, len(pair)) if types[i] == 1]
    return Template(prefix, suffix, tuple(pair[middle:behind]), ones[0] - middle if ones else None)


_PROBES = ("a", "b")


def _probes(rust: RustTokenizer, path: Path) -> tuple[list[int], list[int]]:
    first, second = (rust.encode(text, add_special_tokens=False).ids for text in _PROBES)
    if not first or not second:
        raise CheckpointError(f"{path} gives no tokens for {_PROBES}: its vocabulary is empty")
    return first, second


def _find(ids: list[int], part: list[int], path: Path) -> int:
    for at in range(len(ids) - len(part) + 1):
        if ids[at : at + len(part)] == part:
            return at
    raise CheckpointError(f"{path}: special tokens change the tokens of a text; not supported")
