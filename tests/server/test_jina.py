"""Jina's dialect: tasks, several types, late chunking, a vector a token; and when a shared path speaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, Reranker, Windows
from lagotto.server.vectors import packed, typed

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
LONG = "panda " * 100
FINE = 2e-5


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


def vectors(body: Any) -> Any:
    assert set(body) == {"model", "object", "usage", "data"}
    assert [item["index"] for item in body["data"]] == list(range(len(body["data"])))
    return np.array([item["embedding"] for item in body["data"]], np.float32)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/jina/v1/embeddings"])
@pytest.mark.parametrize(
    ("task", "method"),
    [
        ("retrieval.query", "encode_queries"),
        ("code.query", "encode_queries"),
        ("retrieval.passage", "encode_documents"),
        ("code.passage", "encode_documents"),
        ("text-matching", "encode"),
    ],
)
def test_the_task_decides_the_wording(m3: TestClient, m3_model: Embedder, path: str, task: str, method: str) -> None:
    body = post(m3, path, model="m3", input=TEXTS, task=task)
    expected = getattr(m3_model, method)(TEXTS)
    np.testing.assert_allclose(vectors(body), expected.dense, atol=FINE)
    tokens = int(expected.tokens.sum())
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}


def test_texts_may_be_objects_which_tell_the_dialect(client: TestClient, embedder: Embedder) -> None:
    body = post(client, "/v1/embeddings", model="bert", input=[{"text": TEXTS[0]}, TEXTS[1]], dimensions=8)
    np.testing.assert_allclose(vectors(body), embedder.encode(TEXTS[:2], dimensions=8).dense, atol=FINE)


@pytest.mark.parametrize("name", ["embedding_type", "encoding_type"])
def test_one_type_or_several(client: TestClient, embedder: Embedder, name: str) -> None:
    dense = np.array([i["embedding"] for i in post(client, "/v1/embeddings", model="bert", input=TEXTS)["data"]])
    dense = dense.astype(np.float32)
    one = post(client, "/v1/embeddings", model="bert", input=TEXTS, **{name: "ubinary"})
    assert [item["embedding"] for item in one["data"]] == typed(dense, "ubinary").tolist()
    several = post(client, "/v1/embeddings", model="bert", input=TEXTS, **{name: ["base64", "binary"]})
    for item, row in zip(several["data"], dense, strict=True):
        assert item["embedding"] == {"base64": packed(row), "binary": typed(row, "binary").tolist()}
    single = post(client, "/v1/embeddings", model="bert", input=TEXTS, **{name: ["binary"]})
    assert [item["embedding"] for item in single["data"]] == typed(dense, "binary").tolist()


def test_vectors_may_keep_their_length(client: TestClient, embedder: Embedder) -> None:
    body = post(client, "/v1/embeddings", model="bert", input=TEXTS, normalized=False)
    np.testing.assert_allclose(vectors(body), embedder.encode(TEXTS, normalize=False).dense, atol=1e-4)


def test_late_chunking_reads_the_inputs_as_one_text(client: TestClient, embedder: Embedder) -> None:
    body = post(client, "/v1/embeddings", model="bert", input=TEXTS, late_chunking=True)
    text = " ".join(TEXTS)
    spans = [(text.index(part), text.index(part) + len(part)) for part in TEXTS]
    expected = embedder.encode_spans(text, spans)
    np.testing.assert_allclose(vectors(body), expected.dense, atol=FINE)
    assert body["usage"]["total_tokens"] == int(expected.tokens[0])


def test_late_chunking_of_a_long_whole_reads_windows_unless_it_may_not(client: TestClient, embedder: Embedder) -> None:
    parts = [f"{LONG} {word}" for word in ("dog", "cat")]
    body = post(client, "/v1/embeddings", model="bert", input=parts, late_chunking=True)
    first = len(parts[0])
    spans = [(0, first), (first + 1, first + 1 + len(parts[1]))]
    expected = embedder.encode_spans(" ".join(parts), spans, truncation=Windows())
    np.testing.assert_allclose(vectors(body), expected.dense, atol=FINE)
    reply = post(client, "/jina/v1/embeddings", 400, model="bert", input=parts, late_chunking=True, truncate=False)
    assert reply["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("embedding_type", ["float", "binary", "base64"])
def test_a_vector_a_token_comes_under_embeddings(m3: TestClient, m3_model: Embedder, embedding_type: str) -> None:
    wish = {"model": "m3", "input": TEXTS, "return_multivector": True, "embedding_type": embedding_type}
    body = post(m3, "/v1/embeddings", **wish)
    expected = m3_model.encode(TEXTS, outputs=("multivector",)).multivector
    assert expected is not None
    for item, matrix in zip(body["data"], expected, strict=True):
        if embedding_type == "float":
            np.testing.assert_allclose(item["embeddings"], matrix, atol=FINE)
        else:
            assert len(item["embeddings"]) == len(matrix)


def test_a_model_without_such_vectors_says_what_it_gives(client: TestClient) -> None:
    body = post(client, "/jina/v1/embeddings", 400, model="bert", input=["a"], return_multivector=True)
    assert "no multivector vectors, only dense" in body["detail"]


@pytest.mark.parametrize("wish", [{"late_chunking": True}, {"dimensions": 8}])
def test_wishes_that_contradict_each_other_are_refused(m3: TestClient, wish: Any) -> None:
    post(m3, "/jina/v1/embeddings", 400, model="m3", input=["a"], return_multivector=True, **wish)


@pytest.mark.parametrize(("truncate", "status"), [(True, 200), (False, 400), (None, 200)])
def test_truncate(client: TestClient, truncate: Any, status: int) -> None:
    reply = client.post("/jina/v1/embeddings", json={"model": "bert", "input": ["a", LONG], "truncate": truncate})
    assert reply.status_code == status
    assert reply.headers.get("x-lagotto-truncated") == ("1" if status == 200 else None)


def test_a_server_that_refuses_long_texts_cuts_them_for_who_asks(open_client: Any, tiny_bert: Any) -> None:
    with open_client(models=[f"bert={tiny_bert}"], truncation="error") as client:
        for truncate, status in ((True, 200), (None, 400)):
            post(client, "/jina/v1/embeddings", status, model="bert", input=LONG, truncate=truncate)


def test_rerank_sends_documents_back_unless_told_not_to(client: TestClient, ranker: Reranker) -> None:
    documents = ["a dog", {"text": "a panda"}]
    wish = {"model": "ranker", "query": {"text": "panda"}, "documents": documents}
    body = post(client, "/jina/v1/rerank", **wish)
    expected = ranker.rank("panda", ["a dog", "a panda"])
    assert [hit["index"] for hit in body["results"]] == [hit.index for hit in expected]
    assert [hit["document"] for hit in body["results"]] == [{"text": hit.text} for hit in expected]
    assert body["usage"]["total_tokens"] == expected.tokens
    bare = post(client, "/jina/v1/rerank", return_documents=False, top_n=1, **wish)
    assert [set(hit) for hit in bare["results"]] == [{"index", "relevance_score"}]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", {"model": "bert", "input": ["a"], "task": "none"}, 422),
        ("/v1/embeddings", {"model": "bert", "input": ["a"], "task": "separation", "encoding_format": "float"}, 422),
        ("/jina/v1/embeddings", {"model": "bert"}, 422),
        ("/jina/v1/embeddings", {"model": "bert", "input": [{"image": "x"}]}, 422),
        ("/jina/v1/embeddings", {"model": "bert", "input": []}, 400),
        ("/v1/embeddings", {"model": "none", "input": ["a"], "task": "separation"}, 404),
        ("/jina/v1/rerank", {"model": "ranker", "query": "a"}, 422),
        ("/jina/v1/rerank", {"model": "bert", "query": "a", "documents": ["a"]}, 400),
        ("/jina/nowhere", {}, 404),
    ],
)
def test_errors_have_all_names_that_clients_look_for(client: TestClient, path: str, body: Any, status: int) -> None:
    reply = post(client, path, status, **body)
    assert set(reply) == {"detail", "message", "error"}
    assert reply["detail"] == reply["message"] == reply["error"]["message"]


def test_what_is_not_json_is_refused_with_422(client: TestClient) -> None:
    reply = client.post("/jina/v1/rerank", content=b"{", headers={"content-type": "application/json"})
    assert (reply.status_code, "not JSON" in reply.json()["detail"]) == (422, True)
