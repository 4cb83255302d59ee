"""Models are loaded once, by whoever comes first, and never on the event loop."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from lagotto.core.errors import ConfigError, LagottoError
from lagotto.models.opening import open_any
from lagotto.server.app import create_app
from lagotto.server.catalogue import installed_starters
from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings
from support.checkpoints import XLMR, write_embedder

PATIENCE = 60
RACERS = 32
ErrorOf = Callable[..., dict[str, Any]]


def embed(client: TestClient, model: str, text: str = "a dog") -> Any:
    return client.post("/v1/embeddings", json={"model": model, "input": text})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store that holds one embedder, ``lazy``."""
    write_embedder(tmp_path / "store/lazy", XLMR, pooling="mean")
    return tmp_path / "store"


class Opening:
    """Stands before `open_any`: counts its calls and lets them pass when the test says so."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self, name: Any, options: Any) -> Any:
        self.names.append(Path(name).name)
        self.begun.set()
        assert self.gate.wait(PATIENCE)
        return open_any(name, options)


@pytest.fixture
def opening(monkeypatch: pytest.MonkeyPatch) -> Iterator[Opening]:
    opening = Opening()
    monkeypatch.setattr("lagotto.server.pool.open_any", opening)
    yield opening
    opening.gate.set()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as threads:
        yield threads


class Arrivals:
    """Counts the requests that reach an app."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._count = threading.Semaphore(0)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self._count.release()
        await self._app(scope, receive, send)

    def wait_for(self, number: int) -> None:
        for _ in range(number):
            assert self._count.acquire(timeout=PATIENCE)


# Loading.


def test_a_stored_model_is_loaded_when_first_asked_for_and_once_however_many_race(
    store: Path, opening: Opening, threads: ThreadPoolExecutor
) -> None:
    app = Arrivals(create_app(Settings(model_storage_path=store, precision="f32", threads=2)))
    with TestClient(app, raise_server_exceptions=False) as client:
        assert client.get("/models").json()["models"] == []
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["lazy"]
        assert opening.names == []
        app.wait_for(2)
        replies = [threads.submit(embed, client, "lazy") for _ in range(RACERS)]
        app.wait_for(RACERS)
        opening.gate.set()
        bodies = [reply.result(PATIENCE).json() for reply in replies]
        assert opening.names == ["lazy"]
        assert all(body == bodies[0] for body in bodies)
        assert bodies[0]["data"]
        assert [model["id"] for model in client.get("/models").json()["models"]] == ["lazy"]


def test_models_named_by_the_operator_are_loaded_at_start(opening: Opening, tiny_bert: Path, store: Path) -> None:
    opening.gate.set()
    settings = Settings(models=[f"bert={tiny_bert}"], model_storage_path=store, precision="f32", threads=2)
    with TestClient(create_app(settings)) as client:
        assert opening.names == ["tiny-bert"]
        assert embed(client, "bert").status_code == 200
    assert opening.names == ["tiny-bert"]


