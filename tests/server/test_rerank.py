"""``POST /v1/rerank``: Cohere's shape around what the library computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Reranker
from lagotto.core.values import Ranking
from support.checkpoints import XLMR, some_texts, write_embedder, write_reranker

Json = dict[str, Any]
ErrorOf = Callable[..., Json]
FINE = 2e-5
QUERY = "what is a panda"
WORDS = ("the giant panda is a bear and the dog is an animal near the river of paris " * 60).split()
LONG = " ".join(np.random.default_rng(3).permutation(WORDS))
"""About 1,000 tokens in no order, for a model of 64: its windows score differently."""
SURROGATE = json.loads('"\\ud800"')


def ask(client: TestClient, **body: Any) -> Any:
    """The reply to a request; JSON is written by Python, which lets lone surrogates through."""
    content = json.dumps({"query": QUERY, **body})
    return client.post("/v1/rerank", content=content, headers={"content-type": "application/json"})


def check(body: Json, expected: Ranking) -> None:
    """The results are those of the library, in its order."""
    found = [(result["index"], result["relevance_score"]) for result in body["results"]]
    assert [index for index, _ in found] == [hit.index for hit in expected]
    np.testing.assert_allclose([score for _, score in found], [hit.score for hit in expected], atol=FINE)
    assert body["usage"] == {"prompt_tokens": expected.tokens, "total_tokens": expected.tokens}


# What is computed.


def test_documents_come_back_by_relevance_in_coheres_shape(client: TestClient, ranker: Reranker) -> None:
    documents = some_texts(30, longest=20)
    reply = ask(client, model="ranker", documents=documents)
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert "x-lagotto-truncated" not in reply.headers
    body = reply.json()
    check(body, ranker.rank(QUERY, documents))
    scores = [result["relevance_score"] for result in body["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert {result["index"] for result in body["results"]} == set(range(30))
    assert all(set(result) == {"index", "relevance_score"} for result in body["results"])


def test_tokens_are_counted_in_every_dialect(client: TestClient, ranker: Reranker) -> None:
    documents = ["a panda", "a dog", LONG]
    body = ask(client, documents=documents, top_n=1).json()
    tokens = ranker.rank(QUERY, documents).tokens
    assert set(body) == {"id", "object", "created", "model", "results", "tokens", "usage", "meta"}
    assert body["tokens"] == {"input_tokens": tokens, "output_tokens": 0}
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert body["meta"]["api_version"] == {"version": "1"}
    assert body["meta"]["billed_units"] == {"search_units": 1}
    assert body["meta"]["tokens"] == body["tokens"]


def test_every_reply_has_an_id_of_its_own(client: TestClient) -> None:
    assert ask(client, documents=["a"]).json()["id"] != ask(client, documents=["a"]).json()["id"]


def test_objects_are_read_by_their_text(client: TestClient) -> None:
    texts = ["a panda in paris", "the dog", "a bear by the river"]
    objects = [texts[0], {"text": texts[1], "url": "x"}, {"text": texts[2]}]
    plain, mixed = (ask(client, documents=documents).json()["results"] for documents in (texts, objects))
    assert plain == mixed


@pytest.mark.parametrize("top_n", [1, 2, 3, 99])
def test_top_n_keeps_the_best(client: TestClient, ranker: Reranker, top_n: int) -> None:
    documents = ["a panda", "a dog", "paris"]
    check(ask(client, documents=documents, top_n=top_n).json(), ranker.rank(QUERY, documents, top_n=top_n))


def test_equal_documents_keep_their_order(client: TestClient) -> None:
    results = ask(client, documents=["the dog"] * 5 + ["a panda"] + ["the dog"] * 5).json()["results"]
    dogs = [result["index"] for result in results if result["index"] != 5]
    assert dogs == [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]


def test_documents_come_back_when_asked_for_with_all_their_keys(client: TestClient) -> None:
    documents = ["a dog", {"text": "a panda", "url": "x", "tags": [1, {"a": None}]}]
    results = ask(client, documents=documents, return_documents=True).json()["results"]
    found = {result["index"]: result["document"] for result in results}
    assert found == {0: {"text": "a dog"}, 1: documents[1]}
    assert "document" not in ask(client, documents=documents, return_documents=False).json()["results"][0]


@pytest.mark.parametrize("windows", [1, 2, 5, 10, 50])
def test_max_chunks_per_doc_decides_how_much_is_read(client: TestClient, ranker: Reranker, windows: int) -> None:
    documents = [LONG, "a dog", LONG.upper() + " day"]
    body = ask(client, documents=documents, max_chunks_per_doc=windows).json()
    check(body, ranker.rank(QUERY, documents, max_windows=windows))


@pytest.mark.parametrize("overlap", [0, 3, 20, 10_000])
def test_overlap_tokens_decides_where_windows_begin(client: TestClient, ranker: Reranker, overlap: int) -> None:
    body = ask(client, documents=[LONG, "a dog"], overlap_tokens=overlap).json()
    check(body, ranker.rank(QUERY, [LONG, "a dog"], overlap=overlap))


def test_the_windows_asked_for_change_what_is_computed(client: TestClient) -> None:
    wishes: list[Json] = [{"max_chunks_per_doc": 1}, {"max_chunks_per_doc": 2}, {}, {"max_chunks_per_doc": 1000}]
    wishes += [{"max_chunks_per_doc": 1000, "overlap_tokens": overlap} for overlap in (0, 5)]
    replies = [ask(client, documents=[LONG], **wish).json() for wish in wishes]
    assert len({reply["usage"]["total_tokens"] for reply in replies}) == len(wishes)
    assert len({reply["results"][0]["relevance_score"] for reply in replies}) > 2


def test_without_wishes_the_librarys_own_defaults_hold(client: TestClient, ranker: Reranker) -> None:
    check(ask(client, documents=[LONG, "a dog"]).json(), ranker.rank(QUERY, [LONG, "a dog"]))


# What is not read is said.


def test_a_header_names_documents_of_which_a_part_was_not_read(client: TestClient) -> None:
    documents = ["a", LONG, "b", LONG]
    assert ask(client, documents=documents, max_chunks_per_doc=2).headers["x-lagotto-truncated"] == "1,3"
    assert "x-lagotto-truncated" not in ask(client, documents=documents, max_chunks_per_doc=1000).headers


def test_the_truncation_header_stays_short(client: TestClient) -> None:
    header = ask(client, documents=[LONG] * 150, max_chunks_per_doc=1).headers["x-lagotto-truncated"]
    assert header.startswith("0,1,2,")
    assert header.endswith(",99,... (150 in all)")


def test_a_server_that_refuses_long_texts_reads_windows_and_no_more(
    open_client: Any, error_of: ErrorOf, tiny_reranker: Path
) -> None:
    with open_client(models=[f"ranker={tiny_reranker}"], truncation="error") as client:
        assert ask(client, documents=["a", LONG], max_chunks_per_doc=1000).status_code == 200
        error_of(ask(client, documents=["a", LONG], max_chunks_per_doc=2), 400, "context_length_exceeded")
        error_of(ask(client, documents=["a", LONG], max_chunks_per_doc=1), 400, "context_length_exceeded")
        error_of(ask(client, query=LONG, documents=["a"]), 400, "context_length_exceeded")


# Which model.


def test_without_a_model_the_only_reranker_answers_by_its_public_name(client: TestClient) -> None:
    named, unnamed = ask(client, model="ranker", documents=["a"]).json(), ask(client, documents=["a"]).json()
    assert unnamed["results"] == named["results"]
    assert unnamed["model"] == named["model"] == "ranker"
    assert ask(client, model=None, documents=["a"]).json()["model"] == "ranker"


def test_without_a_model_a_stored_reranker_answers_too(open_client: Any, tmp_path: Path) -> None:
    write_reranker(tmp_path / "ranker", XLMR)
    write_embedder(tmp_path / "embedder", XLMR)
    with open_client(model_storage_path=tmp_path) as client:
        reply = ask(client, documents=["a"])
        assert reply.status_code == 200, reply.text
        assert reply.json()["model"] == "ranker"


def test_of_several_rerankers_one_must_be_named(
    open_client: Any, error_of: ErrorOf, tiny_reranker: Path, tiny_xlmr_reranker: Path
) -> None:
    with open_client(models=[f"one={tiny_reranker}", f"two={tiny_xlmr_reranker}"]) as client:
        message = error_of(ask(client, documents=["a"]))["message"]
        assert "one" in message
        assert "two" in message
        one, two = (ask(client, model=name, documents=["a", "b"]).json() for name in ("one", "two"))
    assert (one["model"], two["model"]) == ("one", "two")
    assert one["results"] != two["results"]


def test_without_any_reranker_the_message_says_so(open_client: Any, error_of: ErrorOf, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        assert "reranker" in error_of(ask(client, documents=["a"]))["message"]


def test_an_embedder_ranks_nothing(client: TestClient, error_of: ErrorOf) -> None:
    assert "/v1/embeddings" in error_of(ask(client, model="bert", documents=["a"]))["message"]


def test_an_unknown_model_is_not_found(client: TestClient, error_of: ErrorOf) -> None:
    error = error_of(ask(client, model="BAAI/bge-reranker-v2-m3", documents=["a"]), 404, "model_not_found")
    assert "ranker" in error["message"]


# What is refused.


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("query", None),
        ("query", 5),
        ("query", ["a"]),
        ("documents", None),
        ("documents", "a"),
        ("documents", {"text": "a"}),
        ("documents", [1]),
        ("documents", ["a", None]),
        ("documents", [{"title": "a"}]),
        ("documents", [{"text": 5}]),
        ("documents", [["a"]]),
        ("model", 5),
        ("top_n", 0),
        ("top_n", -1),
        ("top_n", "1"),
        ("top_n", 1.5),
        ("top_n", True),
        ("max_chunks_per_doc", 0),
        ("max_chunks_per_doc", "2"),
        ("overlap_tokens", -1),
        ("overlap_tokens", "2"),
        ("return_documents", "perhaps"),
        ("rank_fields", ["text"]),
    ],
)
def test_a_wrong_field_is_refused_by_name(client: TestClient, error_of: ErrorOf, field: str, value: Any) -> None:
    assert error_of(ask(client, **{"documents": ["a"], field: value}))["param"] == field


@pytest.mark.parametrize("missing", ["query", "documents"])
def test_a_missing_field_is_named(client: TestClient, error_of: ErrorOf, missing: str) -> None:
    body = {"query": "a", "documents": ["a"]}
    del body[missing]
    error = error_of(client.post("/v1/rerank", json=body))
    assert (error["param"], missing in error["message"]) == (missing, True)


def test_empty_queries_and_lists_are_refused_and_empty_documents_are_not(client: TestClient, error_of: ErrorOf) -> None:
    assert error_of(ask(client, query="", documents=["a"]))["param"] == "query"
    assert error_of(ask(client, documents=[]))["param"] == "documents"
    assert ask(client, documents=["", {"text": ""}]).status_code == 200


@pytest.mark.parametrize(
    "body", [{"documents": ["a", SURROGATE]}, {"documents": [{"text": SURROGATE}]}, {"query": SURROGATE}]
)
def test_broken_unicode_is_refused(client: TestClient, error_of: ErrorOf, body: Json) -> None:
    assert "surrogate" in error_of(ask(client, **{"documents": ["a"], **body}))["message"]


def test_more_documents_than_allowed_are_refused(open_client: Any, error_of: ErrorOf, tiny_reranker: Path) -> None:
    with open_client(models=[f"ranker={tiny_reranker}"], max_inputs=3) as client:
        assert "3 are allowed" in error_of(ask(client, documents=["a"] * 4))["message"]
        assert ask(client, documents=["a"] * 3).status_code == 200


@pytest.mark.parametrize(
    "value",
    [SURROGATE, {SURROGATE: 1}, 2**70, json.loads("[" * 300 + "]" * 300)],
    ids=["surrogate", "surrogate in a key", "integer over 64 bits", "deep nesting"],
)
def test_extra_keys_that_cant_be_sent_back_are_the_clients_fault(
    client: TestClient, error_of: ErrorOf, value: Any
) -> None:
    documents = [{"text": "a", "extra": value}]
    error_of(ask(client, documents=documents, return_documents=True))
    assert ask(client, documents=documents).status_code == 200, "keys that are not sent back do no harm"


@pytest.mark.parametrize("content", [b"", b"{", b"null", b"[]", b"\xff", b"[" * 100_000], ids=repr)
def test_what_is_not_a_json_object_is_refused(client: TestClient, content: bytes) -> None:
    reply = client.post("/v1/rerank", content=content, headers={"content-type": "application/json"})
    assert reply.status_code == 400
    assert reply.json()["error"]["type"] == "invalid_request_error"
