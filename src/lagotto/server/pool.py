"""`ModelPool`: the models a server may use, each loaded once however many requests race for it."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from lagotto.batch.demand import Demand
from lagotto.cards.schema import Task
from lagotto.core.errors import InvalidInputError, ModelLoadingError, ModelNotAllowedError
from lagotto.models.embedder import Embedder
from lagotto.models.opening import open_any, task_of
from lagotto.models.reranker import Reranker
from lagotto.server.admission import Admission
from lagotto.server.cache import VectorCache
from lagotto.server.catalogue import Offer, offers
from lagotto.server.inline import run_inline
from lagotto.server.judge import AnyReranker, Judge, open_judge
from lagotto.server.record import current_record
from lagotto.server.served import Served, ServedEmbedder, ServedReranker, with_adapter
from lagotto.server.settings import Settings
from lagotto.server.slots import Model, Slot, Slots, fetch

logger = logging.getLogger(__name__)
T = TypeVar("T")

_THREADS = 64
"""Requests computed or waiting for the engine at once; they hardly cost anything while they wait."""
_BULK_THREADS = 16
"""The same for bulk requests, which may wait long and keep no thread from the others."""
_LAST_SECONDS = 2.0
"""How long `close` waits for the batches that are being computed."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name clients may use. A model with several names or adapters has several entries, which share its slot."""

    public: str
    slot: Slot
    adapter: str | None = None
    """The live adapter that the name asks for."""

    @property
    def offer(self) -> Offer:
        """What it stands for."""
        return self.slot.offer

    @property
    def created(self) -> int:
        """When the server began to offer it, in seconds since 1970."""
        return self.slot.created

    @property
    def model(self) -> Model | None:
        """The model, with the adapter, where it is in memory."""
        model = self.slot.model
        return None if model is None else self.of(model)

    @property
    def parent(self) -> str | None:
        """The name of the model that an adapter belongs to, by the same one of its names."""
        return None if self.adapter is None else self.public.removesuffix(f":{self.adapter}")

    @property
    def sources(self) -> tuple[str, ...]:
        """What is opened for it and for nothing else; nothing for a language model elsewhere."""
        if self.offer.judge is not None:
            return ()
        options = self.offer.options
        if self.adapter is not None:
            return (str((options.adapters or {})[self.adapter]),)
        return (self.offer.source,) if options.adapter is None else (self.offer.source, str(options.adapter))

    def of(self, model: Model) -> Model:
        """What the slot's model is with the adapter."""
        if self.adapter is None:
            return model
        assert isinstance(model, Served)  # as `ModelPool` opens all of them
        return with_adapter(model, self.adapter)

    @property
    def admission(self) -> Admission:
        """Bounds what may wait for the model, by whichever of its names."""
        return self.slot.admission

    def speed(self) -> float:
        """Tokens a second, as the engine has measured; 0 when it has not."""
        model = self.slot.model
        return 0.0 if model is None or isinstance(model, Judge) else model.stats().tokens_per_second


@dataclass(frozen=True, slots=True)
class Changes:
    """What new settings changed about the models, by their names."""

    added: list[str]
    removed: list[str]
    changed: list[str]


