"""Whatever a client sends, it is answered, in OpenAI's shape, and never by a 5xx."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

letters = st.characters(categories=["L", "N", "P", "Z", "C", "S", "M"])  # lone surrogates (Cs) included
plain = st.text(min_size=1, max_size=20)
texts = st.one_of(plain, plain, plain, plain, st.text(letters, max_size=5))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
anything = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(texts, inner), max_leaves=8)


def body(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Bodies of likely fields; one time in four a field has any value at all or is not there."""
    likely = st.fixed_dictionaries(required, optional=optional)
    wild = {name: strategy | anything for name, strategy in (required | optional).items()}
    return st.one_of(likely, likely, likely, st.fixed_dictionaries({}, optional=wild))


embeddings = body(
    {
        "model": st.sampled_from(["bert", "org/xlmr:1"]),
        "input": texts | st.lists(texts) | st.lists(st.integers(-5, 300)) | st.lists(st.lists(st.integers(0, 198))),
    },
    {
        "encoding_format": st.sampled_from(["float", "base64"]),
        "dimensions": st.integers(0, 40),
        "user": texts,
    },
)
rerank = body(
    {
        "query": plain,
        "documents": st.lists(plain | st.fixed_dictionaries({"text": plain, "more": anything}), min_size=1),
        "return_documents": st.booleans(),
    },
    {
        "model": st.just("ranker"),
        "top_n": st.integers(0, 5),
        "max_chunks_per_doc": st.integers(0, 5),
        "overlap_tokens": st.integers(-1, 100),
    },
)
patiently = settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))


def check(client: TestClient, path: str, content: bytes) -> None:
    reply = client.post(path, content=content, headers={"content-type": "application/json"})
    assert reply.status_code in (200, 400, 404, 422), f"{content!r}: {reply.status_code} {reply.text}"
    answer = reply.json()
    if reply.status_code == 200:
        assert answer["usage"]["prompt_tokens"] > 0
    else:
        assert set(answer["error"]) == {"message", "type", "param", "code"}
        assert answer["error"]["message"]


@patiently
@given(request_body=embeddings)
def test_any_embeddings_request_is_answered(client: TestClient, request_body: Any) -> None:
    check(client, "/v1/embeddings", json.dumps(request_body).encode())


@patiently
@given(request_body=rerank)
def test_any_rerank_request_is_answered(client: TestClient, request_body: Any) -> None:
    check(client, "/v1/rerank", json.dumps(request_body).encode())


@settings(patiently, max_examples=50)
@given(content=st.binary() | anything.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_answered(client: TestClient, content: bytes) -> None:
    check(client, "/v1/embeddings", content)
    check(client, "/v1/rerank", content)


PATHS = [
    "/v1/encode",
    "/v2/embed",
    "/v1/embed",
    "/v2/rerank",
    "/cohere/v1/rerank",
    "/jina/v1/embeddings",
    "/jina/v1/rerank",
    "/voyage/v1/embeddings",
    "/voyage/v1/rerank",
    "/embed",
    "/embed_all",
    "/rerank",
    "/predict",
    "/similarity",
    "/tokenize",
    "/decode",
    "/",
    "/score",
    "/classify",
    "/vllm/rerank",
    "/pooling",
    "/embeddings",
    "/infinity/rerank",
]
NAMES = st.sampled_from(
    ["model", "input", "inputs", "texts", "query", "documents", "task", "input_type", "top_k", "ids", "dtype", "spans"]
)
VALUES = st.sampled_from(["bert", "ranker", "float", "query"]) | anything


@settings(patiently, max_examples=150)
@given(path=st.sampled_from(PATHS), body=st.dictionaries(NAMES, VALUES, max_size=5) | anything)
def test_no_dialect_fails_whatever_comes(client: TestClient, path: str, body: Any) -> None:
    reply = client.post(path, content=json.dumps(body).encode(), headers={"content-type": "application/json"})
    assert reply.status_code < 424, f"{path} {body!r}: {reply.status_code} {reply.text}"
    assert reply.headers["x-request-id"]
