"""Which token texts have to end with where the last token is pooled: a card's word, or tokenizer_config.json's.

The state of that token is the vector. Whether a tokenizer adds it is another matter: tokenizer_config.json may ask for
it where tokenizer.json does not do it, and libraries and releases differ in which of the two they follow.
"""

from __future__ import annotations

from pathlib import Path

from lagotto.cards.json_files import optional_json
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import CheckpointError


def read_end_token(folder: Path, card: ModelCard) -> str:
    """The token, or nothing where no text needs one.

    Raises `CheckpointError` where tokenizer_config.json has ``add_eos_token`` and no ``eos_token``.
    """
    if card.pooling != "last_token":
        return ""
    config = optional_json(folder / "tokenizer_config.json")
    if card.end_token or config.get("add_eos_token") is not True:
        return card.end_token
    named = config.get("eos_token")
    text = named.get("content") if isinstance(named, dict) else named
    if not isinstance(text, str) or not text:
        raise CheckpointError(
            f"{folder / 'tokenizer_config.json'}: add_eos_token is true, but eos_token is {named!r}; name the token"
        )
    return text
