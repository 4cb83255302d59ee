"""``lagotto serve --workers 2``: processes that answer as one; one that dies is replaced, and none is left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from lagotto import Embedder
from lagotto.server.key_settings import digest_of
from support.held_process import HeldProcess

if not sys.platform.startswith("linux"):
    pytest.skip("processes are looked after in /proc", allow_module_level=True)

Start = Callable[..., Any]
ALL, FEW = {"x-api-key": "lgt_all"}, {"x-api-key": "lgt_few"}
PATIENCE = 60
QUOTA = 12


def each_worker(held: HeldProcess) -> str:
    """A PYTHONPATH on which every interpreter that starts finds what lets its computing wait."""
    (held.folder / "sitecustomize.py").write_text(held.computing)
    return os.pathsep.join([str(held.folder), str(Path(__file__).parents[3] / "src")])


def pids(server: Any) -> dict[int, int]:
    """The process of each worker that has become ready, the last one of each number."""
    return {int(n): int(pid) for n, pid in re.findall(r"worker (\d) of \d is ready \(process (\d+)\)", server.log)}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def soon(true: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def embed(url: str, text: str = "a dog", **headers: str) -> httpx2.Response:
    return httpx2.post(f"{url}/v1/embeddings", json={"model": "bert", "input": text}, headers=headers, timeout=60)


def count(url: str, series: str) -> float:
    page = httpx2.get(f"{url}/metrics", headers=ALL, timeout=60).text
    return float(re.search(rf"(?m)^{re.escape(series)} (\S+)$", page).group(1))  # type: ignore[union-attr]


def key(name: str, secret: str, more: str) -> str:
    return f'[[key]]\nname = "{name}"\nhash = "{digest_of(secret)}"\n{more}\n'


def settings(folder: Path, more: str = "", models: str = "") -> str:
    keys = key("all", "lgt_all", 'scopes = ["embed", "rerank", "admin", "metrics"]')
    keys += key("few", "lgt_few", f"requests_per_minute = {QUOTA}")
    return f'{more}\n[[model]]\nname = "{folder}"\nalias = "bert"\n{models}\n{keys}'


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, tiny_bert: Path) -> Path:
    file = tmp_path_factory.mktemp("settings") / "lagotto.toml"
    file.write_text(settings(tiny_bert))
    return file


@pytest.fixture(scope="module")
def duo(starting: Any, environment: None, tmp_path_factory: pytest.TempPathFactory, file: Path) -> Iterator[Any]:
    """A server of two workers with API keys, one of which has a quota."""
    with starting(tmp_path_factory.mktemp("duo")) as start:
        server = start("--config", file, "--workers", "2")
        server.url()
        yield server


def test_both_workers_answer_with_the_same_vectors_and_are_counted_together(duo: Any, embedder: Embedder) -> None:
    url, texts = duo.url(), [f"a dog {'and a panda ' * (n % 5)}" for n in range(48)]
    before = count(url, 'lagotto_texts_total{model="bert"}')
    with ThreadPoolExecutor(8) as threads:
        replies = list(threads.map(lambda text: embed(url, text, **ALL), texts))
    found = [reply.json()["data"][0]["embedding"] for reply in replies]
    np.testing.assert_allclose(found, embedder.encode(texts).dense, atol=2e-5)
    by = Counter(re.findall(r"\[(\d)\] lagotto\.access: POST /v1/embeddings 200", duo.log))
    assert set(by) == {"1", "2"}
    assert count(url, 'lagotto_texts_total{model="bert"}') == before + 48
    route = 'lagotto_requests_total{dialect="openai",route="/v1/embeddings",status="2xx"}'
    assert count(url, route) == sum(by.values())
    assert count(url, "lagotto_workers") == 2


def test_workers_share_threads(duo: Any) -> None:
    (model,) = httpx2.get(f"{duo.url()}/models", headers=ALL).json()["models"]
    assert model["engine"]["threads"] == 1, "of two"
    assert httpx2.get(f"{duo.url()}/config", headers=ALL).json()["threads"] == 2


def test_a_quota_holds_for_all_workers_together(duo: Any) -> None:
    url = duo.url()
    begun = time.monotonic()
    with ThreadPoolExecutor(8) as threads:
        statuses = Counter(threads.map(lambda _: embed(url, **FEW).status_code, range(QUOTA * 3)))
    assert set(statuses) == {200, 429}
    come = (time.monotonic() - begun) * QUOTA / 60
    assert QUOTA <= statuses[200] <= QUOTA + come


def test_new_settings_reach_all_workers_or_none(duo: Any, file: Path, tiny_bert: Path, tiny_xlmr: Path) -> None:
    url = duo.url()
    more = f'[[model]]\nname = "{tiny_xlmr}"\nalias = "xlmr"\n'
    file.write_text(settings(tiny_bert, models=more))
    body = httpx2.post(f"{url}/admin/reload", headers=ALL, timeout=60).json()
    assert body["models"]["added"] == ["xlmr"]
    listed = [[model["id"] for model in httpx2.get(f"{url}/v1/models", headers=ALL).json()["data"]] for _ in range(20)]
    assert listed == [["bert", "xlmr"]] * 20
    file.write_text("not toml")
    refused = httpx2.post(f"{url}/admin/reload", headers=ALL, timeout=60)
    assert refused.json()["error"]["code"] == "invalid_setting"
    file.write_text(settings(tiny_bert, more="max_inputs = 7"))
    duo.popen.send_signal(signal.SIGHUP)
    duo.until(lambda: duo.log.count("'removed': ['xlmr']") == 2)
    shown = [httpx2.get(f"{url}/config", headers=ALL).json()["max_inputs"] for _ in range(20)]
    assert shown == [7] * 20


def test_a_worker_that_is_killed_is_replaced_and_what_it_counted_stays(duo: Any) -> None:
    url, before = duo.url(), pids(duo)
    texts = count(url, 'lagotto_texts_total{model="bert"}')
    os.kill(before[1], signal.SIGKILL)
    soon(lambda: gone(before[1]))
    for _ in range(20):
        assert embed(url, **ALL).status_code == 200, "the other one goes on"
    after = duo.until(lambda: (found := pids(duo)) != before and found)
    assert after[2] == before[2]
    assert f"(process {before[1]}) has ended with exit code -9" in duo.log
    duo.until(lambda: count(url, "lagotto_workers") == 2)
    assert count(url, "lagotto_worker_restarts_total") == 1
    assert count(url, 'lagotto_texts_total{model="bert"}') == texts + 20
    assert embed(url, **FEW).status_code in (200, 429), "the new one knows the keys"
    shown = [httpx2.get(f"{url}/config", headers=ALL).json()["max_inputs"] for _ in range(20)]
    assert shown == [7] * 20, "and the settings in force"


def test_sigterm_lets_both_finish_and_leaves_none_behind(start: Start, tiny_bert: Path, tmp_path: Path) -> None:
    held = HeldProcess(tmp_path)
    server = start("--model", f"bert={tiny_bert}", "--workers", "2", PYTHONPATH=each_worker(held))
    url = server.url()
    with ThreadPoolExecutor(4) as threads:
        requests = [threads.submit(embed, url) for _ in range(4)]
        server.until(held.entered.exists)
        server.popen.send_signal(signal.SIGTERM)
        server.until(lambda: server.log.count("Shutting down") == 2)
        with pytest.raises(httpx2.TransportError):
            httpx2.get(f"{url}/health")
        held.gate.touch()
        answered = [request.result(60) for request in requests if request.exception(60) is None]
    assert answered
    assert {reply.status_code for reply in answered} == {200}
    assert server.end() == 0
    assert all(gone(pid) for pid in pids(server).values())
    assert "Traceback" not in server.log


@pytest.mark.parametrize(("seconds", "signals"), [("0", 1), ("600", 2)])
def test_what_outlasts_the_grace_period_or_a_second_signal_is_dropped_with_exit_code_1(
    start: Start, tiny_bert: Path, tmp_path: Path, seconds: str, signals: int
) -> None:
    held = HeldProcess(tmp_path)
    flags = ("--model", f"bert={tiny_bert}", "--workers", "2")
    server = start(*flags, PYTHONPATH=each_worker(held), LAGOTTO_SHUTDOWN_SECONDS=seconds)
    with ThreadPoolExecutor(1) as threads:
        request = threads.submit(embed, server.url())
        server.until(held.entered.exists)
        for number in range(signals):
            server.popen.send_signal(signal.SIGTERM)
            server.until(lambda: number == signals - 1 or server.log.count("Shutting down") == 2)  # noqa: B023
        assert server.end() == 1
        assert request.exception(60) or request.result().status_code >= 500
    assert all(gone(pid) for pid in pids(server).values())


def test_workers_do_not_outlive_a_supervisor_that_is_killed(start: Start, tiny_bert: Path) -> None:
    server = start("--model", f"bert={tiny_bert}", "--workers", "2")
    url, workers = server.url(), pids(server)
    assert embed(url).status_code == 200
    server.popen.kill()
    server.end()
    soon(lambda: all(gone(pid) for pid in workers.values()))


def test_a_model_that_can_t_be_loaded_ends_the_start_with_one_line(start: Start, tmp_path: Path) -> None:
    server = start("--model", str(tmp_path / "none"), "--workers", "2")
    assert server.end() == 1
    assert "Traceback" not in server.log
    errors = [line for line in server.log.splitlines() if line.startswith("lagotto: error: ")]
    assert len(errors) == 1
    assert "none" in errors[0]
    assert "serving on" not in server.log


def test_a_worker_that_can_t_start_again_is_tried_again_while_the_other_goes_on(
    start: Start, tiny_bert: Path, tmp_path: Path
) -> None:
    folder, away = tmp_path / "bert", tmp_path / "away"
    shutil.copytree(tiny_bert, folder)
    server = start("--model", f"bert={folder}", "--workers", "2")
    url, before = server.url(), pids(server)
    folder.rename(away)
    os.kill(before[2], signal.SIGKILL)
    server.until(lambda: "started again in 1 s" in server.log)
    assert "worker 2 could not start: " in server.log
    assert embed(url).status_code == 200
    away.rename(folder)
    server.until(lambda: pids(server)[2] != before[2])
    assert pids(server)[1] == before[1]
    assert "Traceback" not in server.log
