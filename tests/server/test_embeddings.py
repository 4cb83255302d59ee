"""``POST /v1/embeddings``: OpenAI's shape around what the library computes."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder
from lagotto.cards import hubs
from support.checkpoints import some_texts
from support.token_models import write_colbert, write_splade

Json = dict[str, Any]
Open = Callable[..., contextlib.AbstractContextManager[TestClient]]
ErrorOf = Callable[..., Json]
FINE = 2e-5
LONG = "panda " * 100
SURROGATE = json.loads('"\\ud800"')


def ask(client: TestClient, **body: Any) -> Any:
    """The reply to a request to ``bert``; JSON is written by Python, which lets lone surrogates through."""
    content = json.dumps({"model": "bert", **body})
    return client.post("/v1/embeddings", content=content, headers={"content-type": "application/json"})


def vectors(reply: Json) -> np.ndarray[Any, Any]:
    """The vectors of a reply by their ``index``, whichever encoding they came in."""
    rows = {item["index"]: item["embedding"] for item in reply["data"]}
    assert list(rows) == list(range(len(reply["data"])))
    return np.array([decoded(row) for row in rows.values()], np.float32)


def decoded(row: Any) -> Any:
    return np.frombuffer(base64.b64decode(row), "<f4") if isinstance(row, str) else row


# What is computed.


def test_a_string_gives_one_vector_in_openais_shape(client: TestClient, embedder: Embedder) -> None:
    reply = ask(client, input="the giant panda")
    assert reply.status_code == 200
    assert reply.headers["content-type"] == "application/json"
    assert "x-lagotto-truncated" not in reply.headers
    body = reply.json()
    assert list(body) == ["object", "data", "model", "usage"]
    assert (body["object"], body["model"]) == ("list", "bert")
    assert [list(item) for item in body["data"]] == [["object", "index", "embedding"]]
    assert (body["data"][0]["object"], body["data"][0]["index"]) == ("embedding", 0)
    expected = embedder.encode("the giant panda")
    tokens = int(expected.tokens.sum())
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    np.testing.assert_allclose(vectors(body), expected.dense, atol=FINE)


def test_many_texts_keep_their_order_and_their_tokens_are_counted(client: TestClient, embedder: Embedder) -> None:
    texts = [text or "a" for text in some_texts(300)]
    body = ask(client, input=texts).json()
    expected = embedder.encode(texts)
    np.testing.assert_allclose(vectors(body), expected.dense, atol=FINE)
    assert body["usage"]["prompt_tokens"] == int(expected.tokens.sum())


def test_base64_holds_the_same_numbers_as_float(client: TestClient) -> None:
    texts = ["a dog", "a panda in paris", "熊猫"]
    floats, packed = (ask(client, input=texts, encoding_format=form).json() for form in ("float", "base64"))
    assert all(isinstance(item["embedding"], str) for item in packed["data"])
    assert vectors(packed).tobytes() == vectors(floats).tobytes()
    assert packed["usage"] == floats["usage"]


def test_every_allowed_model_answers_under_its_name(client: TestClient, embedder: Embedder) -> None:
    body = ask(client, model="org/xlmr:1", input="a dog").json()
    assert body["model"] == "org/xlmr:1"
    assert not np.allclose(vectors(body), embedder.encode("a dog").dense)


@pytest.mark.parametrize("size", [1, 7, 32])
def test_dimensions_cut_and_normalise(client: TestClient, embedder: Embedder, size: int) -> None:
    body = ask(client, input=["a dog", "a panda"], dimensions=size).json()
    np.testing.assert_allclose(vectors(body), embedder.encode(["a dog", "a panda"], dimensions=size).dense, atol=FINE)
    np.testing.assert_allclose(np.linalg.norm(vectors(body), axis=1), 1, atol=FINE)


def test_dimensions_and_user_may_be_null(client: TestClient) -> None:
    body = ask(client, input="a dog", dimensions=None, user=None).json()
    assert vectors(body).shape == (1, 32)
    assert vectors(body).tobytes() == vectors(ask(client, input="a dog", user="somebody").json()).tobytes()


def test_token_ids_are_read_as_the_models_own(client: TestClient, embedder: Embedder) -> None:
    some, more = [2, 20, 30, 40, 3], [2, 50, 60, 3]
    one = ask(client, input=some).json()
    several = ask(client, input=[some, more]).json()
    expected = embedder.encode_ids([some, more])
    assert len(one["data"]) == 1
    np.testing.assert_allclose(vectors(several), expected.dense, atol=FINE)
    np.testing.assert_allclose(vectors(one), expected.dense[:1], atol=FINE)
    assert several["usage"]["prompt_tokens"] == int(expected.tokens.sum())


def test_token_ids_of_a_text_give_its_vector(client: TestClient, tiny_bert: Path) -> None:
    from tokenizers import Tokenizer

    ids = Tokenizer.from_file(str(tiny_bert / "tokenizer.json")).encode("the giant panda").ids
    by_ids = ask(client, input=ids).json()
    by_text = ask(client, input="the giant panda").json()
    np.testing.assert_allclose(vectors(by_ids), vectors(by_text), atol=FINE)
    assert by_ids["usage"] == by_text["usage"]


def test_dimensions_and_base64_hold_for_token_ids_too(client: TestClient, embedder: Embedder) -> None:
    body = ask(client, input=[[2, 20, 30, 3], [2, 40, 3]], dimensions=5, encoding_format="base64").json()
    np.testing.assert_allclose(vectors(body), embedder.encode_ids([[20, 30], [40]], dimensions=5).dense, atol=FINE)


# What is cut is said.


def test_a_header_names_the_inputs_that_were_cut(client: TestClient, embedder: Embedder) -> None:
    reply = ask(client, input=["a", LONG, "b", LONG])
    assert reply.headers["x-lagotto-truncated"] == "1,3"
    assert reply.json()["usage"]["prompt_tokens"] == int(embedder.encode(["a", LONG, "b", LONG]).tokens.sum())


def test_the_truncation_header_stays_short(client: TestClient) -> None:
    header = ask(client, input=[LONG] * 150).headers["x-lagotto-truncated"]
    assert header.startswith("0,1,2,")
    assert header.endswith(",99,... (150 in all)")


def test_long_token_ids_are_cut_and_said_too(client: TestClient) -> None:
    assert ask(client, input=[[2, *[20] * 500, 3], [2, 20, 3]]).headers["x-lagotto-truncated"] == "0"


@pytest.mark.parametrize("text", [LONG, [2, *[20] * 500, 3]])
def test_a_server_that_refuses_long_texts_says_which(
    open_client: Any, error_of: ErrorOf, tiny_bert: Path, text: Any
) -> None:
    with open_client(models=[f"bert={tiny_bert}"], truncation="error") as client:
        inputs = [[2, 20, 3], text] if isinstance(text, list) else ["a", text]
        error = error_of(ask(client, input=inputs), 400, "context_length_exceeded")
        assert error["message"].startswith("text 1 has")
        assert ask(client, input="short").status_code == 200


def test_a_server_that_cuts_on_the_left_reads_the_end(open_client: Any, tiny_bert: Path, embedder: Embedder) -> None:
    text = LONG + "the river of paris"
    with open_client(models=[f"bert={tiny_bert}"], truncation="left") as client:
        reply = ask(client, input=text)
    assert reply.headers["x-lagotto-truncated"] == "0"
    np.testing.assert_allclose(vectors(reply.json()), embedder.encode(text, truncation="left").dense, atol=FINE)


# What is refused.


@pytest.mark.parametrize(
    "given",
    [
        None,
        True,
        5,
        5.5,
        {},
        {"text": "a"},
        [None],
        [True],
        [[True]],
        [1.5],
        ["a", 1],
        [1, "a"],
        ["a", None],
        ["a", ["b"]],
        [["a"]],
        [[1], "a"],
        [[[1]]],
    ],
    ids=str,
)
def test_an_input_of_a_wrong_type_is_refused(client: TestClient, error_of: ErrorOf, given: Any) -> None:
    assert error_of(ask(client, input=given))["param"] == "input"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("", "input 0 is empty"),
        ([], "empty list"),
        (["a", ""], "input 1 is empty"),
        ([[]], "input 0 is empty"),
        ([[20], []], "input 1 is empty"),
        ([99999], "outside the vocabulary of bert"),
        ([-1], "outside the vocabulary of bert"),
        ([10**30], "outside the vocabulary of bert"),
        ([[2, 20, 3], [2, 99999, 3]], "input 1"),
        (SURROGATE, "surrogate"),
        (["a", f"b{SURROGATE}"], "text 1"),
    ],
)
def test_an_input_that_cant_be_embedded_is_refused(
    client: TestClient, error_of: ErrorOf, given: Any, says: str
) -> None:
    error = error_of(ask(client, input=given))
    assert says in error["message"]
    assert error["param"] in (None, "input")


@pytest.mark.parametrize("given", [0, -1, "8", 1.5, True, [8]])
def test_dimensions_of_a_wrong_type_are_refused(client: TestClient, error_of: ErrorOf, given: Any) -> None:
    assert error_of(ask(client, input="a", dimensions=given))["param"] == "dimensions"


def test_more_dimensions_than_the_model_has_are_refused(client: TestClient, error_of: ErrorOf) -> None:
    error = error_of(ask(client, input="a", dimensions=33))
    assert "1 to 32" in error["message"]
    assert error["param"] == "dimensions"


@pytest.mark.parametrize(
    ("field", "value"),
    [("encoding_format", "hex"), ("encoding_format", 1), ("user", 5), ("model", 5), ("model", None)],
)
def test_other_fields_are_checked(client: TestClient, error_of: ErrorOf, field: str, value: Any) -> None:
    assert error_of(ask(client, **{"input": "a", field: value}))["param"] == field


def test_an_unknown_field_is_refused_by_name(client: TestClient, error_of: ErrorOf) -> None:
    error = error_of(ask(client, input="a", truncate=True))
    assert error["param"] == "truncate"
    assert "truncate" in error["message"]


@pytest.mark.parametrize("missing", ["model", "input"])
def test_a_missing_field_is_named(client: TestClient, error_of: ErrorOf, missing: str) -> None:
    body = {"model": "bert", "input": "a"}
    del body[missing]
    error = error_of(client.post("/v1/embeddings", json=body))
    assert (error["param"], missing in error["message"]) == (missing, True)


def test_more_inputs_than_allowed_are_refused(open_client: Any, error_of: ErrorOf, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"], max_inputs=3) as client:
        assert "4 texts, 3 are allowed" in error_of(ask(client, input=["a"] * 4))["message"]
        assert error_of(ask(client, input=[[20]] * 4))
        assert ask(client, input=["a"] * 3).status_code == 200
        assert ask(client, input=[2, 20, 20, 3]).status_code == 200, "one text of four tokens is one input"


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/json"),
        (b"{", "application/json"),
        (b"null", "application/json"),
        (b"[]", "application/json"),
        (b'"text"', "application/json"),
        (b"\xff\xfe\x00", "application/json"),
        (b"[" * 100_000, "application/json"),
        (b'{"model": "bert", "input": "a"}', "text/plain"),
        (b"model=bert&input=a", "application/x-www-form-urlencoded"),
        (b"--x\r\n\r\n--x--", "multipart/form-data; boundary=x"),
    ],
    ids=lambda value: str(value[:20]),
)
def test_what_is_not_a_json_object_is_refused(client: TestClient, content: bytes, content_type: str) -> None:
    reply = client.post("/v1/embeddings", content=content, headers={"content-type": content_type})
    assert reply.status_code == 400
    error = reply.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    assert error["param"] is None


def test_a_request_without_body_and_content_type_is_refused(client: TestClient, error_of: ErrorOf) -> None:
    assert error_of(client.post("/v1/embeddings"))["param"] is None


def test_a_nul_character_is_text_like_any_other(client: TestClient) -> None:
    assert ask(client, input="a\0b").status_code == 200


def test_ten_megabytes_of_text_are_cut_rather_than_refused(client: TestClient) -> None:
    reply = ask(client, input="the giant panda " * 650_000)
    assert reply.status_code == 200
    assert reply.headers["x-lagotto-truncated"] == "0"


# Models.


def test_an_unknown_model_is_not_found_not_loaded_and_not_fetched(
    client: TestClient, error_of: ErrorOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("lagotto.server.pool.open_any", lambda *given: asked.append(given))
    for hub in hubs.HUBS:
        monkeypatch.setitem(hubs.HUBS, hub, lambda *given: asked.append(given))
    for name in ("BAAI/bge-m3", "text-embedding-3-small", "starter:bge-small-en-v1.5", "/", "..", "", "BERT", "bert "):
        error = error_of(ask(client, model=name, input="a"), 404, "model_not_found")
        assert repr(name) in error["message"]
        assert "bert" in error["message"], "the message tells what is allowed"
    assert asked == []


@pytest.mark.parametrize(("write", "own"), [(write_splade, "sparse"), (write_colbert, "multivector")])
def test_a_model_without_dense_vectors_says_what_it_gives(
    tmp_path: Path, open_client: Open, error_of: ErrorOf, write: Callable[[Path], Path], own: str
) -> None:
    with open_client(models=[f"other={write(tmp_path / 'model')}"]) as client:
        for given in ("a dog", [20, 30]):
            error = error_of(ask(client, model="other", input=given))
            assert error["message"].startswith(f"model 'other' gives no dense vectors, only {own}")
            assert error["param"] == "model"
        (described,) = client.get("/models").json()["models"]
        assert (described["outputs"], described["dimension"]) == ([own], None)


def test_a_reranker_gives_no_embeddings(client: TestClient, error_of: ErrorOf) -> None:
    assert "/v1/rerank" in error_of(ask(client, model="ranker", input="a"))["message"]
