"""`ModelPool`: the models a server may use, each loaded once however many requests race for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from lagotto.cards.starter import STARTERS, is_installed
from lagotto.core.errors import ConfigError, InvalidInputError, ModelNotAllowedError
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options
from lagotto.models.opening import open_any
from lagotto.models.reranker import Reranker
from lagotto.server.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

Model = Embedder | Reranker
_THREADS = 64
"""Requests computed or waiting for the engine at once; they hardly cost anything while they wait."""


@dataclass(slots=True)
class Entry:
    """One model clients may name."""

    public: str
    """The name clients use."""
    source: str
    """What is opened: folder, hub id or starter name."""
    eager: bool
    created: int = field(default_factory=lambda: int(time.time()))
    model: Model | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


class ModelPool:
    """Allowed models by name, and the threads that use them."""

    def __init__(self, settings: Settings) -> None:
        self._options = Options(
            precision=settings.chosen_precision(),
            threads=settings.threads,
            truncation=settings.truncation,
            cache_dir=settings.cache_dir,
            models_dir=settings.model_storage_path,
            offline=settings.offline,
        )
        self.entries = {entry.public: entry for entry in _allowed(settings)}
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lagotto-request")

    def start(self) -> None:
        """Load the models that were named by the operator, one after another."""
        for entry in self.entries.values():
            if entry.eager:
                self._open(entry)

    async def embedder(self, name: str) -> Embedder:
        """An allowed embedder. Raises `ModelNotAllowedError`, or `InvalidInputError` for a model of another kind."""
        model = await self._get(name)
        if not isinstance(model, Embedder):
            raise InvalidInputError(f"model {name!r} is a reranker; it answers at /v1/rerank, not here")
        return model

    async def reranker(self, name: str | None) -> Reranker:
        """An allowed reranker; without a name, the only one there is."""
        model = await self._get(self._only_reranker() if name is None else name)
        if not isinstance(model, Reranker):
            raise InvalidInputError(f"model {name!r} is an embedder; it answers at /v1/embeddings, not here")
        return model

    async def compute(self, work: Callable[[], T]) -> T:
        """Run work in a thread, so that the event loop stays free."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def close(self) -> None:
        """Finish what runs and free every model."""
        await asyncio.to_thread(self._threads.shutdown, wait=True)
        for entry in self.entries.values():
            if entry.model is not None:
                entry.model.close()

    def loaded(self) -> list[Entry]:
        """The models in memory."""
        return [entry for entry in self.entries.values() if entry.model is not None]

    async def _get(self, name: str) -> Model:
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(sorted(self.entries)) or "none"
            raise ModelNotAllowedError(f"model {name!r} is not served here; this server allows: {known}")
        return await self.compute(lambda: self._open(entry)) if entry.model is None else entry.model

    def _open(self, entry: Entry) -> Model:
        with entry.lock:
            if entry.model is None:
                started = time.perf_counter()
                entry.model = open_any(entry.source, self._options)
                logger.info("loaded %s in %.1f s: %r", entry.public, time.perf_counter() - started, entry.model)
            return entry.model

    def _only_reranker(self) -> str:
        rerankers = [e.public for e in self.loaded() if isinstance(e.model, Reranker)]
        if len(rerankers) != 1:
            choices = ", ".join(rerankers) or "none is loaded"
            raise InvalidInputError(f"'model' is missing and there is not exactly one reranker ({choices}); name one")
        return rerankers[0]


def _allowed(settings: Settings) -> list[Entry]:
    entries = [_entry(text) for text in settings.models]
    if settings.model_storage_path is not None:
        entries += _stored(settings.model_storage_path)
    if not entries:
        entries = [Entry(f"starter:{name}", f"starter:{name}", eager=True) for name in default_starters()]
    if not entries:
        raise ConfigError(
            "no model to serve: give --model NAME, point MODEL_STORAGE_PATH at a folder of models, "
            'or install the starter models with pip install "lagotto[starter]"'
        )
    seen: set[str] = set()
    for entry in entries:
        if entry.public in seen:
            raise ConfigError(f"two models are called {entry.public!r}; give one an alias: --model ALIAS=NAME")
        seen.add(entry.public)
    return entries


def default_starters() -> list[str]:
    """Starter models whose packages are installed: what a server without settings offers."""
    return [name for name, starter in STARTERS.items() if is_installed(starter)]


def _entry(text: str) -> Entry:
    alias, _, name = text.rpartition("=")
    if not name or (alias != alias.strip()):
        raise ConfigError(f"model {text!r} is not of the form NAME or ALIAS=NAME")
    return Entry(alias or name, name, eager=True)


def _stored(path: Path) -> list[Entry]:
    """Each folder with a config.json or modules.json, directly in the store or one level below (ORG/NAME)."""
    if not path.is_dir():
        raise ConfigError(f"MODEL_STORAGE_PATH {path} is not a folder")
    found = [p.parent for pattern in ("*", "*/*") for p in sorted(path.glob(f"{pattern}/config.json"))]
    folders = [f for f in dict.fromkeys(found) if f.parent == path or not (f.parent / "config.json").is_file()]
    return [Entry(f.relative_to(path).as_posix(), str(f), eager=False) for f in folders]
