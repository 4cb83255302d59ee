"""`Slots`: the models in memory. Opens them one at a time, and unloads what is idle for long or in another's way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from lagotto.cards.llm_rerankers import has_layers
from lagotto.cards.sources import Source
from lagotto.core.errors import LagottoError, MemoryBudgetError
from lagotto.core.memory import release_memory, resident_bytes
from lagotto.engines.low_bits import packed_size
from lagotto.models.embedder import Embedder
from lagotto.models.finding import find_adapters, find_source
from lagotto.models.reranker import Reranker
from lagotto.server.admission import Admission
from lagotto.server.catalogue import Offer
from lagotto.server.judge import AnyReranker

logger = logging.getLogger(__name__)

Model = Embedder | AnyReranker
State = Literal["loaded", "loading", "failed", "idle"]
"""Of a model: in memory, on its way there, not to be loaded the last time, not in memory."""
_BEAT = 1.0
"""Seconds between two looks for models that nobody uses."""
_COME_AGAIN = 5.0
_FETCHES = 2
"""Models whose files are fetched or converted side by side."""


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one model, loaded or not."""

    offer: Offer
    admission: Admission
    """Bounds what may wait for it; a model with several names has one queue."""
    created: int = field(default_factory=lambda: int(time.time()))
    model: Model | None = None
    loading: Future[Model] | None = None
    loading_since: float = 0.0
    """When its loading was last asked for, a reading of `time.monotonic`."""
    users: int = 0
    """Requests that hold it; it is not unloaded while there are any."""
    last_used: float = 0.0
    """A reading of `time.monotonic`."""
    bytes: int = 0
    """Memory that loading it took, measured the last time; 0 when it never was loaded. See `_size`."""
    retired: bool = False
    """No longer offered: unloaded when its last request has ended."""

    @property
    def failure(self) -> BaseException | None:
        """Why it could not be loaded the last time it was tried; None where it could, or was not tried."""
        loading = self.loading
        return loading.exception() if loading is not None and loading.done() and not loading.cancelled() else None

    @property
    def state(self) -> State:
        """What became of it."""
        if self.model is not None:
            return "loaded"
        if self.failure is not None:
            return "failed"
        return "idle" if self.loading is None else "loading"


