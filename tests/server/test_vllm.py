"""vLLM's dialect: scores of pairs, reranking, pooling."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, Reranker

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
LONG = "panda " * 100
FINE = 2e-5


def post(client: TestClient, path: str, status: int = 200, **body: Any) -> Any:
    reply = client.post(path, json=body)
    assert reply.status_code == status, reply.text
    return reply.json()


@pytest.mark.parametrize("path", ["/score", "/v1/score", "/vllm/score", "/vllm/v1/score"])
@pytest.mark.parametrize(
    "names", [("queries", "documents"), ("queries", "items"), ("data_1", "data_2"), ("text_1", "text_2")]
)
def test_one_text_is_scored_with_many(client: TestClient, ranker: Reranker, path: str, names: Any) -> None:
    body = post(client, path, **{names[0]: "panda", names[1]: TEXTS})
    expected = ranker.score([("panda", text) for text in TEXTS], normalize=True)
    assert (body["object"], body["model"]) == ("list", "ranker")
    assert [(item["index"], item["object"]) for item in body["data"]] == [(i, "score") for i in range(3)]
    np.testing.assert_allclose([item["score"] for item in body["data"]], expected.scores, atol=FINE)
    assert body["usage"]["total_tokens"] == int(expected.tokens.sum())


def test_many_are_scored_with_as_many(client: TestClient, ranker: Reranker) -> None:
    body = post(client, "/score", model="ranker", text_1=TEXTS, text_2=TEXTS[::-1], use_activation=False)
    expected = ranker.score(list(zip(TEXTS, TEXTS[::-1], strict=True)))
    np.testing.assert_allclose([item["score"] for item in body["data"]], expected.scores, atol=1e-4)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"queries": "a"},
        {"queries": "a", "text_2": "b"},
        {"queries": "a", "documents": "b", "items": "c"},
        {"queries": ["a", "b"], "documents": ["c", "d", "e"]},
        {"queries": [], "documents": ["a"]},
        {"queries": "a", "documents": [""]},
        {"queries": "a", "documents": ["b"], "model": "bert", "use_activation": False},
        {"queries": "a", "documents": ["b"], "truncate_prompt_tokens": -2},
    ],
)
def test_errors_have_the_status_as_code(client: TestClient, body: Any) -> None:
    assert post(client, "/score", 400, **body)["error"]["code"] == 400


@pytest.mark.parametrize("path", ["/score", "/vllm/v1/score"])
def test_an_embedder_scores_by_cosine(client: TestClient, embedder: Embedder, path: str) -> None:
    vectors = embedder.encode(["panda", *TEXTS], normalize=True)
    body = post(client, path, model="bert", queries="panda", documents=TEXTS)
    assert body["model"] == "bert"
    found = [item["score"] for item in body["data"]]
    np.testing.assert_allclose(found, vectors.dense[1:] @ vectors.dense[0], atol=FINE)
    assert body["usage"]["total_tokens"] == int(vectors.tokens.sum()), "the query is read once"
    body = post(client, path, model="bert", text_1=TEXTS, text_2=TEXTS)
    np.testing.assert_allclose([item["score"] for item in body["data"]], 1, atol=FINE)


def test_which_pairs_an_embedder_has_cut_is_told(client: TestClient, embedder: Embedder) -> None:
    reply = client.post("/score", json={"model": "bert", "data_1": ["a", LONG, "b"], "data_2": ["c", "d", LONG]})
    assert reply.headers["x-lagotto-truncated"] == "1,2"
    short = post(client, "/score", model="bert", data_1="panda", data_2=[LONG], truncate_prompt_tokens=9)
    expected = embedder.encode(["panda", LONG], max_length=9, normalize=True).dense
    np.testing.assert_allclose([item["score"] for item in short["data"]], expected[1] @ expected[0], atol=FINE)


@pytest.mark.parametrize("path", ["/classify", "/vllm/classify"])
def test_pairs_are_classified(client: TestClient, ranker: Reranker, path: str) -> None:
    pairs = [["panda", text] for text in TEXTS]
    body = post(client, path, input=pairs)
    expected = ranker.score(pairs, normalize=True)
    assert (body["object"], body["model"]) == ("list", "ranker")
    labels = [(item["index"], item["label"], item["num_classes"]) for item in body["data"]]
    assert labels == [(i, "LABEL_0", 1) for i in range(3)]
    np.testing.assert_allclose([item["probs"] for item in body["data"]], expected.scores[:, None], atol=FINE)
    assert body["usage"]["total_tokens"] == int(expected.tokens.sum())
    raw = post(client, path, input=pairs, use_activation=False)
    np.testing.assert_allclose([item["probs"][0] for item in raw["data"]], ranker.score(pairs).scores, atol=1e-4)


@pytest.mark.parametrize("given", ["a", ["a", "b"], [["a"]], [["a", "b", "c"]], []])
def test_what_is_no_pair_is_not_classified(client: TestClient, given: Any) -> None:
    error = post(client, "/classify", 400, input=given)["error"]
    assert error["code"] == 400
    assert "pair" in error["message"]


@pytest.mark.parametrize("tokens", [20, -1, None])
def test_truncate_prompt_tokens(client: TestClient, ranker: Reranker, tokens: int | None) -> None:
    body = post(client, "/score", queries="panda", documents=[LONG, "a"], truncate_prompt_tokens=tokens)
    length = {"max_length": tokens} if tokens == 20 else {}
    expected = ranker.score([("panda", LONG), ("panda", "a")], normalize=True, **length)
    np.testing.assert_allclose([item["score"] for item in body["data"]], expected.scores, atol=FINE)


@pytest.mark.parametrize("path", ["/vllm/rerank", "/vllm/v1/rerank", "/vllm/v2/rerank"])
def test_rerank_sends_documents_back(client: TestClient, ranker: Reranker, path: str) -> None:
    documents = [*TEXTS, LONG]
    body = post(client, path, query="panda", documents=documents, max_tokens_per_doc=5)
    expected = ranker.rank("panda", documents, document_max_length=5)
    assert set(body) == {"id", "model", "usage", "results"}
    assert [hit["index"] for hit in body["results"]] == [hit.index for hit in expected]
    assert [hit["document"] for hit in body["results"]] == [{"text": hit.text} for hit in expected]
    assert len(post(client, path, query="panda", documents=documents, top_n=2)["results"]) == 2
    assert len(post(client, path, query="panda", documents=documents, top_n=0)["results"]) == 4


def test_on_the_shared_path_documents_come_back_too(client: TestClient) -> None:
    body = post(client, "/rerank", query="panda", documents=TEXTS)
    assert all(hit["document"] == {"text": TEXTS[hit["index"]]} for hit in body["results"])


def test_what_documents_come_back_on_v1_is_the_operators_choice(open_client: Any, tiny_reranker: Any) -> None:
    with open_client(models=[f"ranker={tiny_reranker}"], return_documents=True) as client:
        assert "document" in post(client, "/v1/rerank", query="a", documents=["b"])["results"][0]
        hidden = post(client, "/v1/rerank", query="a", documents=["b"], return_documents=False)
        assert "document" not in hidden["results"][0]


@pytest.mark.parametrize("path", ["/pooling", "/vllm/pooling"])
def test_pooling_gives_vectors(client: TestClient, embedder: Embedder, path: str) -> None:
    body = post(client, path, model="bert", input=TEXTS, dimensions=8)
    expected = embedder.encode(TEXTS, dimensions=8)
    assert [(item["index"], item["object"]) for item in body["data"]] == [(i, "pooling") for i in range(3)]
    np.testing.assert_allclose([item["data"] for item in body["data"]], expected.dense, atol=FINE)
    packed = post(client, path, model="bert", input=[[2, 20, 3]], encoding_format="base64")["data"][0]["data"]
    found = np.frombuffer(base64.b64decode(packed), "<f4")
    np.testing.assert_allclose(found, embedder.encode_ids([[20]]).dense[0], atol=FINE)


def test_token_embed_gives_the_heads_vectors_or_states(
    m3: TestClient, m3_model: Embedder, client: TestClient, embedder: Embedder
) -> None:
    multi = m3_model.encode(TEXTS, outputs=("multivector",)).multivector
    assert multi is not None
    body = post(m3, "/pooling", model="m3", input=TEXTS, task="token_embed")
    for item, matrix in zip(body["data"], multi, strict=True):
        np.testing.assert_allclose(item["data"], matrix, atol=FINE)
    states = embedder.encode_states(TEXTS, normalize=True).multivector
    assert states is not None
    body = post(client, "/pooling", model="bert", input=TEXTS, task="token_embed")
    for item, matrix in zip(body["data"], states, strict=True):
        np.testing.assert_allclose(item["data"], matrix, atol=FINE)
    packed = post(client, "/pooling", model="bert", input=TEXTS, task="token_embed", encoding_format="base64")
    found = np.frombuffer(base64.b64decode(packed["data"][0]["data"]), "<f4").reshape(-1, 32)
    np.testing.assert_allclose(found, states.row(0), atol=FINE)


def test_pooling_gives_half_precision(client: TestClient, embedder: Embedder) -> None:
    wish = {"model": "bert", "input": TEXTS, "embed_dtype": "float16", "encoding_format": "base64"}
    body = post(client, "/pooling", **wish)
    found = [np.frombuffer(base64.b64decode(item["data"]), "<f2") for item in body["data"]]
    np.testing.assert_array_equal(found, embedder.encode(TEXTS).dense.astype(np.float16))
    states = embedder.encode_states(TEXTS, normalize=True).multivector
    assert states is not None
    body = post(client, "/pooling", **wish, task="token_embed")
    half = np.frombuffer(base64.b64decode(body["data"][0]["data"]), "<f2").reshape(-1, 32)
    np.testing.assert_allclose(half, states.row(0), atol=1e-3)


@pytest.mark.parametrize(
    "body",
    [
        {"model": "bert", "input": "a", "task": "classify"},
        {"model": "bert", "input": ""},
        {"model": "bert", "input": [[2, 20, 3]], "task": "token_embed"},
        {"model": "bert", "input": "a", "task": "token_embed", "dimensions": 3},
    ],
)
def test_pooling_refuses(client: TestClient, body: Any) -> None:
    assert post(client, "/pooling", 400, **body)["error"]["code"] == 400


def test_embeddings_and_models_are_there_under_the_prefix(client: TestClient) -> None:
    own = post(client, "/vllm/v1/embeddings", model="bert", input="a")
    assert own == post(client, "/v1/embeddings", model="bert", input="a")
    assert client.get("/vllm/v1/models").json() == client.get("/v1/models").json()
    assert post(client, "/vllm/v1/embeddings", 404, model="none", input="a")["error"]["code"] == 404
