"""A language model elsewhere, served: the answers of every reranking dialect, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.server.key_settings import digest_of
from support.chat_server import MODEL, ChatServer, Say
from support.judged_documents import BEST, DOCUMENTS
from support.served_judge import Serve

QUERY = "what is worth most?"
USED = {"prompt_tokens": 100, "total_tokens": 107, "completion_tokens": 7}
UNITS = {"input_tokens": 100, "output_tokens": 7}


@pytest.fixture
def served(serve_judge: Serve) -> Iterator[TestClient]:
    """A listwise judge and nothing else."""
    with serve_judge() as client:
        yield client


def _places(rows: Any) -> list[int]:
    return [row["index"] for row in rows]


def _results(body: Any) -> Any:
    return body["results"]


SPOKEN: dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], Any]] = {
    "/v1/rerank": (
        _results,
        lambda body: (body["usage"], body["tokens"]),
        (USED, UNITS),
    ),
    "/jina/v1/rerank": (_results, lambda body: body["usage"], USED),
    "/vllm/rerank": (_results, lambda body: body["usage"], USED),
    "/infinity/rerank": (_results, lambda body: body["usage"], USED),
    "/v2/rerank": (_results, lambda body: body["meta"]["tokens"], UNITS),
    "/cohere/v1/rerank": (_results, lambda body: body["meta"]["tokens"], UNITS),
    "/voyage/v1/rerank": (lambda body: body["data"], lambda body: body["usage"], {"total_tokens": 107}),
}


@pytest.mark.parametrize("path", SPOKEN)
def test_every_dialect_has_its_order_and_what_it_cost(served: TestClient, path: str) -> None:
    rows, used, expected = SPOKEN[path]
    reply = served.post(path, json={"model": "judge", "query": QUERY, "documents": DOCUMENTS})
    assert reply.status_code == 200, reply.text
    assert _places(rows(reply.json())) == BEST
    assert rows(reply.json())[0]["relevance_score"] == 1
    assert used(reply.json()) == expected
    few = "top_k" if "voyage" in path else "top_n"
    body = {"model": "judge", "query": QUERY, "documents": DOCUMENTS, few: 2}
    assert _places(rows(served.post(path, json=body).json())) == BEST[:2]


@pytest.mark.parametrize("path", ["/rerank", "/tei/rerank", "/"])
def test_tei_too(served: TestClient, path: str) -> None:
    reply = served.post(path, json={"query": QUERY, "texts": DOCUMENTS, "return_text": True})
    assert reply.status_code == 200, reply.text
    assert _places(reply.json()) == BEST
    assert [row["text"] for row in reply.json()] == [DOCUMENTS[i] for i in BEST]


def test_documents_come_back_where_they_are_wanted(served: TestClient) -> None:
    body = {"query": QUERY, "documents": DOCUMENTS, "return_documents": True, "top_n": 1}
    found = served.post("/v1/rerank", json=body).json()
    assert found["results"][0]["document"] == {"text": DOCUMENTS[BEST[0]]}
    assert found["model"] == "judge"


def test_pairs_are_scored_by_one_that_judges_each(serve_judge: Serve) -> None:
    with serve_judge(strategy="pointwise") as client:
        pairs = [[QUERY, text] for text in DOCUMENTS[:2]]
        reply = client.post("/score", json={"model": "judge", "queries": QUERY, "documents": DOCUMENTS[:2]})
        assert [row["score"] for row in reply.json()["data"]] == pytest.approx([0.3, 0.9])
        assert reply.json()["usage"] == {"prompt_tokens": 200, "total_tokens": 214, "completion_tokens": 14}
        rows = client.post("/predict", json={"inputs": pairs, "raw_scores": True}).json()
        assert [row[0]["score"] for row in rows] == [3, 9]
        rows = client.post("/vllm/classify", json={"model": "judge", "input": pairs}).json()["data"]
        assert [row["probs"] for row in rows] == [pytest.approx([0.3]), pytest.approx([0.9])]


@pytest.mark.parametrize(
    ("path", "fields", "said", "param"),
    [
        ("/v1/rerank", {"cutoff_layers": 3}, "reads no cutoff_layers", "cutoff_layers"),
        ("/v1/rerank", {"instruction": "x"}, "reads no instruction", "instruction"),
        ("/v1/rerank", {"max_tokens_per_doc": 9}, "leave out max_tokens_per_doc", "max_tokens_per_doc"),
        ("/v1/rerank", {"max_chunks_per_doc": 2}, "leave out max_chunks_per_doc", "max_chunks_per_doc"),
        ("/v1/rerank", {"overlap_tokens": 0}, "leave out overlap_tokens", "overlap_tokens"),
        ("/vllm/rerank", {"truncate_prompt_tokens": 9}, "leave out truncate_prompt_tokens", None),
        ("/v1/score", {"queries": "a", "documents": ["b"]}, "orders documents against each other", None),
    ],
)
def test_what_only_a_model_here_can_do_is_refused(
    served: TestClient, endpoint: ChatServer, path: str, fields: dict[str, Any], said: str, param: str | None
) -> None:
    body = {"model": "judge", **({} if "score" in path else {"query": QUERY, "documents": DOCUMENTS}), **fields}
    reply = served.post(path, json=body)
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert said in error["message"]
    assert param is None or error["param"] == param
    assert endpoint.asked == []


def test_long_documents_are_cut_told_of_or_refused(serve_judge: Serve, endpoint: ChatServer) -> None:
    body = {"query": QUERY, "documents": [f"worth 1 {'x' * 90}", "worth 2"]}
    with serve_judge({"max_text_characters": 200}, max_characters=50) as client:
        reply = client.post("/v1/rerank", json=body)
        assert reply.headers["x-lagotto-truncated"] == "0"
        assert "inputs 0" in reply.json()["meta"]["warnings"][0]
        assert client.post("/v1/rerank", json=body | {"truncate": True}).status_code == 200
        reply = client.post("/v1/rerank", json=body | {"truncate": False})
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "context_length_exceeded")
        texts = {"query": QUERY, "texts": body["documents"]}
        assert client.post("/rerank", json=texts).status_code == 422  # TEI cuts nothing unless it is told to
        left = texts | {"truncate": True, "truncation_direction": "Left"}
        assert "can't be cut on the left" in client.post("/rerank", json=left).text
        endpoint.asked.clear()
        for long in ({"documents": ["x" * 201]}, {"query": "x" * 201}):
            assert "201 characters, 200 are allowed" in client.post("/v1/rerank", json=body | long).text
        assert endpoint.asked == []


def test_an_answer_that_cannot_be_read_is_a_warning_a_count_and_no_failure(
    serve_judge: Serve, endpoint: ChatServer
) -> None:
    with serve_judge(reasks=0) as client:
        endpoint.script = [Say("the best is worth 9")]
        body = client.post("/v2/rerank", json={"model": "judge", "query": QUERY, "documents": DOCUMENTS}).json()
        assert _places(body["results"]) == list(range(len(DOCUMENTS)))
        assert "can't be read" in body["meta"]["warnings"][0]
        metrics = client.get("/metrics").text
    assert 'lagotto_llm_unread_total{model="judge"} 1.0' in metrics
    assert 'lagotto_llm_calls_total{model="judge"} 1.0' in metrics
    assert 'lagotto_llm_completion_tokens_total{model="judge"} 7.0' in metrics
    assert 'lagotto_tokens_total{model="judge"} 107.0' in metrics
    assert 'lagotto_texts_total{model="judge"} 6.0' in metrics


def test_the_server_tells_of_it_without_asking_it(served: TestClient, endpoint: ChatServer) -> None:
    (listed,) = served.get("/v1/models").json()["data"]
    assert (listed["id"], listed["loaded"], listed["state"], listed["owned_by"]) == ("judge", True, "loaded", "lagotto")
    assert served.get("/ready").json() == {"ready": True, "models": []}
    described = served.get("/models").json()
    (model,) = described["models"]
    assert (model["task"], model["engine"]["name"], model["max_length"]) == ("rerank", "llm", None)
    assert (model["llm"]["model"], model["llm"]["strategy"]) == (MODEL, "listwise")
    assert described["data"][0]["backend"] == "llm"
    info = served.get("/info").json()
    assert (info["model_id"], info["model_dtype"], info["max_input_length"]) == ("judge", None, None)
    assert list(info["model_type"]) == ["reranker"]
    for path, body in (("/tokenize", {"inputs": "a"}), ("/decode", {"ids": [1]})):
        assert "tokenizer is not here" in served.post(path, json=body).text
    reply = served.post("/v1/embeddings", json={"model": "judge", "input": "a"})
    assert "is a reranker" in reply.text
    assert 'lagotto_model_bytes{model="judge"}' in served.get("/metrics").text
    assert endpoint.asked == []


def test_it_stands_beside_models_that_are_here(serve_judge: Serve, tiny_reranker: Path, tiny_bert: Path) -> None:
    flags = {"models": [f"ranker={tiny_reranker}", f"bert={tiny_bert}"]}
    with serve_judge(flags) as client:
        asked = {"query": QUERY, "documents": DOCUMENTS}
        assert _places(client.post("/v1/rerank", json=asked | {"model": "judge"}).json()["results"]) == BEST
        assert "not exactly one (ranker, judge)" in client.post("/v1/rerank", json=asked).text
        assert client.get("/info", params={"model": "ranker"}).json()["max_input_length"]
        assert client.post("/v1/embeddings", json={"model": "bert", "input": "a"}).status_code == 200
        assert [model["id"] for model in client.get("/ready").json()["models"]] == ["ranker", "bert"]


def test_it_neither_makes_room_for_others_nor_needs_any(serve_judge: Serve, tiny_bert: Path, tiny_xlmr: Path) -> None:
    with serve_judge({"models": [f"bert={tiny_bert}", f"xlmr={tiny_xlmr}"], "memory_budget_mb": 1}) as client:

        def states() -> dict[str, str]:
            return {model["id"]: model["state"] for model in client.get("/v1/models").json()["data"]}

        assert states() == {"bert": "idle", "xlmr": "loaded", "judge": "loaded"}
        assert client.post("/v1/embeddings", json={"model": "bert", "input": "a"}).status_code == 200
        assert states() == {"bert": "loaded", "xlmr": "idle", "judge": "loaded"}


def test_a_key_needs_the_scope_and_pays_with_its_tokens(serve_judge: Serve) -> None:
    tables = [
        {"name": "few", "hash": digest_of("lgt_few"), "scopes": ["rerank"], "tokens_per_minute": 100},
        {"name": "none", "hash": digest_of("lgt_none"), "scopes": ["embed"]},
    ]
    asked = {"query": QUERY, "documents": DOCUMENTS}
    with serve_judge({"key": tables}) as client:
        refused = client.post("/v1/rerank", json=asked, headers={"x-api-key": "lgt_none"})
        assert refused.status_code == 403
        statuses = [client.post("/v1/rerank", json=asked, headers={"x-api-key": "lgt_few"}).status_code for _ in "12"]
        assert statuses == [200, 429], "107 tokens are more than a minute's 100"
