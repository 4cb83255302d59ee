"""`ModelPool`: the models a server may use, each loaded once however many requests race for it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TypeVar

from lagotto.cards.schema import Task
from lagotto.core.errors import InvalidInputError, ModelLoadingError, ModelNotAllowedError
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options
from lagotto.models.opening import open_any, task_of
from lagotto.models.reranker import Reranker
from lagotto.server.admission import Admission
from lagotto.server.catalogue import Offer, offers
from lagotto.server.settings import Settings

logger = logging.getLogger(__name__)
T = TypeVar("T")

Model = Embedder | Reranker
_THREADS = 64
"""Requests computed or waiting for the engine at once; they hardly cost anything while they wait."""
_BULK_THREADS = 16
"""The same for bulk requests, which may wait long and keep no thread from the others."""


@dataclass(slots=True)
class Entry:
    """One model clients may name."""

    offer: Offer
    admission: Admission
    created: int = field(default_factory=lambda: int(time.time()))
    model: Model | None = None
    loading: Future[Model] | None = None
    loading_since: float = 0.0

    def speed(self) -> float:
        """Tokens a second, as the engine has measured; 0 when it has not."""
        return 0.0 if self.model is None else self.model.stats().tokens_per_second

    @property
    def public(self) -> str:
        """The name clients use."""
        return self.offer.public


class ModelPool:
    """Allowed models by name, and the threads that use them."""

    def __init__(self, settings: Settings) -> None:
        self._options = Options(
            engine=settings.engine,
            device=settings.device,
            precision=settings.chosen_precision(),
            threads=settings.threads,
            truncation=settings.truncation,
            cache_dir=settings.cache_dir,
            models_dir=settings.model_storage_path,
            offline=settings.offline,
        )
        self.entries = {offer.public: Entry(offer, Admission(settings.max_queue_tokens)) for offer in offers(settings)}
        self._lock = threading.Lock()
        self.running = 0
        """Requests that compute or wait for the engine at this moment."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lagotto-request")
        self._bulk_threads = ThreadPoolExecutor(_BULK_THREADS, thread_name_prefix="lagotto-bulk")
        self._loading_wait = settings.loading_wait_seconds

    def start(self) -> None:
        """Load the models that were named by the operator, one after another."""
        for entry in self.entries.values():
            if entry.offer.eager:
                self._loading(entry).result()

    async def embedder(self, name: str) -> Embedder:
        """An allowed embedder. Raises `ModelNotAllowedError`, or `InvalidInputError` for a model of another kind."""
        model = await self._get(name)
        if not isinstance(model, Embedder):
            raise InvalidInputError(f"model {name!r} is a reranker; it answers at /v1/rerank, not here", param="model")
        return model

    async def reranker(self, name: str | None) -> tuple[str, Reranker]:
        """An allowed reranker and its public name; without a name, the only one there is."""
        chosen = await self.compute(self._only_reranker) if name is None else name
        model = await self._get(chosen)
        if not isinstance(model, Reranker):
            raise InvalidInputError(
                f"model {chosen!r} is an embedder; it answers at /v1/embeddings, not here", param="model"
            )
        return chosen, model

    async def first(self, task: Task) -> str:
        """The first model for a task, in the order of `entries`, loaded or not. Raises `InvalidInputError` without one.

        For requests that can't name a model; the answer never depends on who asked before.
        """
        found = await self.compute(lambda: next((name for name, e in self.entries.items() if self._is(e, task)), None))
        if found is None:
            kind = "embedder" if task == "embed" else "reranker"
            raise InvalidInputError(f"this server offers no {kind}; GET /v1/models lists what it does", param="model")
        return found

    async def compute(self, work: Callable[[], T], *, bulk: bool = False) -> T:
        """Run work in a thread, so that the event loop stays free."""

        def counted() -> T:
            with self._lock:
                self.running += 1
            try:
                return work()
            finally:
                with self._lock:
                    self.running -= 1

        return await asyncio.get_running_loop().run_in_executor(self._bulk_threads if bulk else self._threads, counted)

    def close(self) -> None:
        """Free every model. Work that still runs now has outlasted its grace period and is left behind."""
        if self.running:
            logger.warning("%d requests outlasted the grace period and are dropped", self.running)
            for threads in (self._threads, self._bulk_threads):
                threads.shutdown(wait=False, cancel_futures=True)
            return
        for threads in (self._threads, self._bulk_threads):
            threads.shutdown(wait=True)
        for entry in self.loaded():
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
        if entry.model is not None:
            return entry.model
        loading = asyncio.wrap_future(self._loading(entry))  # waiting for it holds no thread
        await asyncio.wait({loading}, timeout=self._loading_wait)
        if loading.done():
            return loading.result()
        loading.add_done_callback(lambda later: later.cancelled() or later.exception())  # heard by the next request
        since = time.monotonic() - entry.loading_since
        raise ModelLoadingError(f"model {name!r} is still being loaded, for {since:.0f} s now", retry_after=since)

    def _loading(self, entry: Entry) -> Future[Model]:
        """The one future of a model's loading; a failed one is tried again by the next request."""
        with self._lock:
            if entry.loading is None or (entry.loading.done() and entry.loading.exception() is not None):
                entry.loading_since = time.monotonic()
                entry.loading = self._threads.submit(self._open, entry)
            return entry.loading

    def _open(self, entry: Entry) -> Model:
        started = time.perf_counter()
        entry.model = open_any(entry.offer.source, replace(self._options, card=entry.offer.card))
        logger.info("loaded %s in %.1f s: %r", entry.public, time.perf_counter() - started, entry.model)
        return entry.model

    def _only_reranker(self) -> str:
        """The one reranker of all that are allowed, loaded or not, so that the answer never depends on who asked."""
        rerankers = [entry.public for entry in self.entries.values() if self._is(entry, "rerank")]
        if len(rerankers) != 1:
            choices = ", ".join(rerankers) or "none"
            raise InvalidInputError(
                f"'model' is missing, and the rerankers here are not exactly one ({choices}); name one", param="model"
            )
        return rerankers[0]

    def _is(self, entry: Entry, task: Task) -> bool:
        if entry.model is not None:
            return isinstance(entry.model, Reranker) == (task == "rerank")
        try:
            return task_of(entry.offer.source, replace(self._options, card=entry.offer.card)) == task
        except Exception as error:  # a stored folder that can't be read is no reason to refuse the others
            logger.warning("%s can't be read: %s", entry.public, error)
            return False
