"""The OpenAPI document tells the replies and failures of every route, and answers are as it tells."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.server.dialects.failures import Failure, said
from lagotto.server.openapi import _OF, _SHAPES, _shape

_TYPES: dict[str, Any] = {"object": dict, "array": list, "string": str, "integer": int, "number": (int, float)}
_TYPES |= {"boolean": bool, "null": type(None)}


def fits(value: Any, schema: Any, components: Any) -> bool:
    """Whether a value has a shape, as far as the shapes of errors go."""
    if "$ref" in schema:
        return fits(value, components[schema["$ref"].rpartition("/")[2]], components)
    if "anyOf" in schema:
        return any(fits(value, option, components) for option in schema["anyOf"])
    kinds = schema.get("type", list(_TYPES))
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if not any(isinstance(value, _TYPES[kind]) and (kind == "boolean") == isinstance(value, bool) for kind in kinds):
        return not schema  # nothing is said of it
    if "properties" in schema:
        fields = schema["properties"]
        same = set(schema["required"]) <= value.keys() <= fields.keys()
        return same and all(fits(inner, fields[name], components) for name, inner in value.items())
    return "items" not in schema or all(fits(item, schema["items"], components) for item in value)


@pytest.fixture(scope="module")
def document(client: TestClient) -> Any:
    return client.get("/openapi.json").json()


def check(document: Any, path: str, method: str, reply: Any) -> None:
    """An answer's status is told, and its body has the shape that is told for it."""
    replies = document["paths"][path][method]["responses"]
    assert str(reply.status_code) in replies, f"{path}: {reply.status_code} {reply.text}"
    content = replies[str(reply.status_code)].get("content")
    if content is None:
        assert reply.content == b""
        return
    kind = reply.headers["content-type"].partition(";")[0]
    assert kind in content
    if kind == "application/json":
        schema, components = content[kind]["schema"], document["components"]["schemas"]
        assert fits(reply.json(), schema, components), f"{path}: {reply.text} is no {schema}"


BODIES = (b"", b"{", b"[]", b"{}", b'{"model": "none", "input": "a", "inputs": "a", "texts": ["a"], "query": "a"}')
"""What no route takes."""


def test_whatever_is_wrong_with_a_body_the_answer_is_one_that_is_told(client: TestClient, document: Any) -> None:
    asked = [path for path, methods in document["paths"].items() if "post" in methods and path != "/admin/reload"]
    assert len(asked) > 40
    for path in asked:
        for body in BODIES:
            reply = client.post(path, content=body, headers={"content-type": "application/json"})
            assert 400 <= reply.status_code < 500
            check(document, path, "post", reply)
        packed = client.post(path, content=b"x", headers={"content-encoding": "gzip"})
        assert packed.status_code == 415
        check(document, path, "post", packed)


def test_what_can_be_read_is_answered_as_told(client: TestClient, document: Any) -> None:
    for path, methods in document["paths"].items():
        if "get" in methods and "{" not in path:
            reply = client.get(path)
            assert reply.status_code == 200
            check(document, path, "get", reply)


GOOD: dict[str, Any] = {
    "encode": [{"model": "m3", "input": ["a"], "outputs": ["dense", "sparse", "multivector"]}],
    "embeddings": [{"model": "m3", "input": ["a", "b"]}, {"model": "m3", "input": "a", "encoding_format": "base64"}],
    "jina/v1/embeddings": [{"model": "m3", "input": ["a"], "embedding_type": ["float", "binary"]}],
    "v1/embed": [{"model": "m3", "texts": ["a"]}, {"model": "m3", "texts": ["a"], "embedding_types": ["int8"]}],
    "v2/embed": [{"model": "m3", "texts": ["a"], "input_type": "search_query", "embedding_types": ["float"]}],
    "embed": [{"inputs": "a"}, {"inputs": ["a", "b"]}],
    "embed_all": [{"inputs": ["a"]}],
    "embed_sparse": [{"inputs": ["a"]}],
    "rerank": [{"model": "ranker", "query": "a", "documents": ["b", "c"]}],
    "tei/rerank": [{"query": "a", "texts": ["b"], "return_text": True}],
    "score": [{"model": "ranker", "text_1": "a", "text_2": ["b", "c"]}],
    "classify": [{"model": "ranker", "input": [["a", "b"], ["c", "d"]]}],
    "predict": [{"inputs": ["a", "b"]}, {"inputs": [["a", "b"], ["c", "d"]]}],
    "similarity": [{"inputs": {"source_sentence": "a", "sentences": ["b"]}}],
    "tokenize": [{"inputs": ["a dog"]}],
    "decode": [{"ids": [4, 5]}],
    "pooling": [{"model": "m3", "input": "a", "task": "token_embed"}, {"model": "m3", "input": "a", "task": "embed"}],
    "admin/reload": [{}],
    "/": [{"inputs": "a"}],
}
"""Requests by the end of the path, of which the longest holds."""


def test_what_is_computed_is_as_told(m3: TestClient, document: Any) -> None:
    for path in (path for path, methods in document["paths"].items() if "post" in methods):
        for body in GOOD[max((end for end in GOOD if path.endswith(end)), key=len)]:
            reply = m3.post(path, json=body)
            assert reply.status_code == 200, f"{path}: {reply.text}"
            check(document, path, "post", reply)
            assert document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]


def test_without_a_key_the_answer_is_one_that_is_told(open_client: Any, tiny_bert: Any, document: Any) -> None:
    with open_client(models=[f"bert={tiny_bert}"], api_key="secret") as locked:
        for path, methods in document["paths"].items():
            if "post" in methods:
                reply = locked.post(path, json={})
                assert reply.status_code == 401
                check(document, path, "post", reply)


@pytest.mark.parametrize("kind", ["json", "ndjson", "npy", "npz"])
def test_every_kind_of_content_is_told(m3: TestClient, document: Any, kind: str) -> None:
    reply = m3.post("/v1/encode", json={"model": "m3", "input": "a", "format": kind})
    assert reply.status_code == 200
    check(document, "/v1/encode", "post", reply)


@pytest.mark.parametrize("dialect", list(_OF))
@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 429, 500, 503, 504])
def test_the_shapes_are_those_that_the_dialects_say(dialect: Any, status: int) -> None:
    for failure in (Failure("m", status, "code", "field"), Failure("m", status), Failure("m", 400, malformed=True)):
        told, body = said(dialect, failure)
        if body is not None:
            assert fits(body, _SHAPES[_shape(dialect, told)], {}), body


def test_no_shape_of_the_frameworks_own_is_told(document: Any) -> None:
    assert not [name for name in document["components"]["schemas"] if "Validation" in name]