class Slots:
    """Opens and closes models in a thread of its own. Thread-safe.

    One is opened at a time, since what it takes is measured by the memory that the process holds before and after.
    Fetching its files may take much longer and is no reason for others to wait, so that is done before, elsewhere.
    """

    def __init__(
        self,
        open_model: Callable[[Offer], Model],
        clock: Callable[[], float] = time.monotonic,
        fetch: Callable[[Offer], object] = lambda offer: None,
    ) -> None:
        """``fetch`` has the files of a model on this machine when it returns."""
        self.budget: int | None = None
        """Bytes the process may hold when another model is loaded."""
        self.all: list[Slot] = []
        self.opening = False
        """Whether a model is being loaded at this moment."""
        self.loads = 0
        self.unloads = 0
        self._open_model = open_model
        self._fetch = fetch
        self._clock = clock
        self._lock = threading.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="lagotto-loader")
        self._fetchers = ThreadPoolExecutor(_FETCHES, thread_name_prefix="lagotto-fetcher")
        self._loading: set[Future[Model]] = set()  # those that nobody has begun to open
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_idle, name="lagotto-idle", daemon=True)

    def start(self) -> None:
        """Begin to look for models that nobody uses."""
        if not self._watch.is_alive():
            self._watch.start()

    def load(self, slot: Slot) -> Future[Model]:
        """The one future of a model's loading; a failed one is tried again by the next request."""
        with self._lock:
            failed = slot.loading is not None and slot.loading.done() and slot.loading.exception() is not None
            if slot.loading is None or failed:
                slot.loading_since = time.monotonic()
                slot.loading = Future()
                self._loading.add(slot.loading)
                self._fetchers.submit(self._fetched, slot, slot.loading)
            return slot.loading

    def hold(self, slot: Slot) -> None:
        """Keep a model in memory, once it is there, until `release`."""
        with self._lock:
            slot.users += 1

    def release(self, slot: Slot, *, used: bool = True) -> None:
        """One request less uses it; ``used=False`` for one that does not count as use."""
        with self._lock:
            slot.users -= 1
            if used:
                slot.last_used = self._clock()
            over = slot.retired and slot.users == 0
        if over:
            self._drop(slot)

    @contextmanager
    def kept(self, slot: Slot) -> Iterator[Model | None]:
        """Its model, if it is in memory, kept there meanwhile. It has been idle as long as before."""
        self.hold(slot)
        try:
            yield slot.model
        finally:
            self.release(slot, used=False)

    def retire(self, slot: Slot) -> None:
        """Unload a model that is no longer offered, as soon as nobody uses it."""
        with self._lock:
            slot.retired = True
            over = slot.users == 0
        if over:
            self._drop(slot)

    def sweep(self) -> None:
        """Unload what has been idle for longer than it is to be kept."""
        now = self._clock()
        for slot in list(self.all):
            keep = slot.offer.keep_seconds
            if keep and slot.model is not None and slot.users == 0 and now - slot.last_used >= keep:
                self._thread.submit(self._unload, slot, f"unused for {keep:g} s", now)

    def close(self, wait: bool = True) -> None:
        """End the threads, and free every model unless some still compute (``wait=False``)."""
        self._stop.set()
        for threads in (self._fetchers, self._thread):
            threads.shutdown(wait=wait, cancel_futures=True)
        with self._lock:
            left = list(self._loading)
        for loading in left:
            loading.cancel()
        if not wait:
            return
        for slot in self.all:
            if slot.model is not None:
                slot.model.close()

    def _fetched(self, slot: Slot, loading: Future[Model]) -> None:
        """Have a model's files here, then let it be opened."""
        try:
            if slot.offer.judge is None:
                self._fetch(slot.offer)
            self._thread.submit(self._opened, slot, loading)
        except BaseException as error:  # whoever waits for the model has to hear of it
            if self._begun(loading):
                loading.set_exception(error)

    def _opened(self, slot: Slot, loading: Future[Model]) -> None:
        if not self._begun(loading):
            return
        try:
            loading.set_result(self._open(slot))
        except BaseException as error:
            loading.set_exception(error)

    def _begun(self, loading: Future[Model]) -> bool:
        """Whether somebody may still wait for it: the server has not stopped meanwhile."""
        with self._lock:
            self._loading.discard(loading)
        return loading.set_running_or_notify_cancel()

    def _open(self, slot: Slot) -> Model:
        self.opening = True
        try:
            return self._brought(slot)
        finally:
            self.opening = False

    def _brought(self, slot: Slot) -> Model:
        self._make_room(slot)
        started, before = time.perf_counter(), resident_bytes()
        model = self._open_model(slot.offer)
        slot.bytes = _size(slot.offer, model, max(0, resident_bytes() - before))
        with self._lock:
            slot.model, slot.last_used = model, self._clock()
            self.loads += 1
            if slot not in self.all:
                self.all.append(slot)
            unwanted = slot.retired and slot.users == 0
        logger.info("loaded %s in %.1f s: %r", slot.offer.public, time.perf_counter() - started, model)
        if unwanted:
            self._drop(slot)
        return model

    def _make_room(self, slot: Slot) -> None:
        """Unload idle models, the least recently used first, until another one fits. Raises `MemoryBudgetError`."""
        if self.budget is None or slot.offer.judge is not None:
            return
        need = slot.bytes or weight_bytes(slot.offer)
        while resident_bytes() + need > self.budget:
            idle = [other for other in self._held() if other.users == 0 and other is not slot]
            if not idle:
                break
            self._unload(min(idle, key=lambda other: other.last_used), f"making room for {slot.offer.public}")
        else:
            return
        held, budget = resident_bytes() >> 20, self.budget >> 20
        busy = [other.offer.public for other in self._held()]
        if busy:
            raise MemoryBudgetError(
                f"{slot.offer.public} needs about {need >> 20} MB and {held} of {budget} MB are held, by models in use "
                f"({', '.join(busy)}) among others; come again when they are idle",
                retry_after=_COME_AGAIN,
            )
        logger.warning(
            "%s needs about %d MB and the process holds %d: more than memory_budget_mb = %d allows",
            slot.offer.public,
            need >> 20,
            held,
            budget,
        )

    def _held(self) -> list[Slot]:
        """Those whose models take memory."""
        return [slot for slot in self.all if slot.model is not None and slot.offer.judge is None]

    def _drop(self, slot: Slot) -> None:
        try:
            self._thread.submit(self._unload, slot, "no longer offered")
        except RuntimeError:  # the server is stopping, and `close` frees it
            return

    def _unload(self, slot: Slot, why: str, idle_since: float | None = None) -> None:
        with self._lock:
            used = idle_since is not None and slot.last_used > idle_since
            if slot.users or slot.model is None or used:
                return
            model, slot.model, slot.loading = slot.model, None, None
            self.unloads += 1
            if slot.retired:
                self.all.remove(slot)
        before = resident_bytes()
        model.close()
        del model
        release_memory()
        logger.info("unloaded %s, %s: %d MB less", slot.offer.public, why, (before - resident_bytes()) >> 20)

    def _watch_idle(self) -> None:
        while not self._stop.wait(_BEAT):
            self.sweep()


def fetch(offer: Offer) -> Source:
    """A model's files, fetched if need be, and those of its adapters. Raises what finding them raises."""
    places = offer.options.places()
    source, merged = find_source(offer.source, offer.options, places)
    find_adapters(offer.options, places, merged)
    return source


def weight_bytes(offer: Offer) -> int:
    """Size of a model's weight files, fetched if need be; 0 where there are none to be found, as opening will say."""
    try:
        folder = fetch(offer).folder
    except (LagottoError, OSError):
        return 0
    for endings in ((".safetensors",), (".bin", ".pt")):
        if found := _sizes(folder, endings):
            return sum(found)
    return 0


def _size(offer: Offer, model: Model, taken: int) -> int:
    """What a model takes: what loading it took, or what its files say where its layers are read when they are used."""
    if isinstance(model, Reranker) and has_layers(model.card) and model.engine.device == "cpu":
        return max(taken, packed_size(model.engine.weights, weight_bytes(offer)))
    return taken


def _sizes(folder: Path, endings: Sequence[str]) -> list[int]:
    return [file.stat().st_size for file in folder.rglob("*") if file.suffix in endings]
