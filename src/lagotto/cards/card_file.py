"""`chosen_card`: what ``card=`` names, a listed model or a file of the caller's own that describes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from lagotto.cards.llm_rerankers import Counted, has_layers, is_llm_reranker
from lagotto.cards.registry import find_card, read_cards, suggest
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import CheckpointError, InvalidInputError

_ASKED = ("separator", "yes_token")
_MAY_BE_ASKED = ("opening", "bare_query", "prompt", "ending", "no_token")
_EMBEDDERS = ("suffix", "example_format", "example_separator")


def is_card_file(name: str) -> bool:
    """Whether a card's name means a file."""
    return name.endswith(".toml")


def chosen_card(name: str) -> ModelCard:
    """The card that a caller chose: a listed one by its name, or a TOML file of one ``[[model]]`` (``*.toml``).

    Raises `InvalidInputError` for a name that is not listed or a file that can't be read, `CheckpointError` for a file
    that describes no model.
    """
    if is_card_file(name):
        return _read(name)
    card = find_card(name)
    if card is None:
        close = ", ".join(suggest(name)) or "none"
        raise InvalidInputError(f"card {name!r} is not listed, nor a .toml file; close names: {close}")
    return card


def _read(name: str) -> ModelCard:
    try:
        text = Path(name).expanduser().read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"card {name!r} can't be read: {getattr(error, 'strerror', None) or error}") from None
    cards = read_cards(text, name)
    if len(cards) != 1:
        raise CheckpointError(f"{name}: holds {len(cards)} [[model]] tables; a card is one")
    _check_options(cards[0], name)
    return cards[0]


def _check_options(card: ModelCard, where: str) -> None:
    """Listed rows are held to the code that reads them by tests; a file has to be held to it here."""
    if has_layers(card):
        raise CheckpointError(f"{where}: rerankers with a head a layer are described by listed cards alone; name one")
    asked = _ASKED if is_llm_reranker(card) else ()
    allowed = (*asked, *_MAY_BE_ASKED) if asked else _EMBEDDERS if card.task == "embed" else ()
    options = dict(card.options)
    counts = options.pop("max_length_counts", None) if asked else None
    if counts is not None and counts not in get_args(Counted):
        raise CheckpointError(f"{where}: max_length_counts is {counts!r}; allowed are {', '.join(get_args(Counted))}")
    if missing := [key for key in asked if key not in options]:
        raise CheckpointError(f"{where}: options of a reranker that answers yes or no lack {', '.join(missing)}")
    _check_texts(options, allowed, where)


def _check_texts(options: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for key, value in options.items():
        if key not in allowed:
            reads = ", ".join(allowed) or "none"
            raise CheckpointError(f"{where}: nothing reads option {key!r} of such a model; its options are {reads}")
        if not isinstance(value, str):
            raise CheckpointError(f"{where}: option {key} is a {type(value).__name__}; give a string")
