"""What the server says about itself, and what it says to requests for things that are not there."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from fastapi.openapi.models import OpenAPI
from starlette.testclient import TestClient

import lagotto
from lagotto import Embedder, Reranker

Json = dict[str, Any]
ErrorOf = Callable[..., Json]


def test_health_tells_the_version(client: TestClient) -> None:
    reply = client.get("/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "ok", "version": lagotto.__version__})


def test_models_in_memory_are_described(client: TestClient, embedder: Embedder, ranker: Reranker) -> None:
    found = {model["id"]: model for model in client.get("/models").json()["models"]}
    assert list(found) == ["bert", "org/xlmr:1", "ranker"]
    engine = {"name": "openvino", "device": "cpu", "precision": "f32", "weights": "full", "threads": 2}
    assert found["bert"] == {
        "id": "bert",
        "task": "embed",
        "architecture": "bert",
        "max_length": 64,
        "truncation": "right",
        "prompts": [],
        "fingerprint": embedder.fingerprint,
        "engine": engine,
        "outputs": ["dense"],
        "dimension": 32,
        "pooling": "cls",
        "normalize": True,
    }
    assert found["ranker"] == {
        "id": "ranker",
        "task": "rerank",
        "architecture": "bert",
        "max_length": 64,
        "truncation": "right",
        "prompts": [],
        "fingerprint": ranker.fingerprint,
        "engine": engine,
    }


def test_allowed_models_are_listed_in_openais_shape(client: TestClient) -> None:
    body = client.get("/v1/models").json()
    assert set(body) == {"object", "data"}
    assert body["object"] == "list"
    assert [model["id"] for model in body["data"]] == ["bert", "org/xlmr:1", "ranker"]
    for model in body["data"]:
        assert set(model) == {"id", "object", "created", "owned_by", "loaded", "state", "error", "root", "parent"}
        assert (model["loaded"], model["state"], model["error"]) == (True, "loaded", None)
        assert model["object"] == "model"
        assert isinstance(model["created"], int)
        assert model["owned_by"]
        assert (model["root"], model["parent"]) == (model["id"], None)


@pytest.mark.parametrize("written", ["org/xlmr:1", quote("org/xlmr:1", safe="")])
def test_one_model_is_found_by_a_name_with_slashes_and_colons(client: TestClient, written: str) -> None:
    body = client.get(f"/v1/models/{written}").json()
    assert body["id"] == "org/xlmr:1"
    assert body in client.get("/v1/models").json()["data"]


@pytest.mark.parametrize("name", ["none", "BAAI/bge-m3", "starter:bge-small-en-v1.5", "bert/", "a%20b", "%ff", "%00"])
def test_a_model_that_is_not_served_is_not_found(client: TestClient, error_of: ErrorOf, name: str) -> None:
    error_of(client.get(f"/v1/models/{name}"), 404, "model_not_found")


def test_a_folder_of_this_machine_owns_no_model(
    open_client: Any, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_bert.parents[1])
    relative = tiny_bert.relative_to(tiny_bert.parents[1])
    with open_client(models=[f"bert={relative}", f"dotted=./{relative}"]) as client:
        owners = {model["owned_by"] for model in client.get("/v1/models").json()["data"]}
    assert owners == {"lagotto"}


def test_config_shows_every_setting_but_folders(client: TestClient, settings_names: list[str]) -> None:
    body = client.get("/config").json()
    assert set(body) == set(settings_names) - {"cache_dir", "model_storage_path", "cache_path", "key", "api_key"}
    assert (body["precision"], body["threads"], body["truncation"]) == ("f32", 2, "right")


def test_config_shows_no_folder_and_no_source(client: TestClient, tiny_bert: Path, cache: Path) -> None:
    text = client.get("/config").text
    for folder in (tiny_bert, tiny_bert.parent, cache, Path.home()):
        assert str(folder) not in text
    assert "bert" in text


def test_no_answer_names_a_folder_of_this_machine(client: TestClient, tiny_bert: Path) -> None:
    for path in ("/health", "/models", "/v1/models", "/v1/models/bert", "/v1/models/none", "/openapi.json"):
        assert str(tiny_bert.parents[1]) not in client.get(path).text


# Pages.


def test_docs_and_its_files_come_from_here(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(files) == 3
    assert not re.search(r"(?:https?:)?//[\w.-]", page.text.replace("http://www.w3.org", ""))
    for file in files:
        assert file.startswith("docs/files/"), "relative to /docs, so that a proxy may put a path before it"
        reply = client.get(f"/{file}")
        assert reply.status_code == 200
        assert len(reply.content) > 100


@pytest.mark.parametrize("path", ["/docs/files/none.js", "/docs/files/..%2fapp.py", "/docs/files/%2e%2e/app.py"])
def test_only_the_pages_own_files_are_sent(client: TestClient, error_of: ErrorOf, path: str) -> None:
    error_of(client.get(path), 404, None)


def test_the_openapi_document_is_valid_and_names_every_route(client: TestClient) -> None:
    body = client.get("/openapi.json").json()
    document = OpenAPI.model_validate(body)
    assert document.openapi.startswith("3.1")
    assert document.info.version == lagotto.__version__
    assert {
        "/v1/embeddings",
        "/v1/encode",
        "/v1/models",
        "/v1/models/{name}",
        "/v1/rerank",
        "/health",
        "/ready",
        "/models",
        "/config",
        "/metrics",
        "/admin/reload",
    } <= set(body["paths"])
    schemas = body["components"]["schemas"]
    for reference in re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(body)):
        assert reference in schemas


# What is not there.


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/nope", "/v1/embeddings/a", "/v3/rerank"])
def test_an_unknown_path_is_not_found_in_openais_shape(client: TestClient, error_of: ErrorOf, path: str) -> None:
    error = error_of(client.get(path), 404, None)
    assert path in error["message"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/embeddings", "POST"),
        ("PUT", "/v1/rerank", "POST"),
        ("POST", "/v1/models", "GET"),
        ("DELETE", "/v1/models/bert", "GET"),
        ("POST", "/health", "GET"),
        ("PATCH", "/config", "GET"),
    ],
)
def test_a_wrong_method_is_refused_in_openais_shape(
    client: TestClient, error_of: ErrorOf, method: str, path: str, allowed: str
) -> None:
    reply = client.request(method, path)
    assert method in error_of(reply, 405, None)["message"]
    assert reply.headers["allow"] == allowed


def test_an_unforeseen_failure_is_a_500_that_tells_no_details(
    open_client: Any, error_of: ErrorOf, tiny_bert: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("the inside of the engine")

    with open_client(models=[f"bert={tiny_bert}"]) as client:
        monkeypatch.setattr(Embedder, "encode", broken)
        reply = client.post("/v1/embeddings", json={"model": "bert", "input": "marker"})
        message = error_of(reply, 500, "internal_error")["message"]
        monkeypatch.undo()
        assert client.post("/v1/embeddings", json={"model": "bert", "input": "a"}).status_code == 200
    assert "inside" not in message
    assert "the inside of the engine" in caplog.text, "the log has what the answer leaves out"
    assert "marker" not in caplog.text
