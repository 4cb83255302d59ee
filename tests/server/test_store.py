"""``MODEL_STORAGE_PATH``: which folders are models, under which names."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder
from lagotto.cards import hubs
from lagotto.core.errors import ConfigError, ModelNotFoundError
from lagotto.server.pool import ModelPool
from lagotto.server.settings import Settings
from support.checkpoints import BERT, XLMR, write_embedder, write_json, write_plain, write_reranker

ErrorOf = Callable[..., dict[str, Any]]


def names(store: Path) -> list[str]:
    """The models a server offers from a store."""
    return sorted(ModelPool(Settings(model_storage_path=store)).entries)


def embed(client: TestClient, model: str, text: str = "a dog") -> Any:
    return client.post("/v1/embeddings", json={"model": model, "input": text})


@pytest.fixture
def never_fetch(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No hub may be asked."""
    asked: list[str] = []

    def ask(repo: str, *_: Any) -> None:
        asked.append(repo)
        raise ModelNotFoundError(repo)

    for hub in hubs.HUBS:
        monkeypatch.setitem(hubs.HUBS, hub, ask)
    yield
    assert not asked, f"a hub was asked for {asked}"


def test_folders_are_offered_as_name_and_as_org_name(tmp_path: Path) -> None:
    write_embedder(tmp_path / "plain")
    write_embedder(tmp_path / "BAAI/one")
    write_reranker(tmp_path / "BAAI/two")
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("not a model")
    write_json(tmp_path / "config.json", {"not": "a model either"})
    write_embedder(tmp_path / "too/deep/down")
    assert names(tmp_path) == ["BAAI/one", "BAAI/two", "plain"]


def test_stored_models_answer_by_their_names(
    open_client: Any, tmp_path: Path, embedder: Embedder, never_fetch: None
) -> None:
    write_embedder(tmp_path / "plain", BERT)
    write_embedder(tmp_path / "BAAI/one", XLMR)
    write_reranker(tmp_path / "BAAI/two", XLMR)
    with open_client(model_storage_path=tmp_path) as client:
        body = embed(client, "plain").json()
        assert body["model"] == "plain"
        np.testing.assert_allclose(body["data"][0]["embedding"], embedder.encode("a dog").dense[0], atol=2e-5)
        assert embed(client, "BAAI/one").status_code == 200
        assert client.get("/v1/models/BAAI/one").json()["id"] == "BAAI/one"
        reply = client.post("/v1/rerank", json={"model": "BAAI/two", "query": "a", "documents": ["b"]})
        assert reply.json()["model"] == "BAAI/two"


def test_a_model_whose_transformer_lies_in_a_sub_folder_is_one_model(open_client: Any, tmp_path: Path) -> None:
    write_embedder(tmp_path / "old", transformer="0_Transformer")
    write_embedder(tmp_path / "org/old", transformer="0_Transformer")
    assert names(tmp_path) == ["old", "org/old"]
    with open_client(model_storage_path=tmp_path) as client:
        assert embed(client, "old").status_code == 200


def test_hidden_folders_are_no_models(tmp_path: Path) -> None:
    for place in (".cache", ".cache/org", "seen", "seen-too/.hidden"):
        write_embedder(tmp_path / place)
    assert names(tmp_path) == ["seen"]


def test_models_and_a_store_are_served_together(open_client: Any, tmp_path: Path, tiny_bert: Path) -> None:
    write_embedder(tmp_path / "stored")
    with open_client(models=[f"named={tiny_bert}"], model_storage_path=tmp_path) as client:
        assert {model["id"] for model in client.get("/v1/models").json()["data"]} == {"named", "stored"}
        assert [model["id"] for model in client.get("/models").json()["models"]] == ["named"]
        assert embed(client, "stored").status_code == 200


def test_a_stored_model_that_is_named_too_is_loaded_at_start(
    open_client: Any, tmp_path: Path, never_fetch: None
) -> None:
    write_embedder(tmp_path / "BAAI/one", XLMR)
    write_embedder(tmp_path / "BAAI/two", XLMR)
    with open_client(models=["BAAI/one"], model_storage_path=tmp_path) as client:
        assert {model["id"] for model in client.get("/v1/models").json()["data"]} == {"BAAI/one", "BAAI/two"}
        assert [model["id"] for model in client.get("/models").json()["models"]] == ["BAAI/one"]


def test_a_stored_model_has_the_card_of_its_name(open_client: Any, tmp_path: Path) -> None:
    name = "BAAI/bge-small-en-v1.5"
    write_plain(tmp_path / name)  # as transformers saves it: nothing in the folder says how to pool
    with Embedder(name, models_dir=tmp_path, precision="f32", threads=2) as model:
        expected = model.encode("a dog").dense[0]
    with open_client(model_storage_path=tmp_path) as client:
        reply = embed(client, name)
        assert reply.status_code == 200, reply.text
    np.testing.assert_allclose(reply.json()["data"][0]["embedding"], expected, atol=2e-5)


def test_a_stored_model_that_went_away_is_not_looked_for_on_a_hub(
    open_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, never_fetch: None
) -> None:
    monkeypatch.chdir(tmp_path)
    write_embedder(tmp_path / "models/gone")
    with open_client(model_storage_path=Path("models")) as client:
        shutil.rmtree(tmp_path / "models/gone")
        assert embed(client, "gone").status_code in (404, 500)


def test_a_client_can_name_no_path_of_the_store(open_client: Any, error_of: ErrorOf, tmp_path: Path) -> None:
    write_embedder(tmp_path / "store/one")
    write_embedder(tmp_path / "beside")
    with open_client(model_storage_path=tmp_path / "store") as client:
        for name in ("../beside", "./one", "one/", "one/.", str(tmp_path / "store/one"), str(tmp_path / "beside")):
            error_of(embed(client, name), 404, "model_not_found")


def test_a_model_added_after_the_start_is_not_served(open_client: Any, error_of: ErrorOf, tmp_path: Path) -> None:
    write_embedder(tmp_path / "one")
    with open_client(model_storage_path=tmp_path) as client:
        write_embedder(tmp_path / "two")
        error_of(embed(client, "two"), 404, "model_not_found")


def test_a_store_in_the_home_folder_may_be_written_with_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embedder(tmp_path / "models/one")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    assert names(Path("~/models")) == ["one"]


def test_a_store_that_is_no_folder_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for wrong in (tmp_path / "none", tmp_path / "file"):
        with pytest.raises(ConfigError, match=f"MODEL_STORAGE_PATH {wrong} is not a folder"):
            ModelPool(Settings(model_storage_path=wrong))
