"""What comes over a bare connection: old and broken HTTP, bodies that never end, offers of other protocols."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from support.raw_http import next_status, statuses

PATIENCE = 20
LIMITS = {"LAGOTTO_HEADER_TIMEOUT_SECONDS": "0.5", "LAGOTTO_BODY_TIMEOUT_SECONDS": "0.5"}
BODY = b'{"model": "bert", "input": "a dog"}'
Connect = Callable[[], socket.socket]


@pytest.fixture
def server(start: Callable[..., Any], tiny_bert: Any) -> Any:
    return start("--model", f"bert={tiny_bert}", **LIMITS)


@pytest.fixture
def connect(server: Any) -> Iterator[Connect]:
    """``connect()``: a connection to a server, which must be alive and without a traceback in its log at the end."""
    url, opened = urlsplit(server.url()), []

    def one() -> socket.socket:
        opened.append(socket.create_connection((url.hostname, url.port), timeout=PATIENCE))
        return opened[-1]

    yield one
    for connection in opened:
        connection.close()
    assert httpx2.get(f"{server.url()}/health", timeout=PATIENCE).status_code == 200
    assert "Traceback" not in server.log


def post(*headers: bytes, body: bytes = BODY, version: bytes = b"1.1", length: bool = True) -> bytes:
    lines = [b"POST /v1/embeddings HTTP/" + version, b"host: x", b"content-type: application/json", *headers]
    lines += [b"content-length: %d" % len(body)] if length else []
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def chunks(*parts: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + end


def everything(connection: socket.socket) -> bytes:
    """What comes until the other side closes; it must."""
    found = b""
    try:
        while part := connection.recv(65536):
            found += part
    except ConnectionResetError:
        pass
    return found


def until_cut_off(connection: socket.socket, drop: bytes) -> float:
    """Seconds for which a drop after another was taken."""
    started = time.monotonic()
    try:
        while time.monotonic() - started < PATIENCE:
            connection.sendall(drop)
            time.sleep(0.05)
    except (BrokenPipeError, ConnectionResetError):
        pass
    return time.monotonic() - started


def test_old_http_is_answered_and_the_connection_closed(connect: Connect) -> None:
    for request in (post(version=b"1.0"), post(b"connection: keep-alive", version=b"1.0"), b"GET /health\r\n\r\n"):
        connection = connect()
        connection.sendall(request)
        assert statuses(everything(connection)) == [200]


def test_requests_sent_at_once_are_answered_in_their_order(connect: Connect) -> None:
    texts = ["one", "two", "three"]
    bodies = [json.dumps({"model": "bert", "input": [text] * (3 - n)}).encode() for n, text in enumerate(texts)]
    bad, last = post(body=b"{"), b"GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    connection = connect()
    connection.sendall(b"".join(post(body=body) for body in bodies) + bad + last)
    answer = everything(connection)
    assert statuses(answer) == [200, 200, 200, 400, 200]
    tokens = [int(found) for found in re.findall(rb'"prompt_tokens":(\d+)', answer)]
    assert tokens == sorted(tokens, reverse=True)
    assert tokens[0] > tokens[2]


def test_a_client_that_asks_first_is_told_to_go_on(connect: Connect) -> None:
    connection = connect()
    connection.sendall(post(b"expect: 100-continue", b"content-length: %d" % len(BODY), body=b"", length=False))
    assert statuses(connection.recv(65536)) == [100]
    connection.sendall(BODY)
    assert next_status(connection) == 200
    silent = connect()
    silent.sendall(post(b"expect: 100-continue", b"content-length: 9", body=b"", length=False))
    assert statuses(everything(silent)) == [100, 408], "one that then sends nothing is not waited for"


def test_a_body_in_pieces_is_read_and_one_without_an_end_is_not_waited_for(connect: Connect) -> None:
    head = post(b"transfer-encoding: chunked", b"connection: close", body=b"", length=False)
    whole = connect()
    whole.sendall(head + chunks(BODY[:5], BODY[5:]))
    assert statuses(everything(whole)) == [200]
    endless, started = connect(), time.monotonic()
    endless.sendall(head + chunks(BODY, end=b""))
    assert statuses(everything(endless)) == [408]
    assert time.monotonic() - started < PATIENCE / 2
    dripping = connect()
    dripping.sendall(head)
    assert until_cut_off(dripping, b"1\r\n \r\n") < PATIENCE / 2


def test_a_body_is_read_though_another_protocol_is_offered(connect: Connect) -> None:
    """Java's own client offers h2c with every request."""
    connection = connect()
    for offer in (b"h2c", b"h2c", b"websocket", b"tls/1.0"):
        offered = (b"Upgrade: " + offer, b"Connection: Upgrade, HTTP2-Settings", b"HTTP2-Settings: AAEAAEAA")
        connection.sendall(post(*offered))
        assert next_status(connection) == 200


def test_a_text_may_look_like_an_offer(connect: Connect) -> None:
    connection = connect()
    bodies = [json.dumps({"model": "bert", "input": f"a{line}upgrade: h2c"}) for line in ("", "\r\n")]
    raw = b'{"model": "bert",\r\nupgrade: 1}'
    for body, status in ((bodies[0].encode(), 200), (bodies[1].encode(), 200), (raw, 400)):
        connection.sendall(post(body=body))
        assert next_status(connection) == status


BROKEN = [
    post(b"transfer-encoding: chunked"),
    post(b"content-length: 3"),
    post(b"content-length: -3", length=False),
    post(b"content-length: +3", length=False),
    post(b"content-length: " + b"9" * 30, length=False),
    post(b"transfer-encoding: chunked", length=False) + b"zz\r\n",
    post(b"transfer-encoding: chunked", length=False, body=b"") + b"f" * 20 + b"\r\n",
    b"GET /health HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n",
    b"GET /hea\x00lth HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /v1/models/\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\nhost: x\r\na: b\r\n c: d\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"FOO /health HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nhost: x\r\n\r\n",
]


def test_broken_http_is_refused_and_the_connection_closed(connect: Connect) -> None:
    """Two lengths of one body above all: a proxy in front may believe the other one."""
    for request in BROKEN:
        connection = connect()
        connection.sendall(request)
        assert statuses(everything(connection)) == [400], request


def test_a_refused_body_that_drips_on_holds_no_connection(connect: Connect) -> None:
    connection = connect()
    connection.sendall(post(b"content-length: 9999999999", body=b"", length=False))
    assert next_status(connection) == 413, "the answer can be read"
    assert until_cut_off(connection, b"x") < PATIENCE / 2


def test_after_a_refused_body_that_comes_to_its_end_the_connection_goes_on(connect: Connect) -> None:
    connection = connect()
    connection.sendall(post(b"content-encoding: gzip", b"content-length: 5", body=b"", length=False))
    assert next_status(connection) == 415
    connection.sendall(b"12345")
    time.sleep(0.8)  # longer than the rest of a body may take
    connection.sendall(post())
    assert next_status(connection) == 200
