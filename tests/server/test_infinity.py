"""Infinity's dialect, on its own paths and on shared ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, Reranker

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
FINE = 2e-5


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize("path", ["/embeddings", "/infinity/embeddings"])
@pytest.mark.parametrize("model", ["bert", "default/not-specified", None])
def test_embeddings_have_an_id_and_a_time(client: TestClient, embedder: Embedder, path: str, model: str | None) -> None:
    wish = {} if model is None else {"model": model}
    body = post(client, path, input=TEXTS, modality="text", dimensions=0, **wish)
    assert set(body) == {"object", "data", "model", "usage", "id", "created"}
    assert body["model"] == "bert"
    np.testing.assert_allclose([item["embedding"] for item in body["data"]], embedder.encode(TEXTS).dense, atol=FINE)
    cut = post(client, path, input=TEXTS, dimensions=8, encoding_format="base64", **wish)
    assert all(len(item["embedding"]) == 44 for item in cut["data"])


@pytest.mark.parametrize(("path", "wish"), [("/rerank", {"raw_scores": False}), ("/infinity/rerank", {})])
def test_rerank_sends_bare_strings_back(client: TestClient, ranker: Reranker, path: str, wish: Any) -> None:
    given = {"query": "panda", "documents": TEXTS, "model": "default/not-specified", **wish}
    body = post(client, path, return_documents=True, top_n=2, **given)
    expected = ranker.rank("panda", TEXTS, top_n=2)
    assert set(body) == {"object", "results", "model", "usage", "id", "created"}
    assert (body["object"], body["model"]) == ("rerank", "ranker")
    assert [hit["document"] for hit in body["results"]] == [hit.text for hit in expected]
    raw = post(client, path, **given | {"raw_scores": True})
    logits = [hit.score for hit in ranker.rank("panda", TEXTS, normalize=False)]
    np.testing.assert_allclose([hit["relevance_score"] for hit in raw["results"]], logits, atol=1e-4)
    assert "document" not in raw["results"][0]


@pytest.mark.parametrize(("path", "wish"), [("/classify", {"raw_scores": False}), ("/infinity/classify", {})])
def test_pairs_are_classified(client: TestClient, ranker: Reranker, path: str, wish: Any) -> None:
    pairs = [["panda", text] for text in TEXTS]
    body = post(client, path, input=pairs, **wish)
    assert set(body) == {"object", "data", "model", "usage", "id", "created"}
    assert (body["object"], body["model"]) == ("classify", "ranker")
    assert [label for (label,) in body["data"]] == [
        {"score": label["score"], "label": "LABEL_0"} for (label,) in body["data"]
    ]
    expected = ranker.score(pairs, normalize=True).scores
    np.testing.assert_allclose([label["score"] for (label,) in body["data"]], expected, atol=FINE)
    raw = post(client, path, input=pairs, model="ranker", raw_scores=True)
    np.testing.assert_allclose([label["score"] for (label,) in raw["data"]], ranker.score(pairs).scores, atol=1e-4)


def test_models_are_listed_beside_our_own(client: TestClient) -> None:
    own = client.get("/infinity/models").json()
    assert [(model["id"], model["capabilities"]) for model in own["data"]] == [
        ("bert", ["embed"]),
        ("org/xlmr:1", ["embed"]),
        ("ranker", ["rerank"]),
    ]
    both = client.get("/models").json()
    assert (both["object"], both["data"]) == ("list", own["data"])
    assert len(both["models"]) == 3
    assert client.get("/infinity/health").json()["unix"] > 1e9


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/embeddings", {"input": 5}),
        ("/embeddings", {"input": "a", "modality": "image"}),
        ("/rerank", {"query": "a", "documents": [5], "raw_scores": True}),
        ("/infinity/rerank", {"query": "a"}),
    ],
)
def test_a_malformed_body_is_422_with_a_list(client: TestClient, path: str, body: Any) -> None:
    (detail,) = post(client, path, 422, **body)["detail"]
    assert set(detail) == {"loc", "msg", "type"}
    assert detail["loc"][0] == "body"


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/embeddings", {"input": ""}, 400),
        ("/embeddings", {"input": "a", "model": "none"}, 404),
        ("/embeddings", {"input": "a", "model": "ranker"}, 400),
        ("/infinity/rerank", {"query": "", "documents": ["a"]}, 400),
        ("/infinity/classify", {"input": ["a", "b"]}, 400),
        ("/classify", {"input": [["a", "b"]], "raw_scores": True, "model": "bert"}, 400),
        ("/infinity/nowhere", {}, 404),
    ],
)
def test_other_errors_have_the_status_as_code(client: TestClient, path: str, body: Any, status: int) -> None:
    assert post(client, path, status, **body)["error"]["code"] == status
