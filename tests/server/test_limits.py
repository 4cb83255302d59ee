"""Request bodies over the limit are refused before they fill memory."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

LIMIT = 2000
ErrorOf = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def small(open_client: Any, tiny_bert: Path) -> Iterator[TestClient]:
    with open_client(models=[f"bert={tiny_bert}"], max_body_bytes=LIMIT) as client:
        yield client


def request_of(size: int) -> bytes:
    """A good request of exactly so many bytes."""
    empty = json.dumps({"model": "bert", "input": "a "})
    return json.dumps({"model": "bert", "input": "a " + "b" * (size - len(empty))}).encode()


def chunks(content: bytes, size: int = 100) -> Iterator[bytes]:
    """A body without an announced length."""
    yield from (content[start : start + size] for start in range(0, len(content), size))


def post(client: TestClient, content: Any) -> Any:
    return client.post("/v1/embeddings", content=content, headers={"content-type": "application/json"})


def test_a_body_of_just_the_limit_is_read(small: TestClient) -> None:
    assert post(small, request_of(LIMIT)).status_code == 200
    assert post(small, chunks(request_of(LIMIT))).status_code == 200


@pytest.mark.parametrize("size", [LIMIT + 1, 10 * LIMIT])
def test_an_announced_body_over_the_limit_is_refused_with_413(small: TestClient, error_of: ErrorOf, size: int) -> None:
    error = error_of(post(small, request_of(size)), 413, "request_too_large")
    assert str(LIMIT) in error["message"]


@pytest.mark.parametrize("size", [LIMIT + 1, 10 * LIMIT])
def test_a_chunked_body_over_the_limit_is_refused_with_413(small: TestClient, error_of: ErrorOf, size: int) -> None:
    error = error_of(post(small, chunks(request_of(size))), 413, "request_too_large")
    assert str(LIMIT) in error["message"]


def test_paths_that_read_no_body_have_the_limit_too(small: TestClient, error_of: ErrorOf) -> None:
    reply = small.request("GET", "/health", content=b"x" * 10 * LIMIT)
    error_of(reply, 413, "request_too_large")


def test_the_limit_is_the_same_for_rerank(small: TestClient, error_of: ErrorOf) -> None:
    error_of(small.post("/v1/rerank", json={"query": "a", "documents": ["b" * LIMIT]}), 413, "request_too_large")