def test_a_model_that_failed_to_load_is_tried_again(
    open_client: Any, error_of: ErrorOf, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = store / "lazy/model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[:100])
    with open_client(model_storage_path=store) as client:
        error_of(embed(client, "lazy"), 500, "checkpoint_error")
        assert client.get("/health").status_code == 200
        weights.write_bytes(whole)
        assert embed(client, "lazy").status_code == 200


def test_a_server_whose_model_cant_be_loaded_does_not_start(tmp_path: Path) -> None:
    app = create_app(Settings(models=[str(tmp_path)]))
    with pytest.raises(LagottoError), TestClient(app):
        pytest.fail("it started")


def test_models_are_freed_when_the_app_ends(open_client: Any, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        (entry,) = client.app.state.pool.loaded()
        assert embed(client, "bert").status_code == 200
    with pytest.raises(LagottoError):
        entry.model.encode("a")


def test_settings_reach_the_models(open_client: Any, tiny_bert: Path) -> None:
    with open_client(models=[str(tiny_bert)], precision="f32", threads=1) as client:
        (model,) = client.get("/models").json()["models"]
    assert (model["engine"]["precision"], model["engine"]["threads"]) == ("f32", 1)


# Nobody waits for what does not concern them.


@pytest.mark.parametrize("size", [1, 300], ids=["small", "large"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", lambda size: {"model": "bert", "input": [f"a dog and {size} cats"] * size}),
        ("/v1/embeddings", lambda size: {"model": "bert", "input": [[2, 20, 3]] * size}),
        ("/v1/rerank", lambda size: {"query": "a", "documents": ["b cat sat"] * size}),
    ],
    ids=["texts", "ids", "pairs"],
)
def test_the_event_loop_answers_while_a_model_computes(
    client: TestClient, threads: ThreadPoolExecutor, held: Any, path: str, body: Any, size: int
) -> None:
    busy = threads.submit(client.post, path, json=body(size))
    assert held.entered.wait(PATIENCE)
    for quick in ("/health", "/models", "/v1/models", "/config"):
        assert client.get(quick).status_code == 200
    assert not busy.done(), "the answers came while the model computed"
    held.gate.set()
    assert busy.result(PATIENCE).status_code == 200


def test_the_event_loop_answers_while_a_model_is_loaded(
    open_client: Any, store: Path, opening: Opening, threads: ThreadPoolExecutor
) -> None:
    with open_client(model_storage_path=store) as client:
        waiting = threads.submit(embed, client, "lazy")
        assert opening.begun.wait(PATIENCE)
        assert client.get("/health").status_code == 200
        assert client.get("/models").json()["models"] == []
        assert not waiting.done()
        opening.gate.set()
        assert waiting.result(PATIENCE).status_code == 200


def test_requests_that_wait_for_a_loading_model_leave_the_others_their_threads(
    tiny_bert: Path, store: Path, opening: Opening, threads: ThreadPoolExecutor
) -> None:
    opening.gate.set()
    settings = Settings(models=[f"bert={tiny_bert}"], model_storage_path=store, precision="f32", threads=2)
    app = Arrivals(create_app(settings))
    with TestClient(app) as client:
        opening.gate.clear()
        waiting = [threads.submit(embed, client, "lazy") for _ in range(70)]
        app.wait_for(70)
        other: Future[Any] = threads.submit(embed, client, "bert")
        try:
            status = other.result(5).status_code
        except FutureTimeoutError:
            status = None
        finally:
            opening.gate.set()
        assert status == 200, "a loaded model waited for another one to load"
        assert all(reply.result(PATIENCE).status_code == 200 for reply in waiting)


# Names.


def test_an_alias_is_the_only_name_of_its_model(
    open_client: Any, error_of: ErrorOf, tiny_bert: Path, tiny_xlmr: Path
) -> None:
    with open_client(models=[f"text-embedding-3-small={tiny_bert}", str(tiny_xlmr)]) as client:
        names = [model["id"] for model in client.get("/v1/models").json()["data"]]
        assert names == ["text-embedding-3-small", "tiny-xlmr"], "a folder is called by its last part"
        assert embed(client, "text-embedding-3-small").json()["model"] == "text-embedding-3-small"
        assert embed(client, "tiny-xlmr").status_code == 200
        for folder in (tiny_bert, tiny_xlmr):
            error_of(embed(client, str(folder)), 404, "model_not_found")


def test_an_alias_may_stand_before_a_path_that_holds_an_equals_sign(open_client: Any, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "run=3/model", XLMR)
    with open_client(models=[f"tuned={folder}"]) as client:
        assert embed(client, "tuned").status_code == 200


@pytest.mark.parametrize("models", [["a=x", "a=y"], ["x", "x"], ["x", "y", "x=z"]])
def test_two_models_of_one_name_are_a_mistake_in_the_settings(models: list[str]) -> None:
    with pytest.raises(ConfigError, match="two models are called"):
        ModelPool(Settings(models=models))


@pytest.mark.parametrize("text", ["a=", "=", "=x", " =x", " a=x", "a=x ", "", " "])
def test_a_model_that_is_neither_name_nor_alias_is_a_mistake_in_the_settings(text: str) -> None:
    with pytest.raises(ConfigError, match="ALIAS=NAME"):
        ModelPool(Settings(models=[text]))


def test_with_nothing_to_serve_the_message_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.server.catalogue.is_installed", lambda _: False)
    with pytest.raises(ConfigError, match=r"--model NAME.*MODEL_STORAGE_PATH.*lagotto\[starter\]"):
        create_app(Settings())


def test_a_starter_model_that_no_route_answers_with_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.server.catalogue.is_installed", lambda starter: True)  # a chat model among them
    assert installed_starters() == ["bge-small-en-v1.5", "multilingual-e5-small", "ms-marco-MiniLM-L-12-v2"]


def test_without_settings_the_installed_starter_models_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.server.catalogue.is_installed", lambda starter: starter.name == "bge-small-en-v1.5")
    pool = ModelPool(Settings())
    assert [(entry.public, entry.offer.eager) for entry in pool.entries.values()] == [
        ("starter:bge-small-en-v1.5", True)
    ]
