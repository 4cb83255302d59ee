"""A thousand connections at once, resting and asking, and what the system allows."""

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from lagotto.server import run
from support.raw_http import next_status

resource = pytest.importorskip("resource", reason="there are no such limits on Windows")

NUMBER, PATIENCE = 1000, 60
HEAD = b"POST /v1/embeddings HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
FEW = (
    "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (200, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))"
)


@pytest.fixture
def room() -> Any:
    """Enough descriptors for the test's own end of all connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = NUMBER + 500
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"this system allows {hard} open files")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_thousand_connections_rest_and_ask_at_once(start: Callable[..., Any], tiny_bert: Path, room: None) -> None:
    """The server begins with room for two hundred, and lets itself have more."""
    server = start("--model", f"bert={tiny_bert}", before=FEW)
    url = urlsplit(server.url())
    server.until(lambda: not httpx2.get(f"{server.url()}/metrics").is_error)
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection((url.hostname, url.port), timeout=PATIENCE))
            for _ in range(NUMBER)
        ]
        for connection in connections:  # all of them have been taken up when each has its answer
            connection.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
        assert all(next_status(connection) == 200 for connection in connections)
        asking = connections[::2]  # the others rest
        for number, connection in enumerate(asking):
            body = json.dumps({"model": "bert", "input": f"dog {number}"}).encode()
            connection.sendall(HEAD % len(body) + body)
        assert all(next_status(connection) == 200 for connection in asking)
        with socket.create_connection((url.hostname, url.port), timeout=PATIENCE) as one_more:
            one_more.sendall(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n")
            assert next_status(one_more) == 503, "the limit is a thousand"
    server.until(lambda: httpx2.get(f"{server.url()}/health").status_code == 200)
    assert "Traceback" not in server.log
    assert "out of system resource" not in server.log
    if sys.platform == "linux":
        folder = Path(f"/proc/{server.popen.pid}/fd")
        server.until(lambda: len(list(folder.iterdir())) < 100)


@pytest.mark.parametrize(
    ("limits", "wanted", "warned"),
    [
        ((256, 20_000), (1128, 20_000), False),
        ((256, resource.RLIM_INFINITY), (1128, resource.RLIM_INFINITY), False),
        ((256, 1000), (1000, 1000), True),
        ((4096, 4096), None, False),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), None, False),
    ],
)
def test_a_server_lets_itself_open_as_many_files_as_connections_need(
    monkeypatch: pytest.MonkeyPatch, caplog: Any, limits: Any, wanted: Any, warned: bool
) -> None:
    given: list[Any] = []
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    monkeypatch.setattr(resource, "setrlimit", lambda kind, limits: given.append(limits))
    with caplog.at_level(logging.WARNING):
        run._allow_connections(1000)
    assert given == ([] if wanted is None else [wanted])
    assert ("lower max_connections" in caplog.text) == warned
