"""Voyage's dialect, on its own paths and on shared ones."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, Reranker
from lagotto.server.vectors import typed

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
LONG = "panda " * 100
FINE = 2e-5


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize("path", ["/v1/embeddings", "/voyage/v1/embeddings"])
@pytest.mark.parametrize(
    ("input_type", "method"), [("query", "encode_queries"), ("document", "encode_documents"), (None, "encode")]
)
def test_the_input_type_decides_the_wording(
    m3: TestClient, m3_model: Embedder, path: str, input_type: Any, method: str
) -> None:
    body = post(m3, path, model="m3", input=TEXTS, input_type=input_type, output_dimension=8)
    assert set(body) == {"object", "data", "model", "usage"}
    expected = getattr(m3_model, method)(TEXTS, dimensions=8)
    np.testing.assert_allclose([item["embedding"] for item in body["data"]], expected.dense, atol=FINE)
    assert body["usage"] == {"total_tokens": int(expected.tokens.sum())}


@pytest.mark.parametrize("dtype", ["float", "int8", "uint8", "binary", "ubinary"])
def test_numbers_and_their_bytes(client: TestClient, embedder: Embedder, dtype: str) -> None:
    wish = {"model": "bert", "input": TEXTS, "output_dtype": dtype}
    numbers = [item["embedding"] for item in post(client, "/v1/embeddings", **wish)["data"]]
    packed = [item["embedding"] for item in post(client, "/v1/embeddings", encoding_format="base64", **wish)["data"]]
    kind: Any = "f32" if dtype == "float" else dtype
    example = typed(embedder.encode(TEXTS).dense, kind)
    found = [np.frombuffer(base64.b64decode(text), example.dtype) for text in packed]
    np.testing.assert_array_equal(found, np.array(numbers, example.dtype))
    if dtype == "float":
        np.testing.assert_allclose(found, example, atol=FINE)


@pytest.mark.parametrize(("truncation", "status"), [(True, 200), (False, 400), (None, 200)])
def test_truncation(client: TestClient, truncation: Any, status: int) -> None:
    reply = client.post("/v1/embeddings", json={"model": "bert", "input": ["a", LONG], "truncation": truncation})
    assert reply.status_code == status
    assert reply.headers.get("x-lagotto-truncated") == ("1" if status == 200 else None)


@pytest.mark.parametrize("path", ["/v1/rerank", "/voyage/v1/rerank"])
def test_top_k_tells_the_dialect_and_results_are_data(client: TestClient, ranker: Reranker, path: str) -> None:
    documents = ["a dog", "a panda", "paris"]
    wish = {"model": "ranker", "query": "panda", "documents": documents, "top_k": 2}
    body = post(client, path, **wish)
    expected = ranker.rank("panda", documents, top_n=2)
    assert set(body) == {"object", "data", "model", "usage"}
    assert [hit["index"] for hit in body["data"]] == [hit.index for hit in expected]
    assert [set(hit) for hit in body["data"]] == [{"index", "relevance_score"}] * 2
    assert body["usage"] == {"total_tokens": expected.tokens}
    with_documents = post(client, path, return_documents=True, **wish)
    assert [hit["document"] for hit in with_documents["data"]] == [hit.text for hit in expected]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", {"model": "bert", "input": ["a"], "input_type": "none"}, 400),
        ("/v1/embeddings", {"model": "none", "input": ["a"], "input_type": "query"}, 404),
        ("/voyage/v1/embeddings", {"model": "bert", "input": ["a"], "dimensions": 8}, 400),
        ("/voyage/v1/embeddings", {"model": "bert", "input": [20]}, 400),
        ("/v1/rerank", {"model": "ranker", "query": "a", "documents": ["a"], "top_k": 0}, 400),
        ("/v1/rerank", {"model": "ranker", "query": "", "documents": ["a"], "top_k": 1}, 400),
        ("/voyage/nowhere", {}, 404),
    ],
)
def test_errors_are_details(client: TestClient, path: str, body: Any, status: int) -> None:
    reply = post(client, path, status, **body)
    assert list(reply) == ["detail"]
    assert reply["detail"]
