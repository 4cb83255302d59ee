"""``POST /v1/encode``: all that a model gives, in every form; streams."""

from __future__ import annotations

import asyncio
import base64
import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder, MultiCls, Windows
from lagotto.models import pipeline
from lagotto.server.vectors import scales, typed

TEXTS = ["a dog is an animal", "the giant panda", "paris"]
LONG = "paris " + "panda " * 100 + "water"
ALL = ("dense", "sparse", "multivector")
FINE = 2e-5
ErrorOf = Callable[..., dict[str, Any]]


def ask(client: TestClient, **body: Any) -> Any:
    return client.post("/v1/encode", json={"model": "m3", **body})


def data(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    return reply.json()["data"]


def arrays(reply: Any) -> Any:
    assert reply.headers["content-type"] == "application/octet-stream"
    return np.load(io.BytesIO(reply.content))


def test_all_outputs_come_from_one_call(m3: TestClient, m3_model: Embedder) -> None:
    reply = ask(m3, input=TEXTS, outputs=ALL)
    body, expected = reply.json(), m3_model.encode(TEXTS, outputs=ALL)
    assert expected.sparse is not None
    assert expected.multivector is not None
    assert (body["object"], body["model"], body["fingerprint"]) == ("encodings", "m3", m3_model.fingerprint)
    assert body["id"] == reply.headers["x-request-id"]
    assert body["usage"]["total_tokens"] == int(expected.tokens.sum())
    for i, item in enumerate(body["data"]):
        assert (item["index"], item["tokens"], item["truncated"]) == (i, expected.tokens[i], False)
        np.testing.assert_allclose(item["dense"], expected.dense[i], atol=FINE)
        np.testing.assert_allclose(item["multivector"], expected.multivector.row(i), atol=FINE)
        ids, weights = expected.sparse.row(i)
        assert item["sparse"]["indices"] == ids.tolist()
        np.testing.assert_allclose(item["sparse"]["values"], weights, atol=FINE)


def test_by_default_it_is_the_dense_vector_of_the_text_as_it_stands(m3: TestClient, m3_model: Embedder) -> None:
    (item,) = data(ask(m3, input="a dog"))
    assert set(item) == {"index", "tokens", "truncated", "dense"}
    np.testing.assert_allclose(item["dense"], m3_model.encode("a dog").dense[0], atol=FINE)


@pytest.mark.parametrize(
    ("wish", "method", "options"),
    [
        ({"role": "query"}, "encode_queries", {}),
        ({"role": "document", "dimensions": 8}, "encode_documents", {"dimensions": 8}),
        ({"role": "query", "instruction": "find: "}, "encode_queries", {"instruction": "find: "}),
        ({"prompt": "what is "}, "encode", {"prompt": "what is "}),
        ({"normalize": False, "max_length": 5}, "encode", {"normalize": False, "max_length": 5}),
    ],
)
def test_wishes_are_the_librarys(m3: TestClient, m3_model: Embedder, wish: Any, method: str, options: Any) -> None:
    expected = getattr(m3_model, method)(TEXTS, **options).dense
    np.testing.assert_allclose([item["dense"] for item in data(ask(m3, input=TEXTS, **wish))], expected, atol=1e-4)


@pytest.mark.parametrize(
    ("policy", "truncation"),
    [
        ("right", "right"),
        ("left", "left"),
        ({"windows": {}}, Windows()),
        ({"windows": {"size": 20, "overlap": 3, "combine": "max"}}, Windows(20, 3, "max")),
        ({"multi_cls": {"every": 16, "truncation": "left"}}, MultiCls(16, "left")),
    ],
)
def test_long_texts(client: TestClient, embedder: Embedder, policy: Any, truncation: Any) -> None:
    reply = ask(client, model="bert", input=["a", LONG], truncation=policy)
    expected = embedder.encode(["a", LONG], truncation=truncation)
    np.testing.assert_allclose([item["dense"] for item in data(reply)], expected.dense, atol=FINE)
    assert [item["truncated"] for item in data(reply)] == expected.truncated.tolist()
    assert reply.headers.get("x-lagotto-truncated") == ("1" if expected.truncated[1] else None)


def test_long_texts_may_be_refused(client: TestClient, error_of: ErrorOf) -> None:
    for form in ("json", "ndjson", "npz"):
        reply = ask(client, model="bert", input=["a", LONG], truncation="error", format=form)
        assert error_of(reply, 400, "context_length_exceeded")


def test_each_output_has_its_own_numbers(m3: TestClient, m3_model: Embedder) -> None:
    dtype = {"dense": "int8", "sparse": "f16", "multivector": "ubinary"}
    expected = m3_model.encode(TEXTS, outputs=ALL)
    assert expected.multivector is not None
    for i, item in enumerate(data(ask(m3, input=TEXTS, outputs=ALL, dtype=dtype))):
        restored = np.array(item["dense"]) * item["dense_scale"]
        np.testing.assert_allclose(restored, expected.dense[i], atol=item["dense_scale"])
        assert item["multivector"] == typed(expected.multivector.row(i), "ubinary").tolist()
    (item,) = data(ask(m3, input="a dog", outputs=["multivector"], dtype="uint8"))
    assert len(item["multivector_scale"]) == len(item["multivector"])


def test_base64_and_tokens(m3: TestClient, m3_model: Embedder) -> None:
    wish = {"input": "a dog", "outputs": ["dense", "sparse"]}
    (packed,), (plain,) = data(ask(m3, encoding_format="base64", **wish)), data(ask(m3, **wish))
    assert np.frombuffer(base64.b64decode(packed["dense"]), "<f4").tolist() == pytest.approx(plain["dense"])
    ids = np.frombuffer(base64.b64decode(packed["sparse"]["indices"]), "<i4").tolist()
    assert ids == plain["sparse"]["indices"]
    (named,) = data(ask(m3, sparse_format="tokens", **wish))
    weights = dict(zip(ids, plain["sparse"]["values"], strict=True))
    assert named["sparse"] == pytest.approx(m3_model.decode_tokens(weights), abs=FINE)


def test_spans_get_vectors_from_one_pass(client: TestClient, embedder: Embedder) -> None:
    text, spans = "the giant panda is a bear", [[0, 15], [16, 25]]
    expected = embedder.encode_spans(text, spans, role="document")
    (item,) = data(ask(client, model="bert", input=text, spans=spans, role="document"))
    assert [(part["start"], part["end"]) for part in item["spans"]] == [(0, 15), (16, 25)]
    assert [part["tokens"] for part in item["spans"]] == expected.span_tokens.tolist()
    np.testing.assert_allclose([part["dense"] for part in item["spans"]], expected.dense, atol=FINE)
    found = arrays(ask(client, model="bert", input=[text, "a dog"], spans=[spans, []], format="npz"))
    np.testing.assert_allclose(found["dense"], expected.dense, atol=FINE)
    assert (found["spans"].tolist(), found["span_offsets"].tolist()) == (spans, [0, 2, 2])


def test_arrays_hold_everything(m3: TestClient, m3_model: Embedder) -> None:
    expected = m3_model.encode(TEXTS, outputs=ALL)
    assert expected.sparse is not None
    assert expected.multivector is not None
    reply = ask(m3, input=TEXTS, outputs=ALL, format="npz", dtype={"dense": "f16", "multivector": "int8"})
    found = arrays(reply)
    assert reply.headers["x-lagotto-fingerprint"] == m3_model.fingerprint
    assert found["dense"].dtype == np.float16
    np.testing.assert_allclose(found["dense"], expected.dense, atol=1e-3)
    np.testing.assert_array_equal(found["sparse_indptr"], expected.sparse.indptr)
    np.testing.assert_array_equal(found["sparse_indices"], expected.sparse.indices)
    np.testing.assert_allclose(found["sparse_values"], expected.sparse.values, atol=FINE)
    assert int(found["sparse_vocabulary"]) == expected.sparse.vocabulary
    np.testing.assert_array_equal(found["multivector_offsets"], expected.multivector.offsets)
    np.testing.assert_allclose(found["multivector_scale"], scales(expected.multivector.vectors)[:, 0], atol=FINE)  # type: ignore[arg-type]
    assert found["multivector"].dtype == np.int8
    np.testing.assert_array_equal(found["tokens"], expected.tokens)
    assert found["truncated"].tolist() == [False] * 3
    dense = arrays(ask(m3, input=TEXTS, format="npy"))
    np.testing.assert_allclose(dense, expected.dense, atol=FINE)


@pytest.mark.parametrize(
    ("wish", "param"),
    [
        ({"outputs": []}, "outputs"),
        ({"outputs": ["words"]}, "outputs"),
        ({"role": "none"}, "role"),
        ({"truncation": "middle"}, "truncation"),
        ({"truncation": {"windows": {"sizes": 5}}}, "truncation"),
        ({"truncation": {"windows": {"size": 0}}}, "truncation"),
        ({"dtype": "f64"}, "dtype"),
        ({"dtype": {"sparse": "int8"}}, "dtype"),
        ({"spans": [[0]]}, "spans"),
        ({"spans": [[0, 1]], "outputs": ["dense"]}, "outputs"),
        ({"spans": [[0, 1]], "format": "ndjson"}, "format"),
        ({"spans": [[0, 1]], "format": "npy"}, "format"),
        ({"format": "npy", "outputs": ["sparse"]}, "format"),
        ({"format": "npz", "encoding_format": "base64"}, "encoding_format"),
        ({"format": "npz", "sparse_format": "tokens"}, "sparse_format"),
        ({"format": "csv"}, "format"),
        ({"dimensions": 99}, "dimensions"),
        ({"model": "none"}, "model"),
        ({"model": "ranker"}, "model"),
        ({"input": ""}, "input"),
        ({"input": [5]}, "input"),
        ({"colour": 5}, "colour"),
    ],
)
def test_what_is_wrong_is_named(m3: TestClient, error_of: ErrorOf, wish: Any, param: str) -> None:
    reply = ask(m3, **{"input": "a dog", **wish})
    known = wish.get("model") == "none"
    assert error_of(reply, *((404, "model_not_found") if known else ()))["param"] == param


def test_a_prompt_and_an_instruction_at_once_are_refused(m3: TestClient, error_of: ErrorOf) -> None:
    for form in ("json", "ndjson"):
        error_of(ask(m3, input="a", prompt="b", instruction="c", format=form))


def test_a_model_says_what_it_gives(client: TestClient, error_of: ErrorOf) -> None:
    for form in ("json", "ndjson"):
        message = error_of(ask(client, model="bert", input="a", outputs=["sparse"], format=form))["message"]
        assert "no sparse vectors, only dense" in message


# Streams.


def lines(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of four texts, so that a stream has several."""
    monkeypatch.setattr(pipeline, "CHUNK", 4)


def test_a_stream_has_a_line_an_input_and_one_about_all(
    small_chunks: None, m3: TestClient, m3_model: Embedder, open_client: Any
) -> None:
    texts = [f"the dog {n}" for n in range(30)]
    wish = {"input": texts, "outputs": ["dense", "sparse"]}
    *items, end = lines(ask(m3, format="ndjson", **wish))
    assert items == data(ask(m3, **wish))
    assert (end["object"], end["inputs"], end["model"]) == ("end", 30, "m3")
    assert end["fingerprint"] == m3_model.fingerprint
    assert end["usage"]["total_tokens"] == sum(item["tokens"] for item in items)


def test_a_stream_may_have_more_inputs_than_other_replies(open_client: Any, error_of: ErrorOf, tiny_bert: Any) -> None:
    with open_client(models=[f"bert={tiny_bert}"], max_inputs=3) as client:
        assert len(lines(ask(client, model="bert", input=["a"] * 10, format="ndjson"))) == 11
        error_of(ask(client, model="bert", input=["a"] * 10))


def test_a_failure_on_the_way_is_the_last_line(small_chunks: None, client: TestClient) -> None:
    texts = ["a dog"] * 20 + [LONG]
    *items, last = lines(ask(client, model="bert", input=texts, format="ndjson", truncation="error"))
    assert 4 <= len(items) < 21
    assert last["error"]["code"] == "context_length_exceeded"
    assert "text 20" in last["error"]["message"]


def test_a_client_that_goes_away_ends_its_stream(small_chunks: None, client: TestClient, embedder: Embedder) -> None:
    texts = [f"the dog {n}" for n in range(4000)]
    body = json.dumps({"model": "bert", "input": texts, "format": "ndjson"}).encode()
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "path": "/v1/encode",
        "raw_path": b"/v1/encode",
        "root_path": "",
        "scheme": "http",
        "query_string": b"",
        "headers": [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())],
        "client": ("test", 1),
        "server": ("test", 80),
    }
    sent: list[bytes] = []

    async def talk() -> None:
        given, seen = [{"type": "http.request", "body": body, "more_body": False}], asyncio.Event()

        async def receive() -> Any:
            if given:
                return given.pop()
            await seen.wait()
            return {"type": "http.disconnect"}

        async def send(message: Any) -> None:
            if message.get("body"):
                sent.append(message["body"])
                seen.set()

        await client.app(scope, receive, send)  # type: ignore[arg-type]

    asyncio.run(talk())
    assert 1 <= len(sent) < 100
    assert client.post("/v1/embeddings", json={"model": "bert", "input": "a"}).status_code == 200
