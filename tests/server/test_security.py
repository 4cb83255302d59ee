"""What strangers may try: headers, paths, names, packed bodies, other origins' pages."""

from __future__ import annotations

import gzip
import json
import logging
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.server.keys import KeyRing
from lagotto.server.run import _warn_if_open
from lagotto.server.settings import Settings
from support.checkpoints import write_embedder

ErrorOf = Callable[..., dict[str, Any]]
ORIGIN = "https://app.example.org"


def post(client: TestClient, content: bytes, **headers: str) -> Any:
    sent = {"content-type": "application/json", **{name.replace("_", "-"): value for name, value in headers.items()}}
    return client.post("/v1/embeddings", content=content, headers=sent)


# Packed bodies.


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [("gzip", gzip.compress), ("deflate", zlib.compress), ("br", bytes), ("zstd", bytes), ("GZIP", gzip.compress)],
)
def test_packed_bodies_are_refused_before_they_are_unpacked(
    client: TestClient, error_of: ErrorOf, encoding: str, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(json.dumps({"model": "bert", "input": "a" * 1_000_000}).encode())
    error = error_of(post(client, bomb, content_encoding=encoding), 415, None)
    assert "content-encoding" in error["message"]


def test_a_body_that_is_not_packed_may_say_so(client: TestClient) -> None:
    body = json.dumps({"model": "bert", "input": "a"}).encode()
    assert post(client, body, content_encoding="identity").status_code == 200


@pytest.mark.parametrize("depth", [1000, 100_000])
def test_deep_json_ends_nothing(client: TestClient, depth: int) -> None:
    for content in (b"[" * depth, b'{"a":' * depth, b"[" * depth + b"]" * depth):
        assert post(client, content).status_code == 400
    assert client.get("/health").status_code == 200


ODD = {
    "an integer of 6,000 digits": b"9" * 6000,
    "beyond 64 bits": b"99999999999999999999999",
    "beyond every float": b"1e400",
    "not a number": b"NaN",
    "infinity": b"-Infinity",
    "nothing": b"null",
    "yes": b"true",
    "half a character": b'"\\ud800"',
    "a nul": b'"\\u0000"',
    "bytes that are no text": b'"\xff\xfe"',
}
PLACES = {
    "/v1/embeddings": [b'{"model": "bert", "input": "a", "dimensions": %b}', b'{"model": "bert", "input": [%b]}'],
    "/v1/encode": [
        b'{"model": "bert", "input": "a b", "max_length": %b}',
        b'{"model": "bert", "input": "a b", "spans": [[0, %b]]}',
        b'{"model": "bert", "input": "a b", "truncation": {"windows": {"size": %b}}}',
        b'{"model": "bert", "input": "a b", "truncation": {"windows": {"overlap": %b}}}',
        b'{"model": "bert", "input": "a b", "truncation": {"multi_cls": {"every": %b}}}',
    ],
    "/v1/rerank": [
        b'{"query": "a", "documents": ["b"], "top_n": %b}',
        b'{"query": "a", "documents": ["b"], "overlap_tokens": %b}',
        b'{"query": "a", "documents": ["b"], "max_chunks_per_doc": %b}',
        b'{"query": "a", "documents": ["b"], "max_tokens_per_doc": %b}',
        b'{"query": "a", "documents": [{"text": "b", "more": %b}], "return_documents": true}',
        b'{"query": %b, "documents": [%b]}',
    ],
    "/tei/decode": [b'{"ids": [%b]}'],
    "/tei/embed": [b'{"inputs": "a", "dimensions": %b}', b'{"inputs": %b}'],
    "/vllm/pooling": [b'{"model": "bert", "input": "a", "task": "embed", "truncate_prompt_tokens": %b}'],
}


@pytest.mark.parametrize("value", ODD.values(), ids=ODD)
def test_odd_values_are_answered_wherever_they_stand(client: TestClient, value: bytes) -> None:
    for path, bodies in PLACES.items():
        for body in bodies:
            content = body.replace(b"%b", value)
            reply = client.post(path, content=content, headers={"content-type": "application/json"})
            assert reply.status_code in (200, 400, 404, 422), f"{path} {content[:100]!r}: {reply.text}"
            json.loads(reply.content, parse_constant=pytest.fail)  # strict JSON: no NaN comes back


def test_of_a_field_that_comes_twice_the_last_one_counts(client: TestClient) -> None:
    """As JSON parsers do; a proxy that checks requests must read them alike."""
    assert post(client, b'{"model": "none", "model": "bert", "input": "a"}').status_code == 200
    assert post(client, b'{"model": "bert", "input": "a", "model": "none"}').status_code == 404


# Headers.


@pytest.mark.parametrize("name", ["x-request-id", "x-api-key", "authorization", "origin"])
@pytest.mark.parametrize("value", [b"a\r\nset-cookie: b=c", b"a\nb", b"a\x00b", b"\xff\xfe", b"a" * 5000])
def test_no_header_of_a_request_reaches_an_answer_unchecked(client: TestClient, name: str, value: bytes) -> None:
    reply = client.get("/health", headers={name: value})
    assert reply.status_code == 200
    assert "set-cookie" not in reply.headers
    for found in reply.headers.values():
        assert value not in found.encode("latin-1")


def test_answers_tell_no_software(client: TestClient) -> None:
    assert "server" not in client.get("/health").headers


# Names and paths.


@pytest.mark.parametrize(
    "name",
    [
        "../tiny-bert",
        "/etc/passwd",
        "..\\..\\secret",
        "file:///etc/passwd",
        "http://127.0.0.1:1/x",
        "BAAI/bge-m3",
        "modelscope:BAAI/bge-m3",
        "starter:bge-small-en-v1.5",
        "bert\x00",
        "bert ",
        "BERT",
        "",
        "~",
        "a" * 100_000,
    ],
)
def test_a_name_that_is_not_offered_opens_and_fetches_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    opened: list[Any] = []
    for function in ("open_any", "task_of"):
        monkeypatch.setattr(f"lagotto.server.pool.{function}", lambda *given: opened.append(given))
    monkeypatch.setattr("lagotto.models.loading.locate", lambda *given: opened.append(given))
    body = {"model": name, "input": "a"}
    assert client.post("/v1/embeddings", json=body).status_code == 404
    assert client.post("/v1/rerank", json={"model": name, "query": "a", "documents": ["b"]}).status_code == 404
    assert opened == []


@pytest.mark.parametrize(
    "path", ["/docs/files/../../settings.py", "/docs/files/%2e%2e/app.py", "/docs/files//etc/passwd"]
)
def test_no_path_leaves_the_folder_of_the_docs(client: TestClient, path: str) -> None:
    assert client.get(f"/docs/files/{path}").status_code == 404


def test_an_alias_can_t_break_a_line_or_a_metric(tmp_path: Path, open_client: Any) -> None:
    folder = write_embedder(tmp_path / "m")
    with open_client(model=[{"name": str(folder), "alias": 'a"b\\c{}'}]) as client:
        text = client.get("/metrics").text
        assert 'model="a\\"b\\\\c{}"' in text


def test_urls_in_texts_are_texts(client: TestClient) -> None:
    """The test run blocks every connection but those to this machine; a fetch would be an error."""
    for text in ("http://192.0.2.1/a.png", "file:///etc/passwd", "data:image/png;base64,AAAA"):
        assert client.post("/v1/embeddings", json={"model": "bert", "input": text}).status_code == 200


# Pages of other origins.


def preflight(client: TestClient, origin: str = ORIGIN) -> Any:
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    return client.options("/v1/embeddings", headers=headers)


def test_other_origins_are_told_nothing_by_default(client: TestClient) -> None:
    assert preflight(client).status_code == 405
    reply = client.get("/health", headers={"origin": ORIGIN})
    assert not [name for name in reply.headers if name.startswith("access-control")]


def test_named_origins_may_ask_and_others_not(open_client: Any, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"], cors_origins=[ORIGIN], api_key="k") as client:
        found = preflight(client)
        assert found.status_code == 200, "a preflight carries no key"
        assert found.headers["access-control-allow-origin"] == ORIGIN
        assert "authorization" in found.headers["access-control-allow-headers"].lower()
        assert "access-control-allow-origin" not in preflight(client, "https://evil.example").headers
        denied = client.get("/v1/models", headers={"origin": ORIGIN})
        assert denied.status_code == 401
        assert denied.headers["access-control-allow-origin"] == ORIGIN, "so that the page can read the error"
        assert "access-control-allow-credentials" not in denied.headers
        assert "x-request-id" in denied.headers["access-control-expose-headers"].lower()


# Listening.


@pytest.mark.parametrize(
    ("host", "key", "warned"),
    [("0.0.0.0", None, True), ("192.0.2.7", None, True), ("127.0.0.1", None, False), ("0.0.0.0", "k", False)],
)
def test_a_server_open_to_everybody_says_so(caplog: Any, host: str, key: str | None, warned: bool) -> None:
    settings = Settings(host=host, api_key=key)
    with caplog.at_level(logging.WARNING):
        _warn_if_open(settings, KeyRing(settings))
    assert ("without API keys" in caplog.text) == warned