class ModelPool:
    """Allowed models by name, and the threads that use them."""

    def __init__(self, settings: Settings, cache: VectorCache | None = None) -> None:
        self._settings = settings
        self._cache = cache
        self.slots = Slots(self._open, fetch=fetch)
        self.slots.budget = _budget(settings)
        self.entries = _entries([_slot(offer, settings) for offer in offers(settings)])
        self._lock = threading.Lock()
        self._changing = threading.Lock()
        self.running = 0
        """Requests that compute or wait for the engine at this moment."""
        self.left_behind = False
        """Whether `close` has left threads at work, which would hold the process until they end."""
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="lagotto-request")
        self._bulk_threads = ThreadPoolExecutor(_BULK_THREADS, thread_name_prefix="lagotto-bulk")

    def start(self) -> None:
        """Load the models that were named by the operator, one after another."""
        for entry in list(self.entries.values()):
            if entry.offer.eager:
                self.slots.load(entry.slot).result()
        self.slots.start()

    async def embedder(self, name: str) -> Embedder:
        """An allowed embedder, kept in memory until the request that asks has been answered.

        Raises `ModelNotAllowedError`, `InvalidInputError` for a model of another kind, `PermissionDeniedError`,
        `MemoryBudgetError`, `ModelLoadingError`.
        """
        if (record := current_record()) is not None:
            record.require("embed")
        model = await self._get(name)
        if not isinstance(model, Embedder):
            raise InvalidInputError(f"model {name!r} is a reranker; it answers at /v1/rerank, not here", param="model")
        return model

    async def reranker(self, name: str | None) -> tuple[str, AnyReranker]:
        """An allowed reranker and its public name; without a name, the only one there is. Raises as `embedder` does."""
        if (record := current_record()) is not None:
            record.require("rerank")
        chosen = await self.compute(self._only_reranker) if name is None else name
        model = await self._get(chosen)
        if isinstance(model, Embedder):
            raise InvalidInputError(
                f"model {chosen!r} is an embedder; it answers at /v1/embeddings, not here", param="model"
            )
        return chosen, model

    async def is_embedder(self, name: str) -> bool:
        """Whether a name is that of an allowed embedder, loaded or not."""
        entry = self.entries.get(name)
        return entry is not None and await self.compute(lambda: self._is(entry, "embed"))

    async def first(self, task: Task) -> str:
        """The first model for a task, in the order of `entries`, loaded or not. Raises `InvalidInputError` without one.

        For requests that can't name a model; the answer never depends on who asked before.
        """
        found = await self.compute(lambda: next((e.public for e in self._own() if self._is(e, task)), None))
        if found is None:
            kind = "embedder" if task == "embed" else "reranker"
            raise InvalidInputError(f"this server offers no {kind}; GET /v1/models lists what it does", param="model")
        return found

    async def compute(
        self,
        work: Callable[[], T],
        *,
        bulk: bool = False,
        inline: Demand | None = None,
        threads: Executor | None = None,
    ) -> T:
        """Run work in a thread, so that the event loop stays free; in one of ``threads`` where a model has its own.

        ``inline``: the demand of work so small that it may run on the event loop, see `run_inline`. It still gets a
        thread where vectors are kept in a file, which may have to be waited for.
        """
        record = current_record()
        if record is not None and record.queued is None:
            record.queued = time.monotonic()

        def counted() -> T:
            if record is not None and record.computing is None:
                record.computing = time.monotonic()
            with self._lock:
                self.running += 1
            try:
                return work()
            finally:
                with self._lock:
                    self.running -= 1

        context = contextvars.copy_context()  # whoever works does so for this request
        if inline is not None and (self._cache is None or self._cache.disk is None):
            return await run_inline(counted, inline, context)
        threads = threads or (self._bulk_threads if bulk else self._threads)
        return await asyncio.get_running_loop().run_in_executor(threads, context.run, counted)

    def change(self, settings: Settings) -> Changes:
        """Offer what new settings say: what is new is loaded first, what is gone is unloaded when nobody uses it.

        Blocks while models are loaded. Raises `ConfigError`, and whatever loading raises; then nothing has changed.
        """
        with self._changing:
            before = self.entries
            kept = {id(entry.slot): entry.slot for entry in before.values()}
            slots = [
                next((slot for slot in kept.values() if slot.offer == offer), None) or _slot(offer, settings)
                for offer in offers(settings)
            ]
            after = _entries(slots)
            self._settings, old = settings, self._settings
            self.slots.budget = _budget(settings)
            try:
                self._load_new([slot for slot in slots if id(slot) not in kept])
            except BaseException:
                self._settings = old
                self.slots.budget = _budget(old)
                raise
            self.entries = after
            for slot in kept.values():
                slot.admission.max_tokens = settings.max_queue_tokens
                if slot not in slots:
                    self.slots.retire(slot)
        return Changes(
            sorted(set(after) - set(before)),
            sorted(set(before) - set(after)),
            sorted(name for name in set(after) & set(before) if after[name].slot is not before[name].slot),
        )

    def close(self) -> None:
        """Free every model. Work that still runs now has outlasted its grace period and is left behind."""
        if self.running:
            logger.warning("%d requests outlasted the grace period and are dropped", self.running)
        if self.slots.opening:
            logger.warning("a model was still being loaded, and is dropped")
        idle = not self.busy
        for threads in (self._threads, self._bulk_threads):
            threads.shutdown(wait=idle, cancel_futures=not idle)
        # What a request asked for may still be computed when the request is gone, and can't be stopped.
        closing = threading.Thread(target=self.slots.close, args=(idle,), name="lagotto-close", daemon=True)
        closing.start()
        closing.join(_LAST_SECONDS)
        self.left_behind = not idle or closing.is_alive()

    @property
    def busy(self) -> bool:
        """Whether anything runs that can't be broken off: computing, or the loading of a model."""
        return self.running > 0 or self.slots.opening

    def loaded(self) -> list[Entry]:
        """The models in memory, each once."""
        return [entry for entry in self._own() if entry.model is not None]

    def answering(self) -> list[Entry]:
        """The models in memory, each followed by those that it is with its adapters."""
        own = {entry.public for entry in self.loaded()}
        return [entry for entry in self.entries.values() if (entry.parent or entry.public) in own]

    def _own(self) -> list[Entry]:
        """Every model once, under the first of its names."""
        return [entry for entry in self.entries.values() if entry.public == entry.offer.public]

    async def _get(self, name: str) -> Model:
        entry = self.entries.get(name)
        if entry is None:
            known = ", ".join(sorted(self.entries)) or "none"
            raise ModelNotAllowedError(f"model {name!r} is not served here; this server allows: {known}")
        slot, record = entry.slot, current_record()
        self.slots.hold(slot)
        try:
            model = slot.model
            if model is None:
                model = await self._loaded_in_time(name, slot)
        except BaseException:
            self.slots.release(slot)
            raise
        if record is None:
            self.slots.release(slot)
        else:
            record.model = name
            record.at_end(lambda: self.slots.release(slot))
        return entry.of(model)

    async def _loaded_in_time(self, name: str, slot: Slot) -> Model:
        """A model when it is loaded. Waiting holds no thread, and who goes away cancels nobody else's loading."""
        loading = asyncio.wrap_future(self.slots.load(slot))
        loading.add_done_callback(_heard)
        await asyncio.wait({loading}, timeout=self._settings.loading_wait_seconds)
        if loading.done():
            return loading.result()
        since = time.monotonic() - slot.loading_since
        raise ModelLoadingError(f"model {name!r} is still being loaded, for {since:.0f} s now", retry_after=since)

    def _open(self, offer: Offer) -> Model:
        if offer.judge is not None:
            return open_judge(offer.public, offer.judge, self._max_characters)
        model = open_any(offer.source, offer.options)
        if isinstance(model, Reranker):
            return ServedReranker(model, self._max_characters)
        return ServedEmbedder(model, self._cache, self._max_characters, offer.prompts)

    def _max_characters(self) -> int | None:
        return self._settings.max_text_characters

    def _load_new(self, slots: list[Slot]) -> None:
        """Load models that are to be there from the start. Raises the first failure, with all of them closed again."""
        loading = [(slot, self.slots.load(slot)) for slot in slots if slot.offer.eager]
        failures = [error for _, future in loading if (error := future.exception()) is not None]
        if failures:
            for slot, _ in loading:
                self.slots.retire(slot)
            raise failures[0]

    def _only_reranker(self) -> str:
        """The one reranker of all that are allowed, loaded or not, so that the answer never depends on who asked."""
        rerankers = [entry.public for entry in self._own() if self._is(entry, "rerank")]
        if len(rerankers) != 1:
            choices = ", ".join(rerankers) or "none"
            raise InvalidInputError(
                f"'model' is missing, and the rerankers here are not exactly one ({choices}); name one", param="model"
            )
        return rerankers[0]

    def _is(self, entry: Entry, task: Task) -> bool:
        model = entry.model
        if model is not None:
            return isinstance(model, Embedder) == (task == "embed")
        if entry.offer.judge is not None:
            return task == "rerank"
        try:
            return task_of(entry.offer.source, entry.offer.options) == task
        except Exception as error:  # a stored folder that can't be read is no reason to refuse the others
            logger.warning("%s can't be read: %s", entry.public, error)
            return False


def _entries(slots: list[Slot]) -> dict[str, Entry]:
    return {name: Entry(name, slot, adapter) for slot in slots for name, adapter in slot.offer.served}


def _slot(offer: Offer, settings: Settings) -> Slot:
    most = None if offer.judge is None else offer.judge.max_requests
    return Slot(offer, Admission(settings.max_queue_tokens, most))


def _heard(loading: asyncio.Future[Model]) -> None:
    """Take note of a failure that nobody waits for any more; the next request tries again."""
    if not loading.cancelled():
        loading.exception()


def _budget(settings: Settings) -> int | None:
    return None if settings.memory_budget_mb is None else settings.memory_budget_mb << 20
