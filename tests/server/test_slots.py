"""Models in memory: fetched side by side, opened one by one, unloaded when idle or in another's way, never in use."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import MemoryBudgetError, ModelNotFoundError
from lagotto.core.memory import resident_bytes
from lagotto.engines.base import EngineInfo
from lagotto.models.loading import Options
from lagotto.server import slots as module
from lagotto.server.admission import Admission
from lagotto.server.catalogue import Offer
from lagotto.server.slots import Slot, Slots, weight_bytes
from support.checkpoints import BERT, write_embedder

MB = 1 << 20
PATIENCE = 30


class Memory:
    """Stands for the process's memory, and for the models in it."""

    def __init__(self) -> None:
        self.held = 100 * MB
        self.sizes: dict[str, int] = {}
        self.closed: list[str] = []
        self.opened: list[str] = []

    def open(self, offer: Offer) -> Any:
        self.opened.append(offer.public)
        self.held += self.sizes[offer.public] * MB
        return Model(self, offer.public)


class Model:
    def __init__(self, memory: Memory, name: str) -> None:
        self.memory, self.name = memory, name

    def close(self) -> None:
        self.memory.closed.append(self.name)
        self.memory.held -= self.memory.sizes[self.name] * MB


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> Memory:
    memory = Memory()
    monkeypatch.setattr(module, "resident_bytes", lambda: memory.held)
    monkeypatch.setattr(module, "weight_bytes", lambda offer: memory.sizes[offer.public] * MB)
    return memory


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def slots(memory: Memory, clock: Clock) -> Iterator[Slots]:
    slots = Slots(memory.open, clock)
    yield slots
    slots.close()


@pytest.fixture
def place(memory: Memory) -> Callable[..., Slot]:
    """``place(name, megabytes, keep_seconds)``: a slot for a model of that size."""

    def place(name: str, megabytes: int = 100, keep: float = 0) -> Slot:
        memory.sizes[name] = megabytes
        return Slot(Offer(name, name, eager=False, keep_seconds=keep), Admission(1000))

    return place


def settle(slots: Slots) -> None:
    """Wait for what the loader has been given."""
    slots._thread.submit(lambda: None).result(PATIENCE)


def use(slots: Slots, clock: Clock, slot: Slot) -> None:
    """One request that uses a model."""
    clock.now += 1
    slots.hold(slot)
    slots.load(slot).result(PATIENCE)
    slots.release(slot)


def test_the_least_recently_used_idle_model_makes_room(slots, memory, clock, place) -> None:
    slots.budget = 350 * MB
    a, b, c = place("a"), place("b"), place("c")
    for slot in (a, b, a):
        use(slots, clock, slot)
    assert memory.closed == []
    use(slots, clock, c)
    assert memory.closed == ["b"]
    assert a.model is not None
    assert b.model is None
    assert memory.held <= slots.budget
    assert (slots.loads, slots.unloads) == (3, 1)


def test_as_many_go_as_are_needed(slots, memory, clock, place) -> None:
    slots.budget = 400 * MB
    for name in "abc":
        use(slots, clock, place(name))
    use(slots, clock, place("large", 250))
    assert memory.closed == ["a", "b", "c"]


def test_a_model_that_went_comes_again(slots, memory, clock, place) -> None:
    slots.budget = 250 * MB
    a, b = place("a"), place("b")
    for slot in (a, b, a):
        use(slots, clock, slot)
    assert memory.opened == ["a", "b", "a"]
    assert a.model is not None


def test_a_model_in_use_is_never_unloaded_and_the_error_says_which(slots, memory, clock, place) -> None:
    slots.budget = 250 * MB
    a, b = place("a"), place("b")
    use(slots, clock, a)
    slots.hold(a)
    with pytest.raises(MemoryBudgetError, match=r"b needs about 100 MB and 200 of 250 MB are held.*\(a\)") as caught:
        slots.load(b).result(PATIENCE)
    assert caught.value.retry_after > 0
    assert memory.closed == []
    slots.release(a)
    use(slots, clock, b)
    assert memory.closed == ["a"]


def test_the_only_model_is_loaded_whatever_the_budget_and_that_is_said(slots, memory, clock, place, caplog) -> None:
    slots.budget = 50 * MB
    use(slots, clock, place("a"))
    assert memory.opened == ["a"]
    assert "more than memory_budget_mb = 50 allows" in caplog.text


def test_what_a_model_took_the_last_time_counts_more_than_its_files(slots, memory, clock, place, monkeypatch) -> None:
    slots.budget = 350 * MB
    a, b = place("a", 200), place("b")
    monkeypatch.setattr(module, "weight_bytes", lambda offer: MB)
    use(slots, clock, a)
    use(slots, clock, b)
    assert memory.closed == [], "its files promised one megabyte"
    assert (a.bytes, b.bytes) == (200 * MB, 100 * MB)
    slots._unload(a, "test")
    use(slots, clock, a)
    assert memory.closed == ["a", "b"]


