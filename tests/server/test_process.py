"""The server as a process: starting, stopping, many clients at once, and what its log tells."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import ConfigError
from lagotto.server.run import serve
from lagotto.server.settings import Settings
from support.checkpoints import some_texts
from support.held_process import HeldProcess

Start = Callable[..., Any]
MARKER = "quetzalcoatl"
posix = pytest.mark.skipif(sys.platform == "win32", reason="signals of this kind are POSIX")


@pytest.fixture
def held(tmp_path: Path) -> HeldProcess:
    return HeldProcess(tmp_path)


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as threads:
        yield threads


def embed(url: str, text: str = "a dog") -> httpx2.Response:
    return httpx2.post(f"{url}/v1/embeddings", json={"model": "bert", "input": text}, timeout=60)


# Answers.


def test_sixty_four_clients_at_once_get_what_the_library_computes(
    start: Start, tiny_bert: Path, tiny_reranker: Path, embedder: Embedder, ranker: Reranker
) -> None:
    server = start("--model", f"bert={tiny_bert}", "--model", f"ranker={tiny_reranker}")
    url = server.url()
    texts = [[text or "a" for text in some_texts(1 + n % 7, seed=n)] for n in range(64)]

    async def embeddings(client: httpx2.AsyncClient, given: list[str]) -> Any:
        reply = await client.post("/v1/embeddings", json={"model": "bert", "input": given})
        return [item["embedding"] for item in reply.json()["data"]]

    async def scores(client: httpx2.AsyncClient, given: list[str]) -> Any:
        reply = await client.post("/v1/rerank", json={"query": "panda", "documents": given})
        return {result["index"]: result["relevance_score"] for result in reply.json()["results"]}

    async def everything() -> Any:
        async with httpx2.AsyncClient(base_url=url, timeout=60) as client:
            asked = [embeddings(client, given) for given in texts], [scores(client, given) for given in texts]
            return [await asyncio.gather(*requests) for requests in asked]

    vectors, rankings = asyncio.run(everything())
    for given, found, ranked in zip(texts, vectors, rankings, strict=True):
        np.testing.assert_allclose(found, embedder.encode(given).dense, atol=2e-5)
        expected = {hit.index: hit.score for hit in ranker.rank("panda", given)}
        np.testing.assert_allclose([ranked[i] for i in expected], list(expected.values()), atol=2e-5)
    assert "ERROR" not in server.log


def test_the_log_holds_no_text_of_any_request(start: Start, tiny_bert: Path, tiny_reranker: Path) -> None:
    server = start("--model", f"bert={tiny_bert}", "--model", f"ranker={tiny_reranker}", "--log-level", "debug")
    url = server.url()
    bodies: list[Any] = [
        {"model": "bert", "input": MARKER},
        {"model": "bert", "input": [MARKER, MARKER * 500]},
        {"model": "bert", "input": [MARKER, ""]},
        {"model": "bert", "input": MARKER, "dimensions": 99},
        {"model": "bert", "input": MARKER, "user": MARKER},
        {"model": "bert", "input": {"text": MARKER}},
        {"model": "none", "input": MARKER},
        {"model": "ranker", "input": MARKER},
        {"query": MARKER, "documents": [MARKER, {"text": MARKER}]},
        {"query": MARKER, "documents": [{"title": MARKER}]},
        {"query": MARKER, "documents": [{"text": MARKER, "extra": 2**70}], "return_documents": True},
    ]
    for body in bodies:
        httpx2.post(f"{url}/v1/{'rerank' if 'query' in body else 'embeddings'}", json=body)
    for content in (f'{{"model": "bert", "input": "{MARKER}', MARKER):
        httpx2.post(f"{url}/v1/embeddings", content=content, headers={"content-type": "application/json"})
    server.popen.terminate()
    server.end()
    assert "/v1/rerank" in server.log, "requests are logged"
    assert MARKER not in server.log.lower()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_that_sends_too_much_is_answered(start: Start, tiny_bert: Path, chunked: bool) -> None:
    server = start("--model", f"bert={tiny_bert}", LAGOTTO_MAX_BODY_BYTES="5000")
    url, body = server.url(), b"x" * 20_000_000
    content = (body[at : at + 100_000] for at in range(0, len(body), 100_000)) if chunked else body
    for _ in range(3):
        reply = httpx2.post(f"{url}/v1/embeddings", content=content, headers={"content-type": "application/json"})
        assert reply.status_code == 413
        content = body
    assert embed(url).status_code == 200


# Stopping.


@posix
def test_sigterm_lets_a_request_in_flight_finish_takes_no_new_one_and_exits_0(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.computing)
    url = server.url()
    request = threads.submit(embed, url)
    server.until(held.entered.exists)
    server.popen.send_signal(signal.SIGTERM)
    server.until(lambda: "Shutting down" in server.log)
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}/health")
    assert not request.done()
    held.gate.touch()
    reply = request.result(60)
    assert reply.status_code == 200
    assert len(reply.json()["data"][0]["embedding"]) == 32
    assert server.end() == 0
    assert "Traceback" not in server.log


@posix
def test_sigterm_computes_what_is_queued(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.computing)
    url = server.url()
    requests = [threads.submit(embed, url, "a dog " * (number + 1)) for number in range(4)]
    server.until(held.entered.exists)
    server.until(lambda: httpx2.get(f"{url}/health").status_code == 200)
    server.popen.send_signal(signal.SIGTERM)
    server.until(lambda: "Shutting down" in server.log)
    held.gate.touch()
    statuses = [request.result(60).status_code for request in requests if request.exception(60) is None]
    assert statuses
    assert set(statuses) == {200}, "what was taken is answered"
    assert server.end() == 0


@posix
def test_a_request_that_outlasts_the_grace_period_does_not_hold_the_process(
    start: Start, tiny_bert: Path, held: HeldProcess, threads: ThreadPoolExecutor
) -> None:
    server = start("--model", f"bert={tiny_bert}", before=held.computing, LAGOTTO_SHUTDOWN_SECONDS="0")
    request = threads.submit(embed, server.url())
    server.until(held.entered.exists)
    server.popen.send_signal(signal.SIGTERM)
    try:
        server.end(patience=10)
    finally:
        server.popen.kill()
    assert request.exception(60) or request.result().status_code >= 500


@posix
def test_ctrl_c_ends_without_a_traceback(start: Start, tiny_bert: Path) -> None:
    server = start("--model", f"bert={tiny_bert}")
    url = server.url()
    assert embed(url).status_code == 200
    server.popen.send_signal(signal.SIGINT)
    assert server.end() in (0, 130)
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log
    assert "Application shutdown complete" in server.log


@posix
def test_the_function_itself_returns_after_ctrl_c(start: Start, tiny_bert: Path) -> None:
    settings = f"load_settings(models=['bert={tiny_bert}'], precision='f32', port=0)"
    imports = "from lagotto.server.run import serve\nfrom lagotto.server.settings import load_settings"
    server = start(before=f"{imports}\nserve({settings})\nprint('returned', flush=True)\nsys.exit(0)")
    server.url()
    server.popen.send_signal(signal.SIGINT)
    assert server.end() == 0, server.log
    assert "returned" in server.log
    assert "Traceback" not in server.log


# Starting.


def test_a_port_in_use_is_a_mistake_that_names_the_port(tiny_bert: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}.*--port \(API_PORT\)"):
            serve(Settings(models=[str(tiny_bert)], port=port))


def test_a_host_that_is_not_this_machines_is_a_mistake(tiny_bert: Path) -> None:
    with pytest.raises(ConfigError, match=r"can't listen on 192\.0\.2\.1:0"):
        serve(Settings(models=[str(tiny_bert)], host="192.0.2.1", port=0))


def test_the_command_says_in_one_line_why_it_does_not_start(start: Start, tiny_bert: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        used = start("--model", str(tiny_bert), "--port", port)
        missing = start("--model", str(tmp_path / "none"))
        damaged = start("--model", f"x={_damaged(tiny_bert, tmp_path)}")
        for server, says in ((used, str(port)), (missing, "none"), (damaged, "damaged")):
            assert server.end() == 1
            assert "Traceback" not in server.log
            errors = [line for line in server.log.splitlines() if line.startswith("lagotto: error: ")]
            assert len(errors) == 1
            assert says in errors[0]
            assert "serving on" not in server.log


def _damaged(folder: Path, tmp_path: Path) -> Path:
    """A copy of a checkpoint whose weights end early."""
    copy = tmp_path / "damaged"
    copy.mkdir()
    for file in folder.rglob("*.*"):
        if file.is_file():
            place = copy / file.relative_to(folder)
            place.parent.mkdir(exist_ok=True)
            place.write_bytes(file.read_bytes()[:300] if file.suffix == ".safetensors" else file.read_bytes())
    return copy


def test_the_port_is_not_open_before_the_models_are_loaded(start: Start, tiny_bert: Path, held: HeldProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = start("--model", f"bert={tiny_bert}", "--port", port, before=held.loading)
    server.until(held.entered.exists)
    with pytest.raises(httpx2.ConnectError):
        httpx2.get(f"http://127.0.0.1:{port}/health")
    held.gate.touch()
    assert embed(server.url()).status_code == 200


def _has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


@pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6")
def test_an_ipv6_address_is_logged_as_a_url(start: Start, tiny_bert: Path) -> None:
    server = start("--model", f"bert={tiny_bert}", "--host", "::1")
    url = server.url()
    assert url.startswith("http://[::1]:")
    assert embed(url).status_code == 200


def test_the_environment_configures_the_command(start: Start, tiny_bert: Path) -> None:
    names = {"LAGOTTO_SERVE_MODELS": f"bert={tiny_bert}", "LOG_LEVEL": "WARNING"}
    with socket.create_server(("127.0.0.1", 0)) as free:
        names["API_PORT"] = str(free.getsockname()[1])
    before = "import lagotto.cli.main as cli\ncommand = ['serve', '--precision', 'f32']"
    server = start(before=f"{before}\nsys.argv[1:] = command\ncli.main()", **names)
    url = f"http://127.0.0.1:{names['API_PORT']}"
    server.until(lambda: _answers(url))
    assert embed(url).status_code == 200
    assert server.log == "", "at level warning there is nothing to say"
    assert os.environ.get("API_PORT") is None


def _answers(url: str) -> bool:
    try:
        return httpx2.get(f"{url}/health").status_code == 200
    except httpx2.TransportError:
        return False
