"""A judge behind a real endpoint who knows how relevant each passage is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from lagotto import ChatEndpoint, LLMReranker
from lagotto.llm import failures
from support.chat_server import MODEL, ChatServer, judge


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ChatServer]:
    """An honest judge, after whatever the test scripts."""
    monkeypatch.setattr(failures, "_FIRST_PAUSE", 0.01)
    with ChatServer(judge()) as running:
        yield running


@pytest.fixture
def open_ranker(server: ChatServer) -> Iterator[Callable[..., LLMReranker]]:
    """``open_ranker(strategy=...)``: a reranker that asks `server`; one request at a time keeps scripts in order."""
    opened: list[LLMReranker] = []

    def make(*, concurrency: int = 1, **keywords: Any) -> LLMReranker:
        endpoint = ChatEndpoint(server.url, MODEL, concurrency=concurrency, timeout=5, max_retries=1)
        opened.append(LLMReranker(endpoint, **keywords))
        return opened[-1]

    yield make
    for ranker in opened:
        ranker.close()
