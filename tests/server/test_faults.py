"""Faults below the server: an engine that raises, killed worker processes, a full disk, a clock that is set."""

from __future__ import annotations

import os
import re
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

import lagotto
from lagotto.engines.openvino.engine import OpenVinoEngine
from lagotto.engines.torch import worker_process, workers

ErrorOf = Callable[..., dict[str, Any]]
PATIENCE = 60


def embed(client: Any, *texts: str, **headers: str) -> Any:
    return client.post("/v1/embeddings", json={"model": "bert", "input": list(texts)}, headers=headers)


def until(true: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


# The engine.


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (RuntimeError("in /srv/secret"), "engine_failed"),
        (ValueError(), "engine_failed"),
        (MemoryError(), "out_of_memory"),
    ],
)
def test_a_forward_that_raises_is_a_503_to_its_requests_alone(
    open_client: Any, error_of: ErrorOf, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, fault: Exception, code: str
) -> None:
    faults, infer = [fault], OpenVinoEngine._infer

    def broken(engine: OpenVinoEngine, *given: Any) -> Any:
        if faults:
            raise faults[0]
        return infer(engine, *given)

    monkeypatch.setattr(OpenVinoEngine, "_infer", broken)
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        for number in range(3):
            reply = embed(client, f"a dog {number}")
            assert "secret" not in error_of(reply, 503, code)["message"]
            assert ("retry-after" in reply.headers) == (code == "engine_failed")
        assert client.get("/ready").status_code == 503
        faults.clear()
        assert embed(client, "a dog").status_code == 200
        assert client.get("/ready").status_code == 200
        reasons = re.findall(rf'lagotto_errors_total{{reason="{code}"}} (\S+)', client.get("/metrics").text)
        assert float(reasons[0]) == 3


def test_what_a_damaged_model_says_names_no_folder(open_client: Any, tiny_bert: Path, tmp_path: Path) -> None:
    folder = tmp_path / "store" / "broken"
    folder.mkdir(parents=True)
    for file in tiny_bert.iterdir():
        if file.is_file():
            (folder / file.name).write_bytes(file.read_bytes()[:300])
    with open_client(model_storage_path=folder.parent) as client:
        reply = client.post("/v1/embeddings", json={"model": "broken", "input": "a"})
        assert reply.status_code >= 500
        assert "broken" in reply.text
        assert str(tmp_path) not in reply.text
        long = client.post("/v1/encode", json={"model": "broken", "input": "a", "max_length": 10**9})
        assert str(tmp_path) not in long.text


def test_a_length_beyond_the_models_names_no_folder(client: TestClient, error_of: ErrorOf) -> None:
    reply = client.post("/v1/encode", json={"model": "bert", "input": "a", "max_length": 10**9})
    assert "this model allows 1 to 64 tokens" in error_of(reply)["message"]


