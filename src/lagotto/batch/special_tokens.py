"""Which ids are special tokens, by the names in tokenizer_config.json."""

from __future__ import annotations

from pathlib import Path

from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.json_files import read_json
from lagotto.core.errors import CheckpointError

_NAMES = ("cls_token", "eos_token", "sep_token", "bos_token", "pad_token", "unk_token")


def special_ids(folder: Path, tokenizer: Tokenizer) -> frozenset[int]:
    """Ids of the tokens that stand for no word: beginnings, ends, padding, the unknown word.

    Raises `ModelNotFoundError` without tokenizer_config.json, since then nobody says which they are.
    """
    config = read_json(folder / "tokenizer_config.json")
    texts = [config.get(name) for name in _NAMES]
    names = [text.get("content") if isinstance(text, dict) else text for text in texts]
    found = {tokenizer.token_id(name) for name in names if isinstance(name, str)}
    return frozenset(number for number in found if number is not None) | {tokenizer.pad_id}


def mask_id(folder: Path, tokenizer: Tokenizer) -> int:
    """The id of the mask token. Raises `CheckpointError` where the tokenizer has none."""
    named = read_json(folder / "tokenizer_config.json").get("mask_token")
    text = named.get("content") if isinstance(named, dict) else named
    found = tokenizer.token_id(text) if isinstance(text, str) else None
    if found is None:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'}: mask_token {text!r} is no token of tokenizer.json, and queries are "
            "filled up with it"
        )
    return found
