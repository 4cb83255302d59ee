"""A language model elsewhere in the settings: what can be said of it, what is refused, and what is never shown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.core.errors import ConfigError
from lagotto.server.app import create_app
from lagotto.server.settings import Settings, load_settings
from support.chat_server import MODEL, ChatServer
from support.judged_documents import DOCUMENTS
from support.served_judge import Serve, serving, write_settings

KEY = "sk-very-secret-123"
HERE = {"url": "http://127.0.0.1:1/v1", "model": "m"}
ASKED = {"query": "q", "documents": DOCUMENTS}


def test_settings_reach_the_endpoint(serve_judge: Serve, endpoint: ChatServer, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY + "\n")
    wishes = {"key_file": str(tmp_path / "key"), "answers": "text", "temperature": 0.5, "max_tokens": 99}
    with serve_judge(**wishes, extra={"top_p": 0.5}, window=3, step=2) as client:
        assert client.post("/v1/rerank", json=ASKED).status_code == 200
    body = endpoint.asked[0].body
    assert endpoint.asked[0].headers["authorization"] == f"Bearer {KEY}"
    assert (body["model"], body["temperature"], body["max_tokens"], body["top_p"]) == (MODEL, 0.5, 99, 0.5)
    assert "response_format" not in body
    assert len(endpoint.asked[0].passages) == 3


def test_an_alias_is_its_name(tmp_path: Path, endpoint: ChatServer) -> None:
    file = write_settings(
        tmp_path / "s.toml", {"url": endpoint.url, "model": MODEL}, model='alias = ["rerank-v3.5", "best"]'
    )
    with serving(file) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["rerank-v3.5", "best"]
        assert client.post("/v1/rerank", json=ASKED | {"model": "best"}).status_code == 200


def test_what_is_shown_of_it_is_neither_address_nor_key(
    serve_judge: Serve, endpoint: ChatServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JUDGES_KEY", KEY)
    with serve_judge(key_variable="JUDGES_KEY", extra={"user": "me"}) as client:
        (shown,) = client.get("/config").json()["model"]
        told = [json.dumps(shown), client.get("/models").text, client.get("/v1/models").text]
    assert shown["llm"]["model"] == MODEL
    assert shown["alias"] == ["judge"]
    assert not any(word in text for text in told for word in (KEY, endpoint.url, "JUDGES_KEY", "extra"))


@pytest.mark.parametrize(
    ("table", "model", "said"),
    [
        ({"model": "m"}, "", "url"),
        ({"url": "http://127.0.0.1:1/v1"}, "", "llm.model"),
        ({**HERE, "windw": 3}, "", "llm.windw"),
        ({**HERE, "strategy": "best"}, "", "llm.strategy"),
        ({**HERE, "max_requests": 0}, "", "llm.max_requests"),
        ({**HERE, "api_key": KEY}, "", "llm.api_key"),
        (HERE, 'device = "cuda"', "device is for a model that is loaded here"),
        (HERE, "eager = false", "eager is for a model that is loaded here"),
    ],
)
def test_what_the_file_cannot_say(tmp_path: Path, table: dict[str, Any], model: str, said: str) -> None:
    file = write_settings(tmp_path / "s.toml", table, model=model)
    with pytest.raises(ConfigError) as caught:
        load_settings(file)
    assert said in str(caught.value)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"url": "nowhere"}, "address"),
        ({"url": "http://me:secret@host/v1"}, "user or password"),
        ({"strategy": "pointwise", "window": 3}, "window is not for strategy 'pointwise'"),
        ({"window": 3, "step": 3}, "step is 3"),
        ({"temperature": -1.0}, "temperature is -1"),
        ({"max_characters": 0}, "max_characters"),
        ({"key_variable": "NOT_SET_ANYWHERE"}, "'NOT_SET_ANYWHERE'"),
        ({"key_file": "/not/there"}, "/not/there"),
        ({"reasoning_model": True, "temperature": 0.5}, "no temperature"),
    ],
)
def test_what_cannot_be_ends_the_start_with_its_name(
    environment: None, tmp_path: Path, more: dict[str, Any], said: str
) -> None:
    file = write_settings(tmp_path / "s.toml", {**HERE, **more})
    app = create_app(load_settings(file))
    with pytest.raises(ConfigError, match="model 'judge'") as caught:
        app.state.pool.start()
    app.state.pool.close()
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_it_changes_with_a_reload(tmp_path: Path, endpoint: ChatServer) -> None:
    file = tmp_path / "s.toml"
    table = {"url": endpoint.url, "model": MODEL}
    write_settings(file, table)

    def read() -> Settings:
        return load_settings(file)

    with TestClient(create_app(read(), read), raise_server_exceptions=False) as client:
        before = client.get("/models").json()["models"][0]["fingerprint"]
        write_settings(file, {**table, "strategy": "pointwise"})
        assert client.post("/admin/reload").json()["models"]["changed"] == ["judge"]
        assert client.get("/models").json()["models"][0]["fingerprint"] != before
        assert client.post("/v1/rerank", json=ASKED).status_code == 200
        write_settings(file, {**table, "window": 1})
        reply = client.post("/admin/reload")
        assert reply.status_code == 500
        assert "model 'judge'" in reply.text
        assert client.post("/v1/rerank", json=ASKED).status_code == 200
