"""The cards that come with Lagotto: reading them, and finding one by name.

The rows are TOML files in ``cards/data``, one file for each family of models. Nothing is read until a function
here is called; the first call parses every file (some ten milliseconds), later calls use what it found. For the
same reason `tomllib`, `importlib.resources` and `difflib` are imported where they are used: each takes longer to
import than this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from types import MappingProxyType

from lagotto.cards.schema import ModelCard, card_from_row
from lagotto.core.errors import CheckpointError, InvalidInputError

HOME_OWNER = "BAAI"
"""The owner that wins when two repositories share a base name, as BGE's own names are what FlagEmbedding maps."""


@cache
def load_cards() -> Mapping[str, ModelCard]:
    """Every card by its hub id, in file order; raises `CheckpointError` for a bad row or a name listed twice."""
    cards: dict[str, ModelCard] = {}
    for source, text in _card_files():
        for card in read_cards(text, source):
            if card.name in cards:
                raise CheckpointError(f"{source}: card {card.name!r} is listed twice; keep one row for each model")
            cards[card.name] = card
    return MappingProxyType(cards)


def read_cards(text: str, source: str) -> list[ModelCard]:
    """The cards of one TOML text; `source` is named in errors."""
    import tomllib

    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CheckpointError(f"{source}: not valid TOML: {error}") from error
    rows = tables.pop("model", [])
    if tables or not isinstance(rows, list):
        raise CheckpointError(f"{source}: holds {sorted(tables) or ['model']}; only [[model]] tables are read")
    return [_read_row(row, source) for row in rows]


def find_card(name: str) -> ModelCard | None:
    """The card with this hub id; the exact spelling first, then the same letters in another case."""
    cards = load_cards()
    if name in cards:
        return cards[name]
    wanted = name.casefold()
    return next((card for card in cards.values() if card.name.casefold() == wanted), None)


def find_named(name: str) -> ModelCard | None:
    """The card of a model named as a user may name it: a hub in front (``hub:``) and a revision behind are left out."""
    return find_card(name.rpartition(":")[2].partition("@")[0])


def find_by_repo_name(basename: str) -> ModelCard | None:
    """The card whose hub id ends in ``/basename``, which is how FlagEmbedding looks a model up.

    Of two owners with the same base name BAAI wins; raises `InvalidInputError` if neither of them is BAAI.
    """
    matches = [card for card in load_cards().values() if _basename(card.name) == basename]
    if len(matches) > 1:
        matches = [card for card in matches if card.name == f"{HOME_OWNER}/{basename}"] or matches
    if len(matches) > 1:
        names = ", ".join(card.name for card in matches)
        raise InvalidInputError(f"model name {basename!r} could mean {names}; give the full name")
    return matches[0] if matches else None


def suggest(name: str, n: int = 3) -> list[str]:
    """Up to `n` hub ids close to `name`, closest first, for error messages.

    A name without an owner is compared with base names only, so that ``bge-m4`` leads to ``BAAI/bge-m3``.
    """
    import difflib

    candidates: dict[str, str] = {}
    for full_name in load_cards():
        compared = full_name if "/" in name else _basename(full_name)
        candidates.setdefault(compared.casefold(), full_name)
    return [candidates[match] for match in difflib.get_close_matches(name.casefold(), candidates, n=n)]


def _card_files() -> Iterator[tuple[str, str]]:
    from importlib import resources

    folder = resources.files("lagotto.cards") / "data"
    for file in sorted(folder.iterdir(), key=lambda entry: entry.name):
        if file.name.endswith(".toml"):
            yield file.name, file.read_text(encoding="utf-8")


def _read_row(row: object, source: str) -> ModelCard:
    if not isinstance(row, dict):
        raise CheckpointError(f"{source}: a [[model]] entry is {row!r}, must be a table")
    try:
        return card_from_row(row)
    except TypeError as error:
        # A required key that is missing, or a wrong key in [model.query] or [model.document].
        raise CheckpointError(f"{source}: card {row.get('name')!r}: {error}") from error


def _basename(name: str) -> str:
    return name.rpartition("/")[2]
