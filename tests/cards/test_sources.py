"""Names to folders: a folder, a store of models, a hub id, a starter model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lagotto import Embedder, Reranker, resolve
from lagotto.cards import hubs
from lagotto.cards.sources import Places, Source, locate
from lagotto.core.errors import (
    ConfigError,
    InvalidInputError,
    LagottoError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from support.checkpoints import BERT, write_embedder, write_reranker


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Any, ...]]:
    """What hubs were asked for; each is answered with a folder."""
    calls: list[tuple[Any, ...]] = []

    def fetch(*arguments: Any) -> Path:
        calls.append(arguments[:4])
        return tmp_path / "fetched"

    monkeypatch.setattr(hubs, "fetch", fetch)
    return calls


@pytest.fixture
def places(tmp_path: Path) -> Places:
    return Places(cache=tmp_path / "cache")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A folder of downloaded models, in both layouts."""
    write_embedder(tmp_path / "store/BAAI/bge-small-en-v1.5", BERT)
    write_embedder(tmp_path / "store/own", BERT)
    (tmp_path / "store/BAAI/bge-m3").mkdir()
    return tmp_path / "store"


# Folders.


def test_a_folder_by_path_and_by_text(tiny_bert: Path, places: Places, asked: list[Any]) -> None:
    for name in (tiny_bert, str(tiny_bert), f"{tiny_bert}/"):
        found = locate(name, places)
        assert found.folder == tiny_bert
        assert found.row is None
    assert not asked


