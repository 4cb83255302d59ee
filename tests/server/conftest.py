"""Servers to test: in this process through Starlette's client, or as a process of their own."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

import lagotto
from lagotto import Embedder
from lagotto.llm import failures
from lagotto.server.app import create_app
from lagotto.server.settings import Settings, load_settings
from support import served_judge
from support.chat_server import MODEL, ChatServer, judge
from support.checkpoints import XLMR, write_m3, write_modules

SOURCES = Path(lagotto.__file__).parents[1]
OUTSIDE = ("MODEL_STORAGE_PATH", "API_HOST", "API_PORT", "LOG_LEVEL", "USE_FP16")
PATIENCE = 60
"""Seconds after which something that should have happened long ago counts as failed."""

Json = dict[str, Any]
Open = Callable[..., contextlib.AbstractContextManager[TestClient]]


@pytest.fixture(scope="session", autouse=True)
def environment(cache: Path) -> Iterator[None]:
    """No setting of the developer's own reaches a server under test; the cache of the session does."""
    with pytest.MonkeyPatch.context() as patch:
        for name in list(os.environ):
            ours = name.upper().startswith("LAGOTTO_") or name.upper() in OUTSIDE
            if ours and name != "LAGOTTO_CACHE":
                patch.delenv(name)
        yield


@contextlib.contextmanager
def _client(**options: Any) -> Iterator[TestClient]:
    """A client of an app in this process; failures of the server come as answers, as a client would see them."""
    flags = {"precision": "f32", "threads": 2} | options
    with TestClient(create_app(load_settings(None, **flags)), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="session")
def open_client() -> Open:
    """``open_client(models=[...], ...)``: a client of an app with those settings."""
    return _client


@pytest.fixture(scope="session")
def named(tiny_bert: Path, tiny_xlmr: Path, tiny_reranker: Path) -> list[str]:
    """The models of `client`, one of them under a name with slashes and a colon."""
    return [f"bert={tiny_bert}", f"org/xlmr:1={tiny_xlmr}", f"ranker={tiny_reranker}"]


@pytest.fixture(scope="session")
def client(environment: None, named: list[str]) -> Iterator[TestClient]:
    """A client of an app with two embedders and one reranker; no test may change it."""
    with _client(models=named) as client:
        yield client


@pytest.fixture(scope="session")
def tiny_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLM-RoBERTa embedder with BGE-M3's sparse and multi-vector heads."""
    folder = write_m3(tmp_path_factory.mktemp("models") / "tiny-m3", XLMR)
    write_modules(folder, XLMR, prompts={"query": "query: ", "document": "passage: ", "what": "what is "})
    return folder


@pytest.fixture(scope="session")
def m3(environment: None, tiny_m3: Path, tiny_reranker: Path) -> Iterator[TestClient]:
    """A client of an app with ``m3``, which has every output and prompts, and ``ranker``."""
    with _client(models=[f"m3={tiny_m3}", f"ranker={tiny_reranker}"]) as client:
        yield client


