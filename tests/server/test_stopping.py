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

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")

Start = Callable[..., Any]
HELD = """
import time
from pathlib import Path
import lagotto.server.pool as pool
from lagotto.engines.openvino.engine import OpenVinoEngine
entered, gate = map(Path, sys.argv[1:3])
def held(do):
    def wait(*args, **kwargs):
        entered.touch()
        while not gate.exists():
            time.sleep(0.01)
        return do(*args, **kwargs)
    return wait
"""
LOADING = f"{HELD}\npool.open_any = held(pool.open_any)"
COMPUTING = f"{HELD}\nOpenVinoEngine._infer = held(OpenVinoEngine._infer)"


@pytest.fixture
def places(tmp_path: Path) -> tuple[Path, Path]:
    """Files that say: it has begun; it may go on."""
    return tmp_path / "entered", tmp_path / "gate"


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def embed(url: str, model: str = "bert") -> int | None:
    try:
        return httpx2.post(f"{url}/v1/embeddings", json={"model": model, "input": "a"}, timeout=60).status_code
    except httpx2.TransportError:
        return None


def test_while_the_first_models_load_it_ends_at_once(start: Start, tiny_bert: Path, places: tuple[Path, Path]) -> None:
    server = start("--model", f"bert={tiny_bert}", before=LOADING, arguments=places)
    server.until(places[0].exists)
    started = time.monotonic()
    server.popen.terminate()
    assert server.end(20) == 0
    assert time.monotonic() - started < 10
    assert "stopped while models were being loaded" in server.log
    assert "Traceback" not in server.log


def test_a_model_that_is_loaded_for_a_request_does_not_hold_the_process(
    start: Start, tiny_bert: Path, places: tuple[Path, Path], threads: ThreadPoolExecutor, tmp_path: Path
) -> None:
    settings = tmp_path / "lagotto.toml"
    settings.write_text(f'shutdown_seconds = 1\n[[model]]\nname = "{tiny_bert}"\nalias = "bert"\neager = false\n')
    server = start("--config", settings, before=LOADING, arguments=places)
    request = threads.submit(embed, server.url())
    server.until(places[0].exists)
    server.popen.terminate()
    assert server.end(20) == 1
    assert request.result(20) in (None, 500, 503)
    assert "still being loaded" in server.log


def test_a_second_sigterm_changes_nothing(
    start: Start, tiny_bert: Path, places: tuple[Path, Path], threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=COMPUTING, arguments=places)
    request = threads.submit(embed, server.url())
    server.until(places[0].exists)
    for _ in range(3):
        server.popen.terminate()
        server.until(lambda: "Shutting down" in server.log)
        time.sleep(0.1)
    assert not request.done()
    places[1].touch()
    assert request.result(60) == 200
    assert server.end() == 0
    assert "Traceback" not in server.log


def test_a_second_ctrl_c_waits_for_nobody(
    start: Start, tiny_bert: Path, places: tuple[Path, Path], threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=COMPUTING, arguments=places)
    request = threads.submit(embed, server.url())
    server.until(places[0].exists)
    server.popen.send_signal(signal.SIGINT)
    server.until(lambda: "Shutting down" in server.log)
    server.popen.send_signal(signal.SIGINT)
    assert server.end(20) == 1
    assert request.result(20) in (None, 500, 503)


def test_under_load_it_ends_within_its_limit_though_a_request_hangs(
    start: Start, tiny_bert: Path, places: tuple[Path, Path]
) -> None:
    """One request hangs for ever, others queue behind it, and connections rest."""
    server = start("--model", f"bert={tiny_bert}", before=COMPUTING, arguments=places, LAGOTTO_SHUTDOWN_SECONDS="1")
    url = server.url()
    with ThreadPoolExecutor(12) as threads, httpx2.Client(base_url=url) as resting:
        assert resting.get("/health").status_code == 200
        requests = [threads.submit(embed, url) for _ in range(12)]
        server.until(places[0].exists)
        started = time.monotonic()
        server.popen.terminate()
        assert server.end(20) == 1
        assert time.monotonic() - started < 10
        assert {request.result(20) for request in requests} <= {None, 500, 503}
    assert "outlasted the grace period" in server.log