def test_without_a_budget_everything_stays(slots, memory, clock, place) -> None:
    for name in "abcdef":
        use(slots, clock, place(name, 1000))
    assert memory.closed == []


# Idle.


def test_a_model_goes_when_it_was_unused_for_its_time_and_others_stay(slots, memory, clock, place) -> None:
    short, long, ever = place("short", keep=20), place("long", keep=100), place("ever")
    for slot in (short, long, ever):
        use(slots, clock, slot)
    clock.now += 9
    slots.sweep()
    settle(slots)
    use(slots, clock, short)
    clock.now += 19
    slots.sweep()
    settle(slots)
    assert memory.closed == []
    clock.now += 1
    slots.sweep()
    settle(slots)
    assert memory.closed == ["short"]
    clock.now += 1000
    slots.sweep()
    settle(slots)
    assert memory.closed == ["short", "long"]


def test_a_model_in_use_is_not_idle_however_long_it_takes(slots, memory, clock, place) -> None:
    slot = place("a", keep=10)
    use(slots, clock, slot)
    slots.hold(slot)
    clock.now += 1000
    slots.sweep()
    settle(slots)
    assert memory.closed == []


def test_a_model_that_is_kept_for_a_while_stays_and_was_not_used(slots, memory, clock, place) -> None:
    slot = place("a", keep=10)
    slots.load(slot).result(PATIENCE)
    clock.now += 11
    with slots.kept(slot) as model:
        assert model is slot.model is not None
        slots.sweep()
        settle(slots)
        assert slot.model is model
    slots.sweep()
    settle(slots)
    assert slot.model is None
    with slots.kept(slot) as model:
        assert model is None


def test_a_request_that_comes_between_the_look_and_the_unloading_wins(slots, memory, clock, place) -> None:
    slot = place("a", keep=10)
    use(slots, clock, slot)
    clock.now += 11
    gate = threading.Event()
    slots._thread.submit(gate.wait)
    slots.sweep()
    use(slots, clock, slot)
    gate.set()
    settle(slots)
    assert memory.closed == []


def test_the_watch_looks_by_itself(slots, memory, clock, place, monkeypatch) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.01)
    use(slots, clock, place("a", keep=10))
    slots.start()
    slots.start()
    clock.now += 11
    deadline = time.monotonic() + PATIENCE
    while not memory.closed:
        assert time.monotonic() < deadline
        time.sleep(0.01)


# Retired.


def test_a_retired_model_goes_at_once_or_with_its_last_request(slots, memory, clock, place) -> None:
    idle, busy = place("idle"), place("busy")
    for slot in (idle, busy):
        use(slots, clock, slot)
    slots.hold(busy)
    for slot in (idle, busy):
        slots.retire(slot)
    settle(slots)
    assert memory.closed == ["idle"]
    slots.release(busy)
    settle(slots)
    assert memory.closed == ["idle", "busy"]
    assert slots.all == []


def test_a_model_retired_while_it_is_loaded_does_not_stay(slots, memory, place) -> None:
    gate, slot = threading.Event(), place("a")
    slots._thread.submit(gate.wait)
    loading: Future[Any] = slots.load(slot)
    slots.retire(slot)
    gate.set()
    loading.result(PATIENCE)
    settle(slots)
    assert memory.closed == ["a"]


def test_a_failed_loading_is_tried_again(slots, memory, clock, place) -> None:
    slot = place("a")
    del memory.sizes["a"]
    with pytest.raises(KeyError):
        slots.load(slot).result(PATIENCE)
    memory.sizes["a"] = 1
    use(slots, clock, slot)
    assert slot.model is not None


# Fetching.


class Hub:
    """Files that come when a gate is opened."""

    def __init__(self, *slow: str) -> None:
        self.gates = {name: threading.Event() for name in slow}
        self.fetching: list[str] = []

    def fetch(self, offer: Offer) -> None:
        self.fetching.append(offer.public)
        if offer.public in self.gates:
            assert self.gates[offer.public].wait(PATIENCE)
        if offer.public == "missing":
            raise ModelNotFoundError("no such model")


def test_a_model_that_is_fetched_for_long_keeps_no_other_from_being_loaded(memory, place) -> None:
    hub = Hub("far", "farther")
    slots = Slots(memory.open, fetch=hub.fetch)
    far, near, farther, last = (slots.load(place(name)) for name in ("far", "near", "farther", "last"))
    near.result(PATIENCE)
    assert memory.opened == ["near"]
    assert not last.done(), "two at a time"
    hub.gates["farther"].set()
    last.result(PATIENCE)
    farther.result(PATIENCE)
    assert not far.done()
    hub.gates["far"].set()
    far.result(PATIENCE)
    assert sorted(hub.fetching) == sorted(memory.opened)
    slots.close()


def test_models_are_opened_one_at_a_time(place, memory) -> None:
    opening, most = [], []

    def open_model(offer: Offer) -> Any:
        opening.append(offer)
        most.append(len(opening))
        time.sleep(0.02)
        opening.pop()
        return memory.open(offer)

    slots = Slots(open_model)
    for loading in [slots.load(place(name)) for name in "abcd"]:
        loading.result(PATIENCE)
    assert set(most) == {1}
    slots.close()