@pytest.fixture
def two_processes(open_client: Any, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """A client of a server whose model runs in two worker processes, which need no torch and answer at once."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    if os.name == "nt":
        pytest.skip("several devices need Linux or macOS")
    monkeypatch.setattr(worker_process, "WORKER", "support.stub_worker")
    monkeypatch.setattr(worker_process, "_LOOK", 0.05)
    monkeypatch.setattr(workers, "FIRST_PAUSE", 0.3)
    with open_client(models=[f"bert={tiny_bert}"], engine="torch", device="cpu,cpu", embedding_cache=False) as client:
        yield client


def test_requests_in_flight_of_killed_workers_are_told_to_come_again_and_the_next_succeeds(
    two_processes: TestClient, error_of: ErrorOf, caplog: pytest.LogCaptureFixture
) -> None:
    client = two_processes
    engine = client.app.state.pool.entries["bert"].model._loaded.engine._engine  # type: ignore[attr-defined]
    assert embed(client, "a dog").status_code == 200
    killed = [worker.pid for worker in engine._workers.all]
    for pid in killed:  # so that both are in the midst of a batch when they die
        os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as threads:
        texts = ["a dog", "a dog and a cat " * 3]  # too unlike to share a batch
        asked = [threads.submit(embed, client, text) for text in texts]
        until(lambda: not engine._workers._free)
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        replies = [request.result(PATIENCE) for request in asked]
    for reply in replies:
        assert "has died" in error_of(reply, 503, "engine_failed")["message"]
        assert int(reply.headers["retry-after"]) >= 1
    early = embed(client, "a dog")
    assert early.status_code == 200 or early.headers["retry-after"], "nobody waits for a process that is not there"
    until(lambda: engine.stats().restarts == 2)
    assert embed(client, "a dog").status_code == 200
    assert client.get("/ready").status_code == 200
    assert 'lagotto_engine_restarts_total{model="bert"} 2.0' in client.get("/metrics").text
    assert caplog.text.count("was started again") == 2
    assert not {worker.pid for worker in engine._workers.all} & set(killed)


# The disk.


LITTLE = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))"
"""No file may grow beyond 100 kB, which is what a full disk is to a file."""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit on Windows")
def test_on_a_full_disk_every_request_is_answered(start: Callable[..., Any], tiny_bert: Path, tmp_path: Path) -> None:
    """The cache's file can't grow, nor can compiled graphs be kept."""
    folder = tmp_path / "cache"
    flags = ("--model", f"bert={tiny_bert}", "--cache-dir", folder)
    server = start(*flags, before=LITTLE, LAGOTTO_CACHE_PATH=str(tmp_path / "vectors.sqlite"))
    with httpx2.Client(base_url=server.url(), timeout=PATIENCE) as client:
        for number in range(12):
            assert embed(client, *[f"dog {number} {n}" for n in range(60)]).status_code == 200
        assert client.get("/ready").status_code == 200
    assert "nothing is written for 60 s" in server.log
    assert "Traceback" not in server.log
    assert " 500 " not in server.log


@pytest.mark.skipif(sys.platform == "win32", reason="paths of this kind are POSIX")
def test_a_cache_folder_that_cant_be_written_costs_only_time(
    start: Callable[..., Any], tiny_bert: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    server = start("--model", f"bert={tiny_bert}", "--cache-dir", tmp_path / "file" / "cache")
    with httpx2.Client(base_url=server.url(), timeout=PATIENCE) as client:
        assert embed(client, "a dog").status_code == 200
    assert "WARNING" in server.log
    assert "Traceback" not in server.log


# The clock.


@pytest.mark.parametrize("jump", [1e9, -1e9, -1.7e9])
def test_a_clock_that_is_set_changes_no_duration(
    open_client: Any, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    """Deadlines, quotas, the cache, unloading and waiting measure durations; what is stamped may be any date."""
    real = time.time
    table = {"name": str(tiny_bert), "alias": "bert", "keep_seconds": 3600}
    options = {"request_timeout_seconds": 30, "cache_path": tmp_path / "vectors.sqlite"}
    with open_client(model=[table], **options) as client:
        assert embed(client, "a dog").status_code == 200
        monkeypatch.setattr(time, "time", lambda: max(0.0, real() + jump))
        client.app.state.pool.slots.sweep()
        for headers in ({}, {"x-lagotto-timeout-ms": "30000"}, {"x-lagotto-priority": "bulk"}):
            assert embed(client, "a dog", "a cat", **headers).status_code == 200
        assert client.get("/ready").status_code == 200
        assert "lagotto_model_unloads_total 0.0" in client.get("/metrics").text
        assert client.post("/admin/reload").status_code == 200


def test_the_time_of_day_is_read_only_to_stamp_answers() -> None:
    """Whatever measures a duration reads a clock that can't be set."""
    allowed = re.compile(
        r'"created": int\(time\.time\(\)\)|"unix": time\.time\(\)|int\(time\.time\(\)\)\)|datetime\.now\(UTC\)'
        r"|st_mtime"  # the ages of files
    )
    sources = Path(lagotto.__file__).parent
    for folder in ("server", "engines", "batch", "models"):
        for file in (sources / folder).rglob("*.py"):
            for line in file.read_text(encoding="utf-8").splitlines():
                if "time.time()" in line or "datetime.now" in line:
                    assert allowed.search(line), f"{file.name}: {line.strip()}"


# The cache's file.


def test_a_damaged_journal_of_the_cache_costs_what_it_held_alone(tmp_path: Path) -> None:
    from lagotto.server.cache_disk import DiskCache

    path, copy = tmp_path / "vectors.sqlite", tmp_path / "copy.sqlite"
    disk = DiskCache(path, 1 << 20)
    disk.put({b"first" * 4: b"1" * 500})
    disk._file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    disk.put({b"second" * 4: b"2" * 500})  # in the journal alone
    for ending in ("", "-wal"):  # as a process that was killed leaves them
        Path(f"{copy}{ending}").write_bytes(Path(f"{path}{ending}").read_bytes())
    disk.close()
    journal = Path(f"{copy}-wal")
    whole = journal.read_bytes()
    for damaged in (whole[: len(whole) // 2], whole[:40] + b"\xff" * (len(whole) - 40), b"\xff" * 5000, b""):
        journal.write_bytes(damaged)
        Path(f"{copy}-shm").unlink(missing_ok=True)
        found = DiskCache(copy, 1 << 20)
        assert found.get([b"first" * 4, b"second" * 4]) == {b"first" * 4: b"1" * 500}
        connection = sqlite3.connect(copy)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        found.close()
