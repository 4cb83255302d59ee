"""New settings for a server that runs: by request and by signal, and never half."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from lagotto.server.app import create_app
from lagotto.server.key_settings import digest_of
from lagotto.server.reloading import AT_START
from lagotto.server.settings import Settings, load_settings
from support.checkpoints import XLMR, write_embedder

PATIENCE = 60
ErrorOf = Callable[..., dict[str, Any]]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "settings.toml"


@pytest.fixture
def served(file: Path, tiny_bert: Path) -> Iterator[TestClient]:
    """A client of a server that read its settings from a file."""
    file.write_text(f'[[model]]\nname = "{tiny_bert}"\nalias = "bert"\n')

    def read() -> Settings:
        return load_settings(file, precision="f32", threads=1)

    with TestClient(create_app(read(), read), raise_server_exceptions=False) as client:
        yield client


def table(folder: Path, alias: str, more: str = "") -> str:
    return f'[[model]]\nname = "{folder}"\nalias = "{alias}"\n{more}\n'


def embed(client: Any, model: str, **headers: str) -> Any:
    return client.post("/v1/embeddings", json={"model": model, "input": "a dog"}, headers=headers)


def settle(client: Any) -> None:
    client.app.state.pool.slots._thread.submit(lambda: None).result(PATIENCE)


def test_models_come_and_go_and_what_stays_is_not_loaded_again(
    served: TestClient, file: Path, tiny_bert: Path, tiny_xlmr: Path
) -> None:
    pool = served.app.state.pool
    kept = pool.entries["bert"].model
    file.write_text(table(tiny_bert, "bert") + table(tiny_xlmr, "xlmr"))
    body = served.post("/admin/reload").json()
    assert body == {
        "models": {"added": ["xlmr"], "removed": [], "changed": []},
        "keys": 0,
        "restart_needed_for": [],
    }
    assert pool.entries["bert"].model is kept
    assert embed(served, "xlmr").status_code == 200
    file.write_text(table(tiny_xlmr, "xlmr"))
    assert served.post("/admin/reload").json()["models"]["removed"] == ["bert"]
    assert embed(served, "bert").status_code == 404
    settle(served)
    assert [slot.offer.public for slot in pool.slots.all] == ["xlmr"]


def test_what_may_wait_for_a_model_changes_at_once_and_its_queue_stays(
    served: TestClient, file: Path, tiny_bert: Path
) -> None:
    pool = served.app.state.pool
    admission = pool.entries["bert"].admission
    file.write_text("max_queue_tokens = 7\n" + table(tiny_bert, "bert"))
    served.post("/admin/reload")
    assert pool.entries["bert"].admission is admission
    assert admission.max_tokens == 7
    file.write_text("max_queue_tokens = 7\n" + table(tiny_bert, "bert", "max_length = 5"))
    served.post("/admin/reload")
    assert pool.entries["bert"].admission is not admission
    assert pool.entries["bert"].admission.max_tokens == 7


def test_token_ids_that_can_t_be_read_change_nothing(
    served: TestClient, file: Path, tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error_of: ErrorOf
) -> None:
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "none"))
    file.write_text('token_ids = "tiktoken"\n' + table(tiny_bert, "bert"))
    error_of(served.post("/admin/reload"), 500, "invalid_setting")
    assert served.get("/config").json()["token_ids"] == "marked"


def test_a_model_whose_table_changed_is_opened_anew(served: TestClient, file: Path, tiny_bert: Path) -> None:
    file.write_text(table(tiny_bert, "bert", "max_length = 5"))
    assert served.post("/admin/reload").json()["models"] == {"added": [], "removed": [], "changed": ["bert"]}
    (model,) = served.get("/models").json()["models"]
    assert model["max_length"] == 5


def test_a_request_in_flight_finishes_on_the_model_it_has(
    served: TestClient, file: Path, tiny_xlmr: Path, hold: Any
) -> None:
    held = hold(served)
    with ThreadPoolExecutor(1) as threads:
        request = threads.submit(embed, served, "bert")
        assert held.entered.wait(PATIENCE)
        file.write_text(table(tiny_xlmr, "xlmr"))
        assert served.post("/admin/reload").status_code == 200
        settle(served)
        assert embed_status(served) == 404
        assert not request.done()
        held.gate.set()
        assert request.result(PATIENCE).status_code == 200
    settle(served)
    assert [slot.offer.public for slot in served.app.state.pool.slots.all] == ["xlmr"]


def embed_status(client: TestClient) -> int:
    status: int = embed(client, "bert").status_code
    return status


@pytest.mark.parametrize(
    "bad",
    [
        "not toml",
        "prot = 1",
        '[[model]]\nname = "x"\n[[model]]\nname = "x"',
        '[[model]]\nname = "/nowhere/at/all"',
        '[[key]]\nname = "a"\nhash = "b"',
        f'[[key]]\nname = "a"\nhash = "{digest_of("x")}"\n[[key]]\nname = "a"\nhash = "{digest_of("y")}"',
    ],
)
def test_a_bad_file_changes_nothing_and_says_why(
    served: TestClient, error_of: ErrorOf, file: Path, bad: str, tiny_xlmr: Path
) -> None:
    before = served.get("/v1/models").json()
    config = served.get("/config").json()
    file.write_text(bad + "\n" + (table(tiny_xlmr, "xlmr") if "[[model]]" in bad else ""))
    reply = served.post("/admin/reload")
    assert reply.status_code in (404, 500)
    assert reply.json()["error"]["message"]
    assert served.get("/v1/models").json() == before
    assert served.get("/config").json() == config
    assert embed(served, "bert").status_code == 200
    settle(served)
    assert [slot.offer.public for slot in served.app.state.pool.slots.all] == ["bert"]


def test_a_file_that_is_gone_changes_nothing(served: TestClient, file: Path) -> None:
    file.unlink()
    reply = served.post("/admin/reload")
    assert reply.json()["error"]["code"] == "invalid_setting"
    assert "can't be read" in reply.json()["error"]["message"]
    assert embed(served, "bert").status_code == 200


def test_keys_and_limits_change_at_once(served: TestClient, file: Path, tiny_bert: Path) -> None:
    key = f'[[key]]\nname = "a"\nhash = "{digest_of("lgt_x")}"\nscopes = ["embed", "admin"]\n'
    file.write_text("max_inputs = 1\n" + table(tiny_bert, "bert") + key)
    assert served.post("/admin/reload").json()["keys"] == 1
    assert embed(served, "bert").status_code == 401
    assert embed(served, "bert", authorization="Bearer lgt_x").status_code == 200
    two = {"model": "bert", "input": ["a", "b"]}
    assert served.post("/v1/embeddings", json=two, headers={"x-api-key": "lgt_x"}).status_code == 400
    file.write_text(table(tiny_bert, "bert"))
    assert served.post("/admin/reload", headers={"x-api-key": "lgt_x"}).json()["keys"] == 0
    assert embed(served, "bert").status_code == 200


@pytest.mark.parametrize("kind", ["embedder", "reranker"])
def test_the_length_of_texts_changes_for_models_that_are_loaded(
    served: TestClient, file: Path, tiny_bert: Path, tiny_reranker: Path, kind: str
) -> None:
    both = table(tiny_bert, "bert") + table(tiny_reranker, "ranker")
    file.write_text(both)
    served.post("/admin/reload")

    def status() -> int:
        if kind == "embedder":
            return embed(served, "bert").status_code
        return served.post("/v1/rerank", json={"query": "a dog", "documents": ["b"]}).status_code

    assert status() == 200
    pool = served.app.state.pool
    loaded = [entry.model for entry in pool.loaded()]
    file.write_text("max_text_characters = 4\n" + both)
    served.post("/admin/reload")
    assert status() == 400
    file.write_text("max_text_characters = 5\n" + both)
    served.post("/admin/reload")
    assert status() == 200
    assert [entry.model for entry in pool.loaded()] == loaded


def test_what_waits_for_the_next_start_is_named(served: TestClient, file: Path, tiny_bert: Path) -> None:
    file.write_text("port = 9\nmax_body_bytes = 5000\nmax_inputs = 3\n" + table(tiny_bert, "bert"))
    assert served.post("/admin/reload").json()["restart_needed_for"] == ["max_body_bytes", "port"]


def test_the_settings_that_wait_exist() -> None:
    assert set(AT_START) <= set(Settings.model_fields)


def test_a_folder_of_models_is_looked_through_again(open_client: Any, tmp_path: Path) -> None:
    write_embedder(tmp_path / "one")
    with open_client(model_storage_path=tmp_path) as client:
        write_embedder(tmp_path / "two", XLMR)
        assert embed(client, "two").status_code == 404
        assert client.post("/admin/reload").json()["models"]["added"] == ["two"]
        assert embed(client, "two").status_code == 200


def test_the_event_loop_answers_while_models_are_loaded(
    served: TestClient, file: Path, tiny_bert: Path, tiny_xlmr: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lagotto.server import pool

    entered, gate, opening = threading.Event(), threading.Event(), pool.open_any

    def slow(*args: Any) -> Any:
        entered.set()
        assert gate.wait(PATIENCE)
        return opening(*args)

    monkeypatch.setattr(pool, "open_any", slow)
    file.write_text(table(tiny_bert, "bert") + table(tiny_xlmr, "xlmr"))
    with ThreadPoolExecutor(1) as threads:
        reload = threads.submit(served.post, "/admin/reload")
        assert entered.wait(PATIENCE)
        assert embed(served, "bert").status_code == 200
        assert embed(served, "xlmr").status_code == 404, "not before it is there"
        gate.set()
        assert reload.result(PATIENCE).status_code == 200


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such signal")
def test_a_signal_reloads_and_a_bad_file_is_logged(
    start: Callable[..., Any], file: Path, tiny_bert: Path, tiny_xlmr: Path
) -> None:
    file.write_text(table(tiny_bert, "bert"))
    server = start("--config", file)
    url = server.url()
    file.write_text(table(tiny_bert, "bert") + table(tiny_xlmr, "xlmr"))
    server.popen.send_signal(signal.SIGHUP)
    server.until(lambda: "settings reloaded" in server.log)
    names = [model["id"] for model in httpx2.get(f"{url}/v1/models").json()["data"]]
    assert names == ["bert", "xlmr"]
    file.write_text("nonsense")
    server.popen.send_signal(signal.SIGHUP)
    server.until(lambda: "were not reloaded, the old ones stay in force" in server.log)
    assert [model["id"] for model in httpx2.get(f"{url}/v1/models").json()["data"]] == names
    server.popen.terminate()
    assert server.end() == 0