def test_what_can_t_be_fetched_says_so_and_is_tried_again(memory, place) -> None:
    slots = Slots(memory.open, fetch=Hub().fetch)
    slot = place("missing")
    for _ in range(2):
        with pytest.raises(ModelNotFoundError, match="no such model"):
            slots.load(slot).result(PATIENCE)
    assert memory.opened == []
    slots.close()


def test_who_waits_for_a_model_when_the_server_stops_hears_of_it(memory, place) -> None:
    hub = Hub("a", "b")
    slots = Slots(memory.open, fetch=hub.fetch)
    loading = [slots.load(place(name)) for name in "abc"]
    slots.close(wait=False)
    for gate in hub.gates.values():
        gate.set()
    for future in loading:
        with pytest.raises((CancelledError, RuntimeError)):
            future.result(PATIENCE)
    assert memory.opened == []


# Real memory.


def test_the_files_of_a_model_tell_how_large_it_will_be(tmp_path, tiny_bert) -> None:
    weights = sum(file.stat().st_size for file in tiny_bert.rglob("*.safetensors"))
    assert weight_bytes(Offer("a", str(tiny_bert), eager=False)) == weights > 0
    (tmp_path / "old").mkdir()
    (tmp_path / "old/pytorch_model.bin").write_bytes(b"x" * 77)
    assert weight_bytes(Offer("a", str(tmp_path / "old"), eager=False)) == 77
    assert weight_bytes(Offer("a", str(tmp_path / "none"), eager=False)) == 0


def test_memory_returns_when_a_model_is_unloaded(tmp_path) -> None:
    from lagotto import Embedder

    large = replace(BERT, hidden=512, heads=8, inner=2048, layers=8)
    folder = write_embedder(tmp_path / "large", large)
    weights = weight_bytes(Offer("large", str(folder), eager=False))
    assert weights > 90 * MB

    slots = Slots(lambda offer: Embedder(offer.source, precision="f32", threads=1))
    slot = Slot(Offer("large", str(folder), eager=False), Admission(1000))
    try:
        slots.load(slot).result(PATIENCE).encode("a dog")
        slots._unload(slot, "the code is warm now")
        for _ in range(8):  # new threads get heaps of their own from glibc, which keep some of it the first time
            before = resident_bytes()
            slots.load(slot).result(PATIENCE).encode(["a dog"] * 4)
            held = resident_bytes() - before
            slots._unload(slot, "test")
            left = resident_bytes() - before
            if held > weights // 2 and left < held // 5:
                break
        else:
            pytest.fail(f"{left >> 20} of {held >> 20} MB stayed")
    finally:
        slots.close()


def test_a_missing_model_is_told_by_the_opening() -> None:
    def missing(offer: Offer) -> Any:
        raise ModelNotFoundError(offer.source)

    slots = Slots(missing)
    slots.budget = 10_000 * MB
    try:
        with pytest.raises(ModelNotFoundError):
            slots.load(Slot(Offer("a", "/none", eager=False), Admission(1000))).result(PATIENCE)
    finally:
        slots.close()


# States.


def test_a_slot_tells_what_became_of_its_model(slots: Slots, place: Callable[..., Slot], memory: Memory) -> None:
    slot, let, opened = place("a", 10), threading.Event(), memory.open

    def slow(offer: Offer) -> Any:
        assert let.wait(PATIENCE)
        return opened(offer)

    slots._open_model = slow
    assert (slot.state, slot.failure) == ("idle", None)
    loading = slots.load(slot)
    assert (slot.state, slot.failure) == ("loading", None)
    let.set()
    loading.result(PATIENCE)
    assert (slot.state, slot.failure) == ("loaded", None)


def test_a_slot_remembers_why_its_model_could_not_be_loaded(slots: Slots, place: Callable[..., Slot]) -> None:
    slot, error = place("a", 10), ModelNotFoundError("gone")

    def fails(offer: Offer) -> Any:
        raise error

    slots._open_model = fails
    assert slots.load(slot).exception(PATIENCE) is error
    assert (slot.state, slot.failure) == ("failed", error)


def test_a_reranker_that_reads_layers_later_counts_with_all_of_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from support.llm_rerankers import CARDS, open_ranker, write_layerwise

    folder = write_layerwise(tmp_path / "light", "cost_wise_gemma")
    offer = Offer("light", str(folder), eager=False, options=Options(card=CARDS["cost_wise_gemma"]))
    whole = (folder / "model.safetensors").stat().st_size
    with open_ranker(folder, "cost_wise_gemma") as model:
        assert module._size(offer, model, 5) == whole
        assert module._size(offer, model, whole + 5) == whole + 5
        for info, expected in ((replace(model.engine, weights="int8"), whole // 2), (on_gpu(model.engine), 5)):
            monkeypatch.setattr(type(model), "engine", info)
            assert module._size(offer, model, 5) == expected


def on_gpu(info: EngineInfo) -> EngineInfo:
    return replace(info, device="cuda:0")
