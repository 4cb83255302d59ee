"""Adapters beside one base, each a model of its own to clients, by its name in whatever dialect."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder, Reranker
from lagotto.core.errors import ConfigError
from lagotto.server.app import create_app
from lagotto.server.catalogue import offers
from lagotto.server.settings import load_settings
from support.adapters import write_adapter
from support.architectures import write_architecture
from support.language_models import write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = 1e-5
HOW: dict[str, Any] = {"precision": "f32", "device": "cpu", "threads": 1}
TEXTS = ["the dog", "what is a panda", "a big city in france"]
NAMES = ("base", "base:legal", "base:medical")
SHAPES = {"layers.0.self_attn.q_proj": (32, 32), "layers.1.mlp.down_proj": (32, 48)}
ErrorOf = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "qwen2", "qwen2")


@pytest.fixture(scope="module")
def ranker(base: Path) -> Path:
    return write_architecture(base.parent / "ranker", "qwen3", classifier=True)


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, Path]:
    return {name: write_adapter(base.parent / name, str(base), SHAPES, seed=len(name)) for name in ("legal", "medical")}


@pytest.fixture(scope="module")
def expected(base: Path, adapters: dict[str, Path]) -> dict[str, Any]:
    """Vectors by the name of the model, from adapters that were merged."""
    found = {}
    for name in NAMES:
        adapter = adapters.get(name.partition(":")[2])
        with Embedder(base, pooling="last_token", adapter=adapter, **HOW) as model:
            found[name] = model.encode(TEXTS).dense
    return found


def table(base: Path, adapters: dict[str, Path], **more: str) -> str:
    lines = {"name": str(base), "alias": "base", "pooling": "last_token", "device": "cpu"} | more
    given = "".join(f'{key} = "{value}"\n' for key, value in lines.items())
    pairs = ", ".join(f'{key} = "{path}"' for key, path in adapters.items())
    return f"[[model]]\n{given}adapters = {{{pairs}}}\n"


@pytest.fixture(scope="module")
def file(base: Path, ranker: Path, adapters: dict[str, Path]) -> Path:
    lora = write_adapter(base.parent / "lora", str(ranker), {"model.layers.0.self_attn.q_proj": (32, 32)}, seed=9)
    judge = f'[[model]]\nname = "{ranker}"\nalias = "judge"\ndevice = "cpu"\nadapters = {{strict = "{lora}"}}\n'
    path = base.parent / "lagotto.toml"
    path.write_text(table(base, adapters) + judge)
    return path


@pytest.fixture(scope="module")
def client(environment: None, file: Path) -> Iterator[TestClient]:
    settings = load_settings(file, precision="f32", threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as opened:
        yield opened


def embed(client: TestClient, model: str, texts: Any, path: str = "/v1/embeddings") -> Any:
    reply = client.post(path, json={"model": model, "input": texts})
    assert reply.status_code == 200, reply.text
    assert reply.json()["model"] == model
    return np.array([item["embedding"] for item in reply.json()["data"]], np.float32)


def test_every_dialect_names_an_adapter_as_a_model(client: TestClient, expected: dict[str, Any]) -> None:
    for name, vectors in expected.items():
        for path in ("/v1/embeddings", "/openai/v1/embeddings", "/infinity/embeddings", "/vllm/v1/embeddings"):
            np.testing.assert_allclose(embed(client, name, TEXTS, path), vectors, atol=CLOSE)
        cohere = {"model": name, "texts": TEXTS, "input_type": "search_document", "embedding_types": ["float"]}
        found = client.post("/v2/embed", json=cohere).json()["embeddings"]["float"]
        np.testing.assert_allclose(found, vectors, atol=CLOSE)
        tei = client.post("/embed", params={"model": name}, json={"inputs": TEXTS}).json()
        np.testing.assert_allclose(tei, vectors, atol=CLOSE)
        own = client.post("/v1/encode", json={"model": name, "input": TEXTS}).json()["data"]
        np.testing.assert_allclose([one["dense"] for one in own], vectors, atol=CLOSE)


def test_what_is_cached_of_one_is_not_answered_for_another(client: TestClient, expected: dict[str, Any]) -> None:
    for _ in range(2):
        for name in NAMES:
            np.testing.assert_allclose(embed(client, name, TEXTS[0])[0], expected[name][0], atol=CLOSE)
    prints = [client.post("/v1/encode", json={"model": name, "input": "a"}).json()["fingerprint"] for name in NAMES]
    assert len(set(prints)) == 3


def test_requests_side_by_side_each_get_their_own(client: TestClient, expected: dict[str, Any]) -> None:
    def ask(one: int) -> Any:
        name, text = NAMES[one % 3], one // 3 % len(TEXTS)
        body = {"model": name, "input": [TEXTS[text]], "outputs": ["dense"]}  # of /v1/encode, which caches nothing
        return name, text, client.post("/v1/encode", json=body).json()["data"][0]["dense"]

    with ThreadPoolExecutor(12) as threads:
        for name, text, vector in threads.map(ask, range(45)):
            np.testing.assert_allclose(vector, expected[name][text], atol=CLOSE)


def test_rerankers_have_adapters_too(client: TestClient, ranker: Path) -> None:
    documents, scores = ["the giant panda is a bear", "paris", "dog"], {}
    for name, adapter in (("judge", None), ("judge:strict", ranker.parent / "lora")):
        reply = client.post("/v1/rerank", json={"model": name, "query": "panda", "documents": documents}).json()
        scores[name] = [place["relevance_score"] for place in reply["results"]]
        with Reranker(ranker, adapter=adapter, **HOW) as model:
            ranking = model.rank("panda", documents)
        assert [place["index"] for place in reply["results"]] == [one.index for one in ranking]
        np.testing.assert_allclose(scores[name], [one.score for one in ranking], atol=CLOSE)
    assert scores["judge"] != scores["judge:strict"]
    # It is the one reranker here, with or without adapters.
    reply = client.post("/v1/rerank", json={"query": "panda", "documents": documents})
    assert reply.json()["model"] == "judge"


def test_they_are_listed_below_their_base(client: TestClient) -> None:
    found = client.get("/v1/models").json()["data"]
    told = [(one["id"], one["parent"], one["root"], one["state"]) for one in found]
    assert told == [
        ("base", None, "base", "loaded"),
        ("base:legal", "base", "base", "loaded"),
        ("base:medical", "base", "base", "loaded"),
        ("judge", None, "judge", "loaded"),
        ("judge:strict", "judge", "judge", "loaded"),
    ]
    assert client.get("/v1/models/base:legal").json() == found[1]
    known = client.get("/models").json()
    assert [one["id"] for one in known["models"]] == [one["id"] for one in found]
    assert len({one["fingerprint"] for one in known["models"]}) == 5
    assert [one["id"] for one in known["data"]] == [one["id"] for one in found]
    assert [one["id"] for one in client.get("/ready").json()["models"]] == ["base", "judge"]
    assert "lagotto_models_loaded 2.0" in client.get("/metrics").text


def test_an_unknown_one_is_not_found(client: TestClient, error_of: ErrorOf) -> None:
    for name in ("base:leagl", "base:", "legal", "judge:legal"):
        reply = client.post("/v1/embeddings", json={"model": name, "input": "a"})
        message = error_of(reply, 404, "model_not_found")["message"]
        assert "base, base:legal, base:medical, judge, judge:strict" in message
        error_of(client.get(f"/v1/models/{name}"), 404, "model_not_found")


def test_settings_show_no_folder(client: TestClient, base: Path) -> None:
    shown = client.get("/config")
    assert shown.json()["model"][0]["adapters"] == ["legal", "medical"]
    assert str(base.parent) not in shown.text


def test_an_adapter_that_fails_is_told_without_its_folder(
    open_client: Any, tmp_path: Path, base: Path, error_of: ErrorOf
) -> None:
    other = write_adapter(tmp_path / "other", "/home/base", {"layers.9.self_attn.q_proj": (32, 32)})
    file = tmp_path / "lagotto.toml"
    file.write_text(table(base, {"other": other}).replace("pooling", "eager = false\npooling"))
    settings = load_settings(file, precision="f32", threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        reply = client.post("/v1/embeddings", json={"model": "base:other", "input": "a"})
        assert reply.status_code >= 500
        assert "base:other: changes" in reply.json()["error"]["message"]
        assert str(tmp_path) not in reply.text


def test_a_reload_brings_and_takes_adapters(
    tmp_path: Path, base: Path, adapters: dict[str, Path], expected: dict[str, Any], error_of: ErrorOf
) -> None:
    file, one = tmp_path / "lagotto.toml", {"legal": adapters["legal"]}
    file.write_text(table(base, one))

    def read() -> Any:
        return load_settings(file, precision="f32", threads=1)

    with TestClient(create_app(read(), read), raise_server_exceptions=False) as client:
        np.testing.assert_allclose(embed(client, "base:legal", TEXTS), expected["base:legal"], atol=CLOSE)
        file.write_text(table(base, adapters))
        changes = client.post("/admin/reload").json()["models"]
        assert changes == {"added": ["base:medical"], "removed": [], "changed": ["base", "base:legal"]}
        for name in NAMES:
            np.testing.assert_allclose(embed(client, name, TEXTS), expected[name], atol=CLOSE)
        file.write_text(table(base, one | {"gone": tmp_path / "gone"}))
        error_of(client.post("/admin/reload"), 404, "model_not_found")
        np.testing.assert_allclose(embed(client, "base:medical", TEXTS), expected["base:medical"], atol=CLOSE)
        file.write_text(table(base, one))
        assert client.post("/admin/reload").json()["models"]["removed"] == ["base:medical"]
        error_of(client.post("/v1/embeddings", json={"model": "base:medical", "input": "a"}), 404, "model_not_found")
        np.testing.assert_allclose(embed(client, "base:legal", TEXTS), expected["base:legal"], atol=CLOSE)


def test_an_unloaded_base_is_loaded_for_any_of_its_adapters(
    tmp_path: Path, base: Path, adapters: dict[str, Path], expected: dict[str, Any]
) -> None:
    file = tmp_path / "lagotto.toml"
    file.write_text(table(base, adapters).replace("pooling", "eager = false\npooling"))
    with TestClient(create_app(load_settings(file, precision="f32", threads=1))) as client:
        pool: Any = client.app.state.pool  # type: ignore[attr-defined]
        assert not pool.answering()
        for _ in range(2):
            np.testing.assert_allclose(embed(client, "base:medical", TEXTS), expected["base:medical"], atol=CLOSE)
            entry = pool.entries["base:medical"]
            assert pool.slots.loads - pool.slots.unloads == 1
            pool.slots._unload(entry.slot, "for the test")
            assert entry.model is None


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ('adapter = "a"\nadapters = {b = "c"}', "give one of the two"),
        ('adapters = {" b" = "c"}', "adapter name ' b' is none"),
        ('adapters = {b = ""}', "has no folder"),
        ('alias = ["m", "m:b"]\nadapters = {b = "c"}', "two models are called 'm:b'"),
    ],
)
def test_tables_that_contradict_themselves(tmp_path: Path, more: str, message: str) -> None:
    file = tmp_path / "lagotto.toml"
    file.write_text(f'[[model]]\nname = "org/m"\n{more}\n')
    with pytest.raises(ConfigError, match=message):
        offers(load_settings(file))
