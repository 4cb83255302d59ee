"""A language model elsewhere that fails, is slow or busy: what clients hear, and what goes on beside it."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from support.chat_server import Asked, ChatServer, Drop, Say, Silence, Status, judge
from support.departing import post
from support.judged_documents import DOCUMENTS
from support.served_judge import Serve

KEY = "sk-very-secret-123"
PATIENCE = 20
ASKED = {"model": "judge", "query": "q", "documents": DOCUMENTS}
Json = dict[str, Any]
ErrorOf = Callable[..., Json]


class Gate:
    """A judge who answers nothing until it is opened."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def __call__(self, asked: Asked) -> Say:
        """The answer of an honest one."""
        assert self.opened.wait(PATIENCE)
        return judge()(asked)


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Open again when the test ends."""
    found = Gate()
    yield found
    found.opened.set()


def _ask(client: TestClient, **headers: str) -> Any:
    return client.post("/v1/rerank", json=ASKED, headers=headers)


@pytest.mark.parametrize(
    ("step", "status", "code", "after"),
    [
        (Status(401, {"error": {"message": f"{KEY} is no key"}}), 502, "endpoint_failed", None),
        (Status(500), 502, "endpoint_failed", None),
        (Drop(), 502, "endpoint_failed", None),
        (Status(429, headers={"Retry-After": "90"}), 503, "endpoint_busy", "90"),
        (Status(503), 503, "endpoint_busy", None),
        (Silence(), 504, "endpoint_timeout", None),
    ],
)
def test_each_failure_has_its_status_and_its_address_stays_here(
    serve_judge: Serve,
    endpoint: ChatServer,
    error_of: ErrorOf,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    step: Any,
    status: int,
    code: str,
    after: str | None,
) -> None:
    monkeypatch.setenv("JUDGES_KEY", KEY)
    endpoint.script = [step]
    with serve_judge(key_variable="JUDGES_KEY", timeout=0.3, max_retries=0) as client:
        reply = _ask(client)
        error = error_of(reply, status, code)
        assert reply.headers.get("retry-after") == after
        assert endpoint.url in caplog.text, "the operator is told"
        assert endpoint.url not in error["message"]
        assert _ask(client).status_code == 200
        shown = [reply.text, caplog.text, client.get("/v1/models").text, client.get("/models").text]
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert not any(KEY in text for text in shown)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/jina/v1/rerank", ASKED, 502),
        ("/v2/rerank", ASKED, 502),
        ("/voyage/v1/rerank", ASKED, 502),
        ("/vllm/rerank", ASKED, 502),
        ("/infinity/rerank", ASKED, 502),
        ("/tei/rerank", {"query": "q", "texts": DOCUMENTS}, 424),
    ],
)
def test_every_dialect_says_so_in_its_shape(
    serve_judge: Serve, endpoint: ChatServer, path: str, body: Json, status: int
) -> None:
    endpoint.script = [Status(500)]
    with serve_judge(max_retries=0) as client:
        reply = client.post(path, json=body)
        document = client.get("/openapi.json").json()
    assert reply.status_code == status, reply.text
    assert "language model" in reply.text
    assert str(status) in document["paths"][path]["post"]["responses"]


def test_an_answer_of_another_form_can_be_an_error_that_quotes_nothing(
    serve_judge: Serve, endpoint: ChatServer, error_of: ErrorOf, caplog: pytest.LogCaptureFixture
) -> None:
    endpoint.judge = lambda asked: Say("document 1 says so")
    with serve_judge(reasks=0, malformed="error") as client:
        reply = _ask(client)
        error_of(reply, 502, "malformed_answer")
    assert "says so" not in reply.text + caplog.text


def test_what_it_took_is_in_the_log(serve_judge: Serve, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with serve_judge(strategy="pointwise") as client:
        assert _ask(client).status_code == 200
    (line,) = [record.getMessage() for record in caplog.records if record.name == "lagotto.access"]
    assert "model=judge texts=6 tokens=642 calls=6" in line


def test_a_requests_own_time_ends_the_connection(serve_judge: Serve, endpoint: ChatServer, error_of: ErrorOf) -> None:
    endpoint.script = [Silence()]
    with serve_judge(concurrency=1) as client:
        started = time.monotonic()
        error_of(_ask(client, **{"x-lagotto-timeout-ms": "300"}), 504, "timeout")
        assert time.monotonic() - started < 5
        assert _ask(client).status_code == 200, "the only connection is free again"


def test_a_client_that_goes_away_ends_the_connection(serve_judge: Serve, endpoint: ChatServer) -> None:
    endpoint.script = [Silence()]
    with serve_judge(concurrency=1) as client:

        async def leave() -> Any:
            gone = asyncio.Event()
            asking = asyncio.ensure_future(post(client.app, "/v1/rerank", ASKED, gone))
            await asyncio.to_thread(_until, lambda: len(endpoint.asked) == 1)
            gone.set()
            return await asyncio.wait_for(asking, PATIENCE)

        assert asyncio.run(leave())[0]["status"] == 499
        assert _ask(client).status_code == 200, "the only connection is free again"


def test_requests_beyond_its_bound_are_refused_and_others_go_on(
    serve_judge: Serve, endpoint: ChatServer, gate: Gate, tiny_bert: Path
) -> None:
    endpoint.judge = gate
    with (
        serve_judge({"models": [f"bert={tiny_bert}"]}, max_requests=2, concurrency=1) as client,
        ThreadPoolExecutor(2) as threads,
    ):
        slow = [threads.submit(_ask, client) for _ in range(2)]
        _until(lambda: client.app.state.pool.entries["judge"].admission.stats().open_requests == 2)  # type: ignore[attr-defined]
        reply = _ask(client)
        assert (reply.status_code, reply.json()["error"]["code"]) == (429, "overloaded")
        assert "2 requests are open, 2 may" in reply.text
        assert int(reply.headers["retry-after"]) >= 1
        assert client.post("/v1/embeddings", json={"model": "bert", "input": "a"}).status_code == 200
        gate.opened.set()
        assert [future.result(PATIENCE).status_code for future in slow] == [200, 200]
    assert endpoint.most == 1, "its own bound holds across requests"


def test_it_takes_no_threads_of_models_that_are_here(
    serve_judge: Serve, endpoint: ChatServer, gate: Gate, monkeypatch: pytest.MonkeyPatch, tiny_bert: Path
) -> None:
    monkeypatch.setattr("lagotto.server.pool._THREADS", 1)
    endpoint.judge = gate
    with serve_judge({"models": [f"bert={tiny_bert}"]}) as client, ThreadPoolExecutor(2) as threads:
        slow = [threads.submit(_ask, client) for _ in range(2)]
        _until(lambda: len(endpoint.asked) == 2)
        large = {"model": "bert", "input": ["the giant panda"] * 500}
        headers = {"x-lagotto-priority": "interactive"}
        assert client.post("/v1/embeddings", json=large, headers=headers).status_code == 200
        gate.opened.set()
        assert [future.result(PATIENCE).status_code for future in slow] == [200, 200]


def _until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)