def test_a_folder_beside_and_one_at_home(
    tiny_bert: Path, places: Places, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    monkeypatch.chdir(tiny_bert.parent)
    monkeypatch.setenv("HOME", str(tiny_bert.parent))
    assert locate(tiny_bert.name, places).folder == Path(tiny_bert.name)
    assert locate(f"~/{tiny_bert.name}", places).folder == tiny_bert
    assert not asked


def test_a_folder_wins_over_a_hub_id(
    tmp_path: Path, places: Places, monkeypatch: pytest.MonkeyPatch, asked: list[Any]
) -> None:
    write_embedder(tmp_path / "org/model", BERT)
    monkeypatch.chdir(tmp_path)
    assert locate("org/model", places).folder == Path("org/model")
    assert not asked


@pytest.mark.parametrize("name", ["./models/x", "/models/x", "~/models/x", "a/b/c", "model", Path("org/model"), "a:b"])
def test_a_folder_that_is_not_there_is_not_looked_for_on_a_hub(
    name: str | Path, places: Places, asked: list[Any]
) -> None:
    with pytest.raises(ModelNotFoundError, match="is no folder here"):
        locate(name, places)
    assert not asked


@pytest.mark.parametrize("name", ["", " ", "a\0b"])
def test_what_is_no_name_is_refused(name: str, places: Places) -> None:
    with pytest.raises(InvalidInputError, match="empty or not a name"):
        locate(name, places)


@pytest.mark.parametrize(
    ("name", "close"), [("bge-m4", "BAAI/bge-m3"), ("bge-large-en-v1.6", "BAAI/bge-large-en-v1.5")]
)
def test_an_unknown_name_suggests_close_ones(name: str, close: str, places: Places) -> None:
    with pytest.raises(ModelNotFoundError, match=f"did you mean .*{close}"):
        locate(name, places)


# Hubs.


def test_a_hub_id_is_fetched(places: Places, asked: list[Any], tmp_path: Path) -> None:
    assert locate("org/model", places) == Source("org/model", tmp_path / "fetched", row=None)
    assert asked == [("huggingface", "org/model", None, False)]


def test_a_revision_by_name_or_by_argument(places: Places, asked: list[Any]) -> None:
    assert locate("org/model@v1", places).name == "org/model@v1"
    assert locate("org/model", places, revision="v2").name == "org/model@v2"
    assert [call[2] for call in asked] == ["v1", "v2"]


def test_a_listed_name_in_any_case_is_fetched_by_its_own(places: Places, asked: list[Any]) -> None:
    row = locate("baai/BGE-small-en-v1.5", places).row
    assert row is not None
    assert row.name == asked[0][1] == "BAAI/bge-small-en-v1.5"


def test_which_hub(places: Places, asked: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    locate("modelscope:org/model@v1", places)
    locate("org/model", Places(tmp_path, hub="modelscope", offline=True))
    monkeypatch.setenv("LAGOTTO_HUB", "modelscope")
    locate("org/model", places)
    locate("huggingface:org/model", places)
    assert [call[0] for call in asked] == ["modelscope", "modelscope", "modelscope", "huggingface"]
    assert [call[3] for call in asked] == [False, True, False, False]


def test_an_unknown_hub_is_refused(places: Places) -> None:
    with pytest.raises(ConfigError, match="'gitlab' is not known"):
        locate("gitlab:org/model", places)


def test_offline_nothing_is_fetched(places: Places, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="offline mode is on"):
        resolve("org/model", cache_dir=tmp_path, offline=True)


@pytest.mark.parametrize(
    ("opener", "name", "error"),
    [
        (Embedder, "BAAI/BGE-VL-base", UnsupportedModelError),
        (Embedder, "modelscope:BAAI/BGE-VL-base@master", UnsupportedModelError),
        (Reranker, "jinaai/jina-reranker-v1-turbo-en", UnsupportedModelError),
        (Embedder, "BAAI/bge-reranker-base", InvalidInputError),
        (Reranker, "BAAI/bge-base-en-v1.5", InvalidInputError),
    ],
)
def test_what_cannot_be_opened_is_not_fetched(
    opener: type[Embedder | Reranker], name: str, error: type[LagottoError], asked: list[Any]
) -> None:
    with pytest.raises(error):
        opener(name)
    assert not asked


def test_an_unlisted_card_is_refused_before_anything_is_fetched(asked: list[Any]) -> None:
    with pytest.raises(InvalidInputError, match="not listed"):
        Embedder("org/model", card="org/typo")
    assert not asked


# A store of models.


def test_a_model_in_the_store_is_not_fetched(store: Path, tmp_path: Path, asked: list[Any]) -> None:
    places = Places(tmp_path, store)
    found = locate("BAAI/bge-small-en-v1.5", places)
    assert found.folder == store / "BAAI/bge-small-en-v1.5"
    assert found.row is not None
    assert locate("someone/own", places).folder == store / "own"
    assert not asked


def test_an_empty_folder_in_the_store_does_not_count(store: Path, tmp_path: Path, asked: list[Any]) -> None:
    locate("BAAI/bge-m3", Places(tmp_path, store))
    assert [call[1] for call in asked] == ["BAAI/bge-m3"]


def test_a_pinned_revision_is_not_taken_from_the_store(store: Path, tmp_path: Path, asked: list[Any]) -> None:
    locate("BAAI/bge-small-en-v1.5@v1", Places(tmp_path, store))
    assert asked


def test_the_store_by_variable(store: Path, places: Places, monkeypatch: pytest.MonkeyPatch, asked: list[Any]) -> None:
    monkeypatch.setenv("LAGOTTO_MODELS", str(store))
    assert locate("someone/own", places).folder == store / "own"
    assert not asked


def test_models_open_from_the_store(store: Path, asked: list[Any]) -> None:
    assert resolve("BAAI/bge-small-en-v1.5", models_dir=store) == store / "BAAI/bge-small-en-v1.5"
    write_reranker(store / "ranker")
    with Embedder("BAAI/bge-small-en-v1.5", models_dir=store, threads=1) as model:
        assert model.name == "BAAI/bge-small-en-v1.5"
        assert model.card.query.instruction.startswith("Represent")
    with Reranker("someone/ranker", models_dir=str(store), threads=1) as ranker:
        assert ranker.name == "someone/ranker"
    assert not asked


# Starter models.


def test_an_unknown_starter_is_refused_with_the_choices(places: Places) -> None:
    with pytest.raises(ModelNotFoundError, match=r"no starter model 'bge'.*bge-small-en-v1\.5"):
        locate("starter:bge", places)