@pytest.fixture(scope="session")
def m3_model(tiny_m3: Path, cache: Path) -> Iterator[Embedder]:
    """`tiny_m3` in the library, to compare a server's answers with."""
    with Embedder(tiny_m3, precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def settings_names() -> list[str]:
    """Every setting there is."""
    return list(Settings.model_fields)


def _error_of(reply: httpx2.Response, status: int = 400, code: str | None = "invalid_input") -> Json:
    assert reply.status_code == status, reply.text
    assert reply.headers["content-type"] == "application/json"
    assert reply.headers["x-request-id"]
    body = reply.json()
    error: Json = body.pop("error")
    assert body in ({}, {"message": error["message"], "detail": error["message"]})
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert error["code"] == code
    assert error["message"]
    return error


@pytest.fixture(scope="session")
def error_of() -> Callable[..., Json]:
    """``error_of(reply, status=400, code="invalid_input")``: OpenAI's error in a reply, whatever else is there."""
    return _error_of


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """An honest judge behind an OpenAI-compatible address, after whatever the test scripts."""
    monkeypatch.setattr(failures, "_FIRST_PAUSE", 0.01)
    with ChatServer(judge()) as running:
        yield running


@pytest.fixture
def serve_judge(environment: None, tmp_path: Path, endpoint: ChatServer) -> served_judge.Serve:
    """``serve_judge(flags={...}, strategy="pointwise", ...)``: a client of a server whose ``judge`` asks `endpoint`."""

    @contextlib.contextmanager
    def begin(flags: Json | None = None, **llm: Any) -> Iterator[TestClient]:
        table = {"url": endpoint.url, "model": MODEL, **llm}
        file = served_judge.write_settings(tmp_path / "settings.toml", table)
        with served_judge.serving(file, **(flags or {})) as client:
            yield client

    return begin


@dataclass
class Process:
    """A server that runs as a process of its own."""

    popen: subprocess.Popen[bytes]
    log_file: Path

    @property
    def log(self) -> str:
        """What it has written so far."""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def until(self, true: Callable[[], Any]) -> Any:
        """Wait for a condition while the process lives."""
        deadline = time.monotonic() + PATIENCE
        while not (found := true()):
            assert self.popen.poll() is None, f"the server ended with {self.popen.returncode}:\n{self.log}"
            assert time.monotonic() < deadline, f"nothing happened in {PATIENCE} s:\n{self.log}"
            time.sleep(0.01)
        return found

    def url(self) -> str:
        """Where it listens, once it is ready."""
        found: str = self.until(lambda: re.search(r"serving on (http://\S+)", self.log)).group(1)
        self.until(lambda: _healthy(found))
        return found

    def end(self, patience: float = PATIENCE) -> int:
        """Its exit code, once it has ended."""
        return self.popen.wait(patience)


def _healthy(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health", timeout=PATIENCE).status_code == 200
    except httpx2.ConnectError:
        return False


@contextlib.contextmanager
def _starting(folder: Path) -> Iterator[Callable[..., Process]]:
    processes: list[Process] = []

    def begin(*flags: object, before: str = "", **environment: str) -> Process:
        log = folder / f"server{len(processes)}.log"
        port = () if "--port" in flags else ("--port", "0")
        command = ["serve", "--precision", "f32", "--threads", "2", *port, *flags]
        script = f"import sys\n{before}\nsys.argv[1:] = {[str(c) for c in command]!r}\n{MAIN}"
        with log.open("wb") as file:
            popen = subprocess.Popen(
                [sys.executable, "-c", script],
                env={**os.environ, "PYTHONPATH": str(SOURCES), **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        processes.append(Process(popen, log))
        return processes[-1]

    yield begin
    for process in processes:
        process.popen.kill()
        process.popen.wait()


@pytest.fixture(scope="session")
def starting() -> Callable[[Path], contextlib.AbstractContextManager[Callable[..., Process]]]:
    """``starting(folder)``: what `start` is made of, for servers that several tests share; logs go to the folder."""
    return _starting


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """``start("--model", NAME, ...)``: ``lagotto serve`` on a free port, ended with the test.

    ``before`` is Python code that runs in the process first.
    """
    with _starting(tmp_path) as begin:
        yield begin


MAIN = "from lagotto.cli.main import main\nmain()"


@dataclass
class Held:
    """Engines that compute nothing until the gate is opened."""

    entered: threading.Event = field(default_factory=threading.Event)
    gate: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def hold(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[TestClient], Held]]:
    """``hold(client)``: the engines of all loaded models wait at a gate, which is open again when the test ends."""
    held = Held()

    def begin(client: TestClient) -> Held:
        for entry in client.app.state.pool.loaded():  # type: ignore[attr-defined]
            queue = entry.model._loaded.engine._engine._queue
            monkeypatch.setattr(queue, "_compute", partial(_waiting, held, queue._compute))
        return held

    yield begin
    held.gate.set()


@pytest.fixture
def held(client: TestClient, hold: Callable[[TestClient], Held]) -> Held:
    """The engines of the shared client, held at a gate."""
    return hold(client)


def _waiting(held: Held, compute: Callable[..., Any], *batch: Any) -> Any:
    held.entered.set()
    assert held.gate.wait(PATIENCE)
    return compute(*batch)
