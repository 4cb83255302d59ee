"""A scripted endpoint."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.chat_server import ChatServer


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, no proxy."""
    for name in ("LAGOTTO_LLM_API_KEY", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """Says "ok", after whatever the test scripts."""
    with ChatServer() as running:
        yield running
