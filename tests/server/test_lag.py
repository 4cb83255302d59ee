"""A loop that is behind refuses what would be answered too late."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.core.errors import OverloadedError
from lagotto.server.lag import Lag
from lagotto.server.settings import Settings


def scope(path: str = "/v1/embeddings", method: str = "POST", timeout_ms: str | None = None) -> dict[str, Any]:
    headers = [] if timeout_ms is None else [(b"x-lagotto-timeout-ms", timeout_ms.encode())]
    return {"type": "http", "method": method, "path": path, "headers": headers}


def lag(seconds: float, **settings: Any) -> Lag:
    found = Lag(lambda: Settings(**settings))
    found.seconds = seconds
    return found


def test_it_measures_how_late_the_loop_is() -> None:
    async def main() -> tuple[float, float]:
        measured = Lag(Settings)
        measured.start()
        await asyncio.sleep(0.12)
        quiet = measured.seconds
        time.sleep(0.4)  # what an event loop should never do
        await asyncio.sleep(0.01)
        behind = measured.seconds
        measured.stop()
        return quiet, behind

    quiet, behind = asyncio.run(main())
    assert 0 <= quiet < behind
    assert 0.3 < behind < 5


@pytest.mark.parametrize(
    ("seconds", "timeout_ms", "refused"),
    [(0.1, "1000", False), (0.3, "1000", True), (1.5, None, False), (2.5, None, True), (1.5, "60000", False),
     (2.5, "60000", True), (0.3, "nonsense", False)],
)  # fmt: skip
def test_who_is_refused_depends_on_the_time_it_has(seconds: float, timeout_ms: str | None, refused: bool) -> None:
    behind = lag(seconds)
    if not refused:
        behind.check(scope(timeout_ms=timeout_ms))
        return
    with pytest.raises(OverloadedError, match=f"{seconds:.1f} s behind") as caught:
        behind.check(scope(timeout_ms=timeout_ms))
    assert caught.value.retry_after == seconds


def test_the_servers_own_limit_counts_where_a_request_names_none() -> None:
    with pytest.raises(OverloadedError):
        lag(0.5, request_timeout_seconds=2).check(scope())


def test_probes_figures_and_operators_get_through() -> None:
    behind = lag(100)
    behind.check(scope("/health", "GET"))
    behind.check(scope("/metrics", "GET"))
    behind.check(scope("/admin/reload"))


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tei/embed", "/v2/embed"])
def test_the_refusal_is_one_of_the_dialect_and_is_counted(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    check = Lag.check
    monkeypatch.setattr(Lag, "check", lambda self, scope: check(lag(3), scope))
    reply = client.post(path, json={"model": "bert", "input": "a"})
    assert reply.status_code == 429
    assert int(reply.headers["retry-after"]) == 3
    assert "3.0 s behind" in reply.text
    assert client.get("/health").status_code == 200
    assert 'lagotto_errors_total{reason="overloaded"}' in client.get("/metrics").text
