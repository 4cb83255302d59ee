"""Instructions, tasks, examples and adapters of language-model embedders over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder
from lagotto.server.model_settings import ModelSettings
from support.adapters import write_adapter
from support.language_models import write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = [{"instruct": "find", "query": "who", "response": "the dog"}, {"query": "where", "response": "paris"}]
CLOSE = 1e-5
OpenClient = Callable[..., TestClient]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "mistral")


@pytest.fixture(scope="module")
def adapters(folder: Path) -> list[Path]:
    shapes = {"layers.0.self_attn.q_proj": (32, 32), "layers.1.mlp.down_proj": (32, 48)}
    return [write_adapter(folder.parent / f"adapter-{n}", str(folder), shapes, seed=n) for n in (1, 2)]


@pytest.fixture
def client(open_client: OpenClient, folder: Path, adapters: list[Path], tiny_bert: Path) -> Iterator[TestClient]:
    plain: dict[str, Any] = {"name": str(folder), "pooling": "last_token", "device": "cpu"}
    models = [
        ModelSettings(name=str(folder), alias=["icl"], card="BAAI/bge-en-icl", device="cpu"),
        ModelSettings(name=str(folder), alias=["as-flag"], card="BAAI/bge-en-icl", device="cpu", compat=True),
        ModelSettings(**plain, alias=["base"]),
        *(ModelSettings(**plain, alias=[f"adapted-{n}"], adapter=str(path)) for n, path in enumerate(adapters, 1)),
        ModelSettings(name=str(tiny_bert), alias=["tasks"], card="BAAI/llm-embedder"),
    ]
    with open_client(models=[], model=models, precision="f32", threads=1) as opened:
        yield opened


def dense(client: TestClient, **body: Any) -> Any:
    reply = client.post("/v1/encode", json=body)
    assert reply.status_code == 200, reply.text
    return np.array([item["dense"] for item in reply.json()["data"]], np.float32)


def test_instruction_and_examples(client: TestClient, folder: Path) -> None:
    wish: dict[str, Any] = {"instruction": "find the animal", "examples": EXAMPLES}
    found = dense(client, model="icl", input=["the dog", "paris"], role="query", **wish)
    usual = dense(client, model="icl", input=["the dog", "paris"], role="query")
    with Embedder(folder, card="BAAI/bge-en-icl", precision="f32", device="cpu") as model:
        np.testing.assert_allclose(found, model.encode_queries(["the dog", "paris"], **wish).dense, atol=CLOSE)
        np.testing.assert_allclose(usual, model.encode_queries(["the dog", "paris"]).dense, atol=CLOSE)
    # The same text in another wording is not taken from the cache.
    assert np.abs(found - usual).max() > 1e-3
    body = {"model": "icl", "texts": ["the dog"], "input_type": "search_query"}
    by_role = client.post("/v1/embed", json=body).json()["embeddings"]
    np.testing.assert_allclose(by_role, usual[:1], atol=CLOSE)
    tei = client.post("/embed?model=icl", json={"inputs": "the dog", "prompt_name": "query"}).json()
    np.testing.assert_allclose(tei, usual[:1], atol=CLOSE)


def test_queries_put_together_as_flag_embedding_does(client: TestClient, folder: Path) -> None:
    found = dense(client, model="as-flag", input="the dog", role="query")
    with Embedder(folder, card="BAAI/bge-en-icl", precision="f32", device="cpu", compat=True) as model:
        np.testing.assert_allclose(found, model.encode_queries(["the dog"]).dense, atol=CLOSE)
    assert np.abs(found - dense(client, model="icl", input="the dog", role="query")).max() > 1e-3


def test_named_tasks(client: TestClient, tiny_bert: Path) -> None:
    for role, method in (("query", "encode_queries"), ("document", "encode_documents")):
        found = dense(client, model="tasks", input="dog", role=role, task="tool")
        with Embedder(tiny_bert, card="BAAI/llm-embedder", precision="f32", threads=1) as model:
            np.testing.assert_allclose(found, getattr(model, method)("dog", task="tool").dense, atol=CLOSE)


@pytest.mark.parametrize(
    ("wish", "param", "message"),
    [
        ({"model": "tasks", "task": "poem", "role": "query"}, "task", "'poem' is none of"),
        ({"model": "tasks", "examples": EXAMPLES, "role": "query"}, "examples", "was not trained with worked examples"),
        ({"model": "icl", "examples": EXAMPLES, "role": "document"}, "examples", "documents have none"),
        ({"model": "icl", "examples": [{"query": "a"}]}, "examples", "required"),
    ],
)
def test_what_does_not_fit_is_named(client: TestClient, wish: Any, param: str, message: str) -> None:
    reply = client.post("/v1/encode", json={"input": "dog", **wish})
    assert reply.status_code in (400, 422)
    error = reply.json()["error"]
    assert error["param"] == param
    assert message in error["message"]


def test_adapters_of_one_base_are_models_of_their_own(client: TestClient, folder: Path, adapters: list[Path]) -> None:
    found = [dense(client, model=name, input="the dog") for name in ("base", "adapted-1", "adapted-2")]
    for vectors, adapter in zip(found, (None, *adapters), strict=True):
        with Embedder(folder, pooling="last_token", adapter=adapter, precision="f32", device="cpu") as model:
            np.testing.assert_allclose(vectors, model.encode("the dog").dense, atol=CLOSE)
    assert np.abs(found[0] - found[1]).max() > 1e-3
    assert np.abs(found[1] - found[2]).max() > 1e-3
