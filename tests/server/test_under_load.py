"""A server with more to do than it can: who comes first, who is refused, and what they are told."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder
from lagotto.batch.sequences import Batch
from lagotto.batch.tokenizer import Tokenizer
from lagotto.engines.openvino.engine import OpenVinoEngine
from lagotto.server.app import create_app
from lagotto.server.settings import Settings
from support.checkpoints import some_texts
from support.departing import post

PATIENCE = 60
ErrorOf = Callable[..., dict[str, Any]]


class Gate:
    """Stands before the engine: holds batches back until the test says so, and records what passes."""

    def __init__(self) -> None:
        self.passed: list[list[int]] = []
        """Lengths of the rows of each batch."""
        self.fault: BaseException | None = None
        self.entered = threading.Event()
        self._open = threading.Event()
        self._infer = OpenVinoEngine._infer

    def __call__(self, engine: OpenVinoEngine, batch: Batch, output: Any) -> Any:
        self.entered.set()
        assert self._open.wait(PATIENCE)
        self.passed.append(sorted(batch.lengths.tolist()))
        if self.fault is not None:
            raise self.fault
        return self._infer(engine, batch, output)

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Iterator[Gate]:
    gate = Gate()
    monkeypatch.setattr(OpenVinoEngine, "_infer", lambda self, batch, output: gate(self, batch, output))
    yield gate
    gate.open()


@pytest.fixture
def serving(gate: Gate, open_client: Any, tiny_bert: Path) -> Iterator[Callable[..., TestClient]]:
    """``serving(setting=...)``: a client of a server with one model, one worker and the gate before it."""
    opened = []

    def begin(**options: Any) -> TestClient:
        context = open_client(**({"models": [f"bert={tiny_bert}"], "threads": 1} | options))
        opened.append(context)
        client: TestClient = context.__enter__()
        return client

    yield begin
    gate.open()
    for context in opened:
        context.__exit__(None, None, None)


@pytest.fixture
def threads(gate: Gate) -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as threads:
        yield threads
        gate.open()  # a test that failed leaves nobody waiting


def embed(client: TestClient, *texts: str, **headers: str) -> Any:
    named = {f"x-lagotto-{name.replace('_', '-')}": value for name, value in headers.items()}
    return client.post("/v1/embeddings", json={"model": "bert", "input": list(texts)}, headers=named)


def entry(client: TestClient) -> Any:
    return client.app.state.pool.entries["bert"]  # type: ignore[attr-defined]


def until(client: TestClient, waiting: int) -> None:
    """Wait until so many rows are queued."""
    for _ in range(PATIENCE * 500):
        if entry(client).model.stats().waiting == waiting:
            return
        threading.Event().wait(0.001)
    pytest.fail(f"{entry(client).model.stats()}")


def refused(reply: Any) -> None:
    assert reply.status_code == 429, reply.text
    error = reply.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "overloaded")
    assert int(reply.headers["retry-after"]) >= 1
    assert int(reply.headers["retry-after-ms"]) >= 1


# Too much.


def test_more_than_the_bound_is_refused_at_once_and_costs_nothing(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = serving(max_queue_tokens=60)
    first = threads.submit(embed, client, "a dog " * 20)
    assert gate.entered.wait(PATIENCE)
    with monkeypatch.context() as patch:
        patch.setattr(Tokenizer, "encode", lambda *_, **__: pytest.fail("it was tokenised"))
        refused(embed(client, "a cat " * 20))
    assert not first.done()
    gate.open()
    assert first.result(PATIENCE).status_code == 200
    assert embed(client, "a cat " * 20).status_code == 200


def test_a_request_larger_than_the_whole_bound_is_computed_when_nothing_waits(serving: Any, gate: Gate) -> None:
    gate.open()
    assert embed(serving(max_queue_tokens=1), *["a dog"] * 50).status_code == 200


def test_bulk_keeps_no_interactive_request_out(serving: Any, gate: Gate, threads: ThreadPoolExecutor) -> None:
    client = serving(max_queue_tokens=60)
    first = threads.submit(embed, client, "a dog " * 20, priority="bulk")
    assert gate.entered.wait(PATIENCE)
    refused(embed(client, "a dog " * 20, priority="bulk"))
    second = threads.submit(embed, client, "a cat", priority="interactive")
    until(client, 1)
    gate.open()
    assert {first.result(PATIENCE).status_code, second.result(PATIENCE).status_code} == {200}


def test_three_times_what_a_server_takes_gives_right_answers_and_honest_refusals(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor, embedder: Embedder
) -> None:
    texts = [text or "a" for text in some_texts(60, seed=5, longest=20)]
    client = serving(max_queue_tokens=300)
    replies: list[Future[Any]] = [threads.submit(embed, client, text) for text in texts]
    assert gate.entered.wait(PATIENCE)
    while not any(reply.done() for reply in replies):
        threading.Event().wait(0.001)
    gate.open()
    answers = [reply.result(PATIENCE) for reply in replies]
    assert {answer.status_code for answer in answers} == {200, 429}
    for text, answer in zip(texts, answers, strict=True):
        if answer.status_code == 429:
            refused(answer)
        else:
            np.testing.assert_allclose(answer.json()["data"][0]["embedding"], embedder.encode(text).dense[0], atol=2e-5)
    stats, admission = entry(client).model.stats(), entry(client).admission.stats()
    assert (stats.waiting, admission.open_requests, admission.open_tokens) == (0, 0, 0)
    assert admission.admitted == sum(answer.status_code == 200 for answer in answers)
    assert embed(client, "a dog").status_code == 200


def test_texts_asked_for_at_the_same_time_are_computed_once(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    client = serving()
    first = threads.submit(embed, client, "something else altogether")
    assert gate.entered.wait(PATIENCE)
    same = [threads.submit(embed, client, "a dog", "a cat") for _ in range(5)]
    until(client, 2)
    while entry(client).model.stats().shared < 8:
        threading.Event().wait(0.001)
    gate.open()
    bodies = [reply.result(PATIENCE).json() for reply in same]
    assert all(body == bodies[0] for body in bodies)
    assert first.result(PATIENCE).status_code == 200
    assert sum(len(batch) for batch in gate.passed) == 3


# Priorities.


def test_an_interactive_request_is_computed_before_bulk_that_came_earlier(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    client = serving(interactive_tokens=40)
    held = threads.submit(embed, client, "a")
    assert gate.entered.wait(PATIENCE)
    large = threads.submit(embed, client, *[f"{number} {'dog ' * 55}" for number in range(20)])
    until(client, 20)
    small = threads.submit(embed, client, "a cat")
    until(client, 21)
    gate.open()
    assert {reply.result(PATIENCE).status_code for reply in (held, large, small)} == {200}
    assert len(gate.passed[1]) == 1, "the cat was computed next, the dogs after it"


def test_a_header_says_that_a_small_request_can_wait(serving: Any, gate: Gate, threads: ThreadPoolExecutor) -> None:
    client = serving()
    held = threads.submit(embed, client, "a")
    assert gate.entered.wait(PATIENCE)
    patient = threads.submit(embed, client, "dog " * 50, priority="bulk")
    until(client, 1)
    urgent = threads.submit(embed, client, "a cat")
    until(client, 2)
    gate.open()
    assert {reply.result(PATIENCE).status_code for reply in (held, patient, urgent)} == {200}
    assert gate.passed[1][0] < gate.passed[2][0]


def test_bulk_that_waits_leaves_interactive_requests_their_threads(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    client = serving()
    held = threads.submit(embed, client, "a")
    assert gate.entered.wait(PATIENCE)
    bulk = [threads.submit(embed, client, "dog " * (number + 1), priority="bulk") for number in range(40)]
    until(client, 16)
    interactive = [threads.submit(embed, client, "cat " * (number + 1)) for number in range(30)]
    until(client, 46)
    gate.open()
    assert all(reply.result(PATIENCE).status_code == 200 for reply in [held, *bulk, *interactive])


@pytest.mark.parametrize("given", ["probe", "urgent", "", "BULK"])
def test_a_priority_that_does_not_exist_is_refused(client: TestClient, error_of: ErrorOf, given: str) -> None:
    error = error_of(embed(client, "a dog", priority=given))
    assert error["param"] == "x-lagotto-priority"
    assert "interactive and bulk" in error["message"]


# Deadlines.


def test_a_request_that_is_late_is_told_so_and_not_computed(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor, error_of: ErrorOf
) -> None:
    client = serving()
    held = threads.submit(embed, client, "a")
    assert gate.entered.wait(PATIENCE)
    error = error_of(embed(client, "a dog", timeout_ms="30"), 504, "timeout")
    assert "time it was given" in error["message"]
    until(client, 0)
    gate.open()
    assert held.result(PATIENCE).status_code == 200
    assert embed(client, "a dog", timeout_ms="60000").status_code == 200
    assert len(gate.passed) == 2, "the late one was never computed"


def test_requests_that_give_themselves_no_time_have_the_servers(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor, error_of: ErrorOf
) -> None:
    client = serving(request_timeout_seconds=0.03)
    error_of(embed(client, "a dog"), 504, "timeout")
    gate.open()
    assert embed(client, "a dog", timeout_ms="60000").status_code == 200


@pytest.mark.parametrize("given", ["0", "-5", "1.5", "soon", "", "1e3", "99999999999"])
def test_a_timeout_that_is_no_time_is_refused(client: TestClient, error_of: ErrorOf, given: str) -> None:
    assert error_of(embed(client, "a dog", timeout_ms=given))["param"] == "x-lagotto-timeout-ms"


def test_what_a_client_that_went_away_wanted_is_not_computed(gate: Gate, tiny_bert: Path) -> None:
    app = create_app(Settings(models=[f"bert={tiny_bert}"], precision="f32", threads=1))
    pool = app.state.pool
    pool.start()
    model = pool.entries["bert"].model

    async def ask(text: str, gone: asyncio.Event) -> list[Any]:
        return await post(app, "/v1/embeddings", {"model": "bert", "input": text}, gone)

    async def both() -> None:
        stays, leaves = asyncio.Event(), asyncio.Event()
        first = asyncio.ensure_future(ask("a cat", stays))
        await asyncio.to_thread(gate.entered.wait, PATIENCE)
        second = asyncio.ensure_future(ask("a dog", leaves))
        while model.stats().waiting < 1:
            await asyncio.sleep(0.001)
        leaves.set()
        assert (await asyncio.wait_for(second, PATIENCE))[0]["status"] == 499
        assert (model.stats().waiting, model.stats().cancelled) == (0, 1)
        gate.open()
        assert (await asyncio.wait_for(first, PATIENCE))[0]["status"] == 200

    try:
        asyncio.run(both())
    finally:
        gate.open()
        pool.close()
    assert len(gate.passed) == 1


# Loading.


def test_a_model_that_is_still_loading_is_told_with_the_time_to_come_again(
    open_client: Any, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, error_of: ErrorOf
) -> None:
    from lagotto.models.opening import open_any

    gate = threading.Event()

    def slowly(*arguments: Any) -> Any:
        assert gate.wait(PATIENCE)
        return open_any(*arguments)

    monkeypatch.setattr("lagotto.server.pool.open_any", slowly)
    with open_client(model_storage_path=tiny_bert.parent, loading_wait_seconds=0.02) as client:
        body = {"model": tiny_bert.name, "input": "a dog"}
        reply = client.post("/v1/embeddings", json=body)
        assert "still being loaded" in error_of(reply, 503, "model_loading")["message"]
        assert int(reply.headers["retry-after"]) >= 1
        late = client.post("/v1/embeddings", json=body, headers={"x-lagotto-timeout-ms": "1"})
        error_of(late, 504, "timeout")
        assert client.app.state.pool.entries[tiny_bert.name].slot.users == 0, "who was sent away holds nothing"
        gate.set()
        while client.post("/v1/embeddings", json=body).status_code == 503:
            pass
        assert client.post("/v1/embeddings", json=body).status_code == 200


# Faults and readiness.


def test_a_worker_that_breaks_down_is_a_503_and_the_server_goes_on(serving: Any, gate: Gate, error_of: ErrorOf) -> None:
    client = serving()
    gate.open()
    gate.fault = SystemExit(3)
    for _ in range(3):
        error_of(embed(client, "a dog"), 503, "engine_failed")
    assert client.get("/ready").status_code == 503
    gate.fault = None
    assert embed(client, "a dog").status_code == 200
    assert client.get("/ready").status_code == 200


def test_ready_lets_every_model_compute(client: TestClient) -> None:
    reply = client.get("/ready")
    assert reply.status_code == 200
    body = reply.json()
    assert body["ready"] is True
    assert [model["id"] for model in body["models"]] == ["bert", "org/xlmr:1", "ranker"]
    assert all(model["ready"] and model["error"] is None and model["seconds"] >= 0 for model in body["models"])


def test_ready_computes_each_time_whatever_is_kept(serving: Any, gate: Gate) -> None:
    gate.open()
    client = serving()
    for number in range(1, 3):
        assert client.get("/ready").status_code == 200
        assert len(gate.passed) == number


def test_a_model_that_hangs_is_not_ready_while_the_server_is_healthy(
    serving: Any, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lagotto.server.system._PATIENCE", 0.05)
    client = serving()
    reply = client.get("/ready")
    assert reply.status_code == 503
    assert reply.json()["ready"] is False
    assert reply.json()["models"][0]["error"] == "timeout"
    assert client.get("/health").status_code == 200
    gate.open()
    monkeypatch.setattr("lagotto.server.system._PATIENCE", 60.0)
    assert client.get("/ready").status_code == 200


def test_the_question_whether_a_model_is_ready_comes_before_all_that_waits(
    serving: Any, gate: Gate, threads: ThreadPoolExecutor
) -> None:
    client = serving()
    held = threads.submit(embed, client, "a")
    assert gate.entered.wait(PATIENCE)
    waiting = threads.submit(embed, client, *[f"{number} {'dog ' * 55}" for number in range(20)])
    until(client, 20)
    ready = threads.submit(client.get, "/ready")
    until(client, 21)
    gate.open()
    assert {reply.result(PATIENCE).status_code for reply in (held, waiting, ready)} == {200}
    assert len(gate.passed[1]) == 1
