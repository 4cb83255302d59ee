"""Cohere's dialect: typed embeddings, roles, truncation, both versions of rerank."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, Reranker
from lagotto.server.vectors import packed, typed

TEXTS = ["a dog", "the giant panda", "paris"]
LONG = "panda " * 100
FINE = 2e-5


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize(
    ("input_type", "method"),
    [
        ("search_query", "encode_queries"),
        ("search_document", "encode_documents"),
        ("classification", "encode"),
        ("clustering", "encode"),
    ],
)
@pytest.mark.parametrize("path", ["/v1/embed", "/v2/embed", "/cohere/v1/embed", "/cohere/v2/embed"])
def test_the_input_type_decides_the_wording(
    m3: TestClient, m3_model: Embedder, path: str, input_type: str, method: str
) -> None:
    body = post(m3, path, model="m3", texts=TEXTS, input_type=input_type, embedding_types=["float"])
    expected = getattr(m3_model, method)(TEXTS)
    np.testing.assert_allclose(body["embeddings"]["float"], expected.dense, atol=FINE)
    assert (body["texts"], body["response_type"]) == (TEXTS, "embeddings_by_type")
    tokens = int(expected.tokens.sum())
    assert body["meta"] == {
        "api_version": {"version": path[-7]},
        "billed_units": {"input_tokens": tokens},
        "tokens": {"input_tokens": tokens, "output_tokens": 0},
    }


def test_every_type_of_numbers(client: TestClient, embedder: Embedder) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    body = post(client, "/v2/embed", model="bert", texts=TEXTS, input_type="clustering", embedding_types=types)
    found = body["embeddings"]
    assert list(found) == types
    dense = np.array(found["float"], np.float32)
    np.testing.assert_allclose(dense, embedder.encode(TEXTS).dense, atol=FINE)
    for name in ("int8", "uint8", "binary", "ubinary"):
        assert found[name] == typed(dense, name).tolist()  # type: ignore[arg-type]
    assert found["base64"] == [packed(row) for row in dense]


def test_version_1_without_types_gives_plain_lists(client: TestClient, embedder: Embedder) -> None:
    body = post(client, "/v1/embed", model="bert", texts=TEXTS)
    np.testing.assert_allclose(body["embeddings"], embedder.encode(TEXTS).dense, atol=FINE)
    assert body["response_type"] == "embeddings_floats"


def test_parts_of_inputs_are_lines(client: TestClient, embedder: Embedder) -> None:
    inputs = [{"content": [{"type": "text", "text": "a dog"}, {"type": "text", "text": "paris"}]}]
    body = post(client, "/v2/embed", model="bert", inputs=inputs, input_type="clustering")
    np.testing.assert_allclose(body["embeddings"]["float"], embedder.encode(["a dog\nparis"]).dense, atol=FINE)


@pytest.mark.parametrize(("truncate", "side"), [("START", "left"), ("END", "right"), (None, "right")])
def test_truncate_and_max_tokens(client: TestClient, embedder: Embedder, truncate: Any, side: Any) -> None:
    text = "paris " + LONG + " water"
    wish = {} if truncate is None else {"truncate": truncate}
    reply = client.post(
        "/v2/embed",
        json={"model": "bert", "texts": ["a", text], "input_type": "clustering", "max_tokens": 20, **wish},
    )
    expected = embedder.encode(["a", text], max_length=20, truncation=side)
    np.testing.assert_allclose(reply.json()["embeddings"]["float"], expected.dense, atol=FINE)
    assert reply.headers["x-lagotto-truncated"] == "1"
    (warning,) = reply.json()["meta"]["warnings"]
    assert warning.endswith("inputs 1")


def test_truncate_none_refuses_and_more_tokens_than_the_model_reads_are_no_wish(client: TestClient) -> None:
    wish = {"model": "bert", "texts": [LONG], "input_type": "clustering"}
    assert "100 tokens" in post(client, "/v2/embed", 400, truncate="NONE", **wish)["message"]
    assert post(client, "/v2/embed", max_tokens=100_000, **wish)["meta"]["tokens"]["input_tokens"] == 64


def test_output_dimension(client: TestClient, embedder: Embedder) -> None:
    body = post(client, "/v2/embed", model="bert", texts=TEXTS, input_type="clustering", output_dimension=8)
    np.testing.assert_allclose(body["embeddings"]["float"], embedder.encode(TEXTS, dimensions=8).dense, atol=FINE)


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v2/embed", {"model": "bert", "texts": ["a"]}, 400),
        ("/v2/embed", {"model": "bert", "input_type": "clustering"}, 400),
        ("/v2/embed", {"model": "bert", "input_type": "clustering", "texts": ["a"], "inputs": []}, 400),
        ("/v2/embed", {"model": "bert", "input_type": "image", "texts": ["a"]}, 400),
        ("/v2/embed", {"model": "bert", "input_type": "clustering", "texts": ["a"], "embedding_types": []}, 400),
        ("/v2/embed", {"model": "none", "input_type": "clustering", "texts": ["a"]}, 404),
        ("/v2/embed", {"model": "ranker", "input_type": "clustering", "texts": ["a"]}, 400),
        ("/v1/embed", {"model": "bert", "texts": []}, 400),
        ("/v1/embed", {"model": "bert", "texts": [""]}, 400),
        ("/v1/embed", {"model": "bert", "texts": ["a"], "images": ["data:"]}, 400),
        ("/v2/rerank", {"model": "ranker", "query": "", "documents": ["a"]}, 400),
        ("/v2/rerank", {"model": "ranker", "query": "a", "documents": []}, 400),
        ("/v2/rerank", {"model": "ranker", "query": "a", "documents": [{"text": "a"}]}, 400),
        ("/cohere/v1/rerank", {"query": "a", "documents": [{"title": "a"}]}, 400),
        ("/cohere/v1/rerank", {"query": "a", "documents": [{"text": "a"}], "rank_fields": ["title"]}, 400),
        ("/cohere/nowhere", {}, 404),
    ],
)
def test_errors_are_messages(client: TestClient, path: str, body: Any, status: int) -> None:
    reply = post(client, path, status, **body)
    assert list(reply) == ["message"]
    assert reply["message"]


@pytest.mark.parametrize("path", ["/v2/rerank", "/cohere/v2/rerank"])
def test_version_2_reranks_and_sends_no_documents(client: TestClient, ranker: Reranker, path: str) -> None:
    documents = ["a dog", "a panda", LONG]
    body = post(client, path, model="ranker", query="panda", documents=documents, top_n=2, max_tokens_per_doc=5)
    expected = ranker.rank("panda", documents, top_n=2, document_max_length=5)
    assert [(hit["index"], set(hit)) for hit in body["results"]] == [
        (hit.index, {"index", "relevance_score"}) for hit in expected
    ]
    assert body["meta"]["api_version"] == {"version": "2"}
    assert body["meta"]["warnings"] == ["not read whole, since they are longer than the model reads: inputs 2"]


def test_version_1_reads_the_fields_asked_for(client: TestClient, ranker: Reranker) -> None:
    documents = [{"title": "panda", "text": "a bear"}, {"title": "dog", "text": "an animal"}]
    wish = {"query": "what is a panda", "documents": documents, "return_documents": True}
    body = post(client, "/cohere/v1/rerank", rank_fields=["title", "text"], **wish)
    expected = ranker.rank("what is a panda", ["title: panda\ntext: a bear", "title: dog\ntext: an animal"])
    assert [hit["index"] for hit in body["results"]] == [hit.index for hit in expected]
    found = [hit["relevance_score"] for hit in body["results"]]
    np.testing.assert_allclose(found, [hit.score for hit in expected], atol=FINE)
    assert [hit["document"] for hit in body["results"]] == [documents[hit.index] for hit in expected]
    plain = post(client, "/cohere/v1/rerank", **wish)
    only = ranker.rank("what is a panda", ["a bear", "an animal"])
    assert plain["results"][0]["relevance_score"] == pytest.approx(only[0].score, abs=FINE)
