"""Connections: headers that are too large or too slow, bodies that do not come, and too many at once."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from support.held_process import HeldProcess

PATIENCE = 20
Start = Callable[..., Any]
LIMITS = {
    "LAGOTTO_MAX_HEADER_BYTES": "4000",
    "LAGOTTO_HEADER_TIMEOUT_SECONDS": "0.5",
    "LAGOTTO_BODY_TIMEOUT_SECONDS": "0.5",
    "LAGOTTO_MAX_CONNECTIONS": "20",
}


@pytest.fixture
def server(start: Start, tiny_bert: Path) -> Any:
    """A server with small limits."""
    return start("--model", f"bert={tiny_bert}", **LIMITS)


@pytest.fixture
def connect(server: Any) -> Iterator[Callable[[], socket.socket]]:
    """``connect()``: a connection to it."""
    url = urlsplit(server.url())
    with ExitStack() as stack:
        yield lambda: stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=PATIENCE))


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def answered(answer: bytes, status: int, code: str | None) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode()), answer
    assert b"connection: close" in head.lower()
    assert json.loads(body)["error"]["code"] == code


def first(connection: socket.socket) -> bytes:
    """One answer whole, head and body; it comes in as many pieces as it likes."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    head, _, body = found.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return head


def alive(server: Any) -> None:
    assert httpx2.get(f"{server.url()}/health", timeout=PATIENCE).status_code == 200


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /health HTTP/1.1\r\nhost: x\r\na: " + b"b" * 5000 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 1000 + b"\r\n",
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET /health HTTP/1.1\r\nhost: x\r\na: " + b"b" * 100_000,
        b"GET /health HTTP/1.1\r\nhost: x\r\n" + b"a: b\r\n" * 20_000,
    ],
    ids=["one large", "many", "address", "one without an end", "many without an end"],
)
def test_headers_beyond_the_limit_are_refused(
    server: Any, connect: Callable[[], socket.socket], request_bytes: bytes
) -> None:
    connection = connect()
    connection.sendall(request_bytes)
    answered(everything(connection), 431, "http_431")
    alive(server)


def test_headers_up_to_the_limit_are_read_and_every_request_has_its_own(
    server: Any, connect: Callable[[], socket.socket]
) -> None:
    connection = connect()
    for _ in range(5):
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\na: " + b"b" * 3000 + b"\r\n\r\n")
        assert first(connection).startswith(b"HTTP/1.1 200 ")
    large = json.dumps({"model": "bert", "input": "dog " * 20_000}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    connection.sendall(head % len(large) + large)
    assert first(connection).startswith(b"HTTP/1.1 200 "), "a body is no header"


@pytest.mark.parametrize("sent", [b"", b"G", b"GET /health HTTP/1.1\r\nhost: x\r\n"])
def test_a_client_that_is_slow_with_its_headers_is_answered_and_cut_off(
    server: Any, connect: Callable[[], socket.socket], sent: bytes
) -> None:
    connection = connect()
    connection.sendall(sent)
    started = time.monotonic()
    answered(everything(connection), 408, "http_408")
    assert 0.3 < time.monotonic() - started < PATIENCE
    alive(server)


def test_dripping_headers_gain_no_time(server: Any, connect: Callable[[], socket.socket]) -> None:
    connection, started = connect(), time.monotonic()
    connection.sendall(b"GET /health HTTP/1.1\r\n")
    try:
        while time.monotonic() - started < PATIENCE:
            connection.sendall(b"a: b\r\n")
            time.sleep(0.1)
    except (BrokenPipeError, ConnectionResetError):
        pass
    assert time.monotonic() - started < 5
    alive(server)


def test_the_second_request_of_a_connection_has_a_time_too(server: Any, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
    assert first(connection).startswith(b"HTTP/1.1 200 ")
    time.sleep(0.7)  # between requests a connection may rest
    connection.sendall(b"GET /health HTTP/1.1\r\n")
    answered(everything(connection), 408, "http_408")


@pytest.mark.parametrize("first", [b"", b'{"model": '])
def test_a_body_that_does_not_come_in_time_is_answered_408(
    server: Any, connect: Callable[[], socket.socket], first: bytes
) -> None:
    connection = connect()
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n"
    connection.sendall(head + first)
    answered(everything(connection), 408, None)
    server.until(lambda: "error=http_408" in server.log)
    alive(server)


def test_a_slow_computation_is_no_slow_body(start: Start, tiny_bert: Path, tmp_path: Path) -> None:
    held = HeldProcess(tmp_path)
    server = start("--model", f"bert={tiny_bert}", before=held.computing, **LIMITS)
    url, body = f"{server.url()}/v1/embeddings", {"model": "bert", "input": "a"}
    with ThreadPoolExecutor(1) as threads:
        asking = threads.submit(httpx2.post, url, json=body, timeout=PATIENCE)
        server.until(held.entered.exists)
        time.sleep(1)  # longer than a body may take
        held.gate.touch()
        assert asking.result().status_code == 200


def test_what_is_not_http_is_answered_in_json(server: Any, connect: Callable[[], socket.socket]) -> None:
    connection = connect()
    connection.sendall(b"\x16\x03\x01 hello\r\n\r\n")
    answered(everything(connection), 400, "invalid_http")
    alive(server)


def test_connections_beyond_the_limit_are_told_to_come_again(server: Any, connect: Callable[[], socket.socket]) -> None:
    url = server.url()
    resting = [connect() for _ in range(20)]
    for connection in resting:
        connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert first(connection).startswith(b"HTTP/1.1 200 ")
    reply = httpx2.get(f"{url}/health", timeout=PATIENCE)
    assert reply.status_code == 503
    assert int(reply.headers["retry-after"]) >= 1
    assert reply.json()["error"]["code"] == "too_many_connections"
    for connection in resting:
        connection.close()

    def free() -> bool:
        return httpx2.get(f"{url}/health", timeout=PATIENCE).status_code == 200

    server.until(free)


def test_two_hundred_connections_are_all_answered(start: Start, tiny_bert: Path) -> None:
    url = start("--model", f"bert={tiny_bert}").url()
    parts = urlsplit(url)
    body = json.dumps({"model": "bert", "input": "a dog"}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE))
            for _ in range(200)
        ]
        for connection in connections:
            connection.sendall(head % len(body) + body)
        assert all(connection.recv(16).startswith(b"HTTP/1.1 200") for connection in connections)


def test_sigterm_under_load_loses_no_request_that_was_taken(start: Start, tiny_bert: Path) -> None:
    server = start("--model", f"bert={tiny_bert}")
    url = server.url()

    def ask(number: int) -> int | None:
        body = {"model": "bert", "input": [f"dog {number} {n}" for n in range(5)]}
        try:
            return httpx2.post(f"{url}/v1/embeddings", json=body, timeout=PATIENCE).status_code
        except httpx2.TransportError:
            return None  # it listens no more, or its connection was never taken up

    with ThreadPoolExecutor(16) as threads:
        asked = [threads.submit(ask, number) for number in range(120)]
        server.until(lambda: server.log.count("POST /v1/embeddings 200") > 20)
        server.popen.terminate()
        statuses = [request.result() for request in asked]
    assert server.end() == 0
    assert set(statuses) == {200, None}
    assert statuses.count(200) >= 20
    assert server.log.count("POST /v1/embeddings 200") == statuses.count(200)
    assert "Traceback" not in server.log
