"""SIGTERM at awkward moments: while a model loads, again while requests finish, and when a request hangs."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from support.held_process import HeldProcess

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")

Start = Callable[..., Any]


@pytest.fixture
def held(tmp_path: Path) -> HeldProcess:
    return HeldProcess(tmp_path)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def embed(url: str, model: str = "bert") -> int | None:
    try:
        return httpx2.post(f"{url}/v1/embeddings", json={"model": model, "input": "a"}, timeout=60).status_code
    except httpx2.TransportError:
        return None


def test_while_the_first_models_load_it_ends_at_once(start: Start, tiny_bert: Path, held: HeldProcess) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.loading)
    server.until(held.entered.exists)
    started = time.monotonic()
    server.popen.terminate()
    assert server.end(20) == 0
    assert time.monotonic() - started < 10
    assert "stopped while models were being loaded" in server.log
    assert "Traceback" not in server.log


def test_a_model_that_is_loaded_for_a_request_does_not_hold_the_process(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    settings = tmp_path / "lagotto.toml"
    settings.write_text(f'shutdown_seconds = 1\n[[model]]\nname = "{tiny_bert}"\nalias = "bert"\neager = false\n')
    server = start("--config", settings, before=held.loading)
    request = threads.submit(embed, server.url())
    server.until(held.entered.exists)
    server.popen.terminate()
    assert server.end(20) == 1
    assert request.result(20) in (None, 500, 503)
    assert "still being loaded" in server.log


def test_a_second_sigterm_changes_nothing(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.computing)
    request = threads.submit(embed, server.url())
    server.until(held.entered.exists)
    for _ in range(3):
        server.popen.terminate()
        server.until(lambda: "Shutting down" in server.log)
        time.sleep(0.1)
    assert not request.done()
    held.gate.touch()
    assert request.result(60) == 200
    assert server.end() == 0
    assert "Traceback" not in server.log


def test_a_second_ctrl_c_waits_for_nobody(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.computing)
    request = threads.submit(embed, server.url())
    server.until(held.entered.exists)
    server.popen.send_signal(signal.SIGINT)
    server.until(lambda: "Shutting down" in server.log)
    server.popen.send_signal(signal.SIGINT)
    assert server.end(20) == 1
    assert request.result(20) in (None, 500, 503)


def test_under_load_it_ends_within_its_limit_though_a_request_hangs(
    start: Start, tiny_bert: Path, held: HeldProcess
) -> None:
    """One request hangs for ever, others queue behind it, and connections rest."""
    server = start("--model", f"bert={tiny_bert}", before=held.computing, LAGOTTO_SHUTDOWN_SECONDS="1")
    url = server.url()
    with ThreadPoolExecutor(12) as threads, httpx2.Client(base_url=url) as resting:
        assert resting.get("/health").status_code == 200
        requests = [threads.submit(embed, url) for _ in range(12)]
        server.until(held.entered.exists)
        started = time.monotonic()
        server.popen.terminate()
        assert server.end(20) == 1
        assert time.monotonic() - started < 10
        assert {request.result(20) for request in requests} <= {None, 500, 503}
    assert "outlasted the grace period" in server.log
