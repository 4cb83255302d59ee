"""What a checkpoint folder says about itself, in the layouts that are around."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.folder import DenseModule, card_from_folder, read_folder
from lagotto.cards.json_files import read_json
from lagotto.cards.registry import find_card
from lagotto.cards.schema import PromptTemplate
from lagotto.core.errors import CheckpointError, ModelNotFoundError, UnsupportedModelError
from support.checkpoints import BERT, DenseLayer, change_json, write_embedder, write_json, write_plain, write_reranker

POOLINGS = ["cls", "mean", "max", "mean_sqrt_len", "last_token"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_embedder(tmp_path / "model", BERT)


def modules(folder: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((folder / "modules.json").read_text())
    return found


# Layouts.


def test_a_plain_transformers_folder_is_silent_about_pooling(tmp_path: Path) -> None:
    facts = read_folder(write_plain(tmp_path / "model", BERT))
    assert (facts.pooling, facts.normalize, facts.dense, facts.prompts) == (None, None, (), {})
    assert not facts.reranker
    assert facts.transformer == tmp_path / "model"


def test_a_sentence_transformers_folder_says_all(folder: Path) -> None:
    facts = read_folder(folder)
    assert (facts.pooling, facts.normalize, facts.dense, facts.max_length) == ("cls", True, (), 64)


def test_a_cross_encoder_is_known_by_its_architecture(tmp_path: Path) -> None:
    assert read_folder(write_reranker(tmp_path / "model")).reranker


@pytest.mark.parametrize("pooling", POOLINGS)
def test_poolings_by_switches(tmp_path: Path, pooling: str) -> None:
    assert read_folder(write_embedder(tmp_path / "model", BERT, pooling=pooling)).pooling == pooling


@pytest.mark.parametrize(
    ("name", "pooling"), [("cls", "cls"), ("mean", "mean"), ("max", "max"), ("lasttoken", "last_token"),
                          ("mean_sqrt_len_tokens", "mean_sqrt_len")],
)  # fmt: skip
def test_poolings_by_name(folder: Path, name: str, pooling: str) -> None:
    write_json(folder / "1_Pooling/config.json", {"embedding_dimension": 32, "pooling_mode": name})
    assert read_folder(folder).pooling == pooling


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode_weightedmean_tokens": True},
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        {"pooling_mode_cls_token": False},
        {},
        {"pooling_mode": "weightedmean"},
        {"pooling_mode": "cls", "include_prompt": False},
    ],
)
def test_poolings_that_are_not_supported_are_refused(folder: Path, config: dict[str, Any]) -> None:
    write_json(folder / "1_Pooling/config.json", config)
    with pytest.raises(UnsupportedModelError, match=r"1_Pooling.config\.json"):
        read_folder(folder)


def test_without_a_normalize_module_vectors_stay_as_they_are(tmp_path: Path) -> None:
    assert read_folder(write_embedder(tmp_path / "model", BERT, normalize=False)).normalize is False


def test_a_transformer_in_a_sub_folder(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, transformer="0_Transformer", max_length=20)
    facts = read_folder(folder)
    assert facts.transformer == folder / "0_Transformer"
    assert facts.max_length == 20


def test_class_paths_of_newer_releases(folder: Path) -> None:
    rows = modules(folder)
    for row in rows:
        kind = row["type"].rpartition(".")[2]
        row["type"] = f"sentence_transformers.base.modules.{kind.lower()}.{kind}"
    write_json(folder / "modules.json", rows)
    assert read_folder(folder).pooling == "cls"


def test_dense_modules_in_order(tmp_path: Path) -> None:
    layers = [DenseLayer(16), DenseLayer(8, "torch.nn.modules.linear.Identity", bias=False)]
    folder = write_embedder(tmp_path / "model", BERT, dense=layers)
    assert read_folder(folder).dense == (
        DenseModule(folder / "2_Dense", 32, 16, bias=True, activation="tanh"),
        DenseModule(folder / "3_Dense", 16, 8, bias=False, activation="identity"),
    )


def test_a_dense_module_without_an_activation_has_tanh(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    change_json(folder / "2_Dense/config.json", activation_function=None)
    assert read_folder(folder).dense[0].activation == "tanh"


def test_an_unknown_activation_is_refused(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer(activation="torch.nn.SELU")])
    with pytest.raises(UnsupportedModelError, match=r"SELU.*gelu|SELU.*GELU"):
        read_folder(folder)


@pytest.mark.parametrize("changes", [{"in_features": None}, {"out_features": "many"}])
def test_a_dense_module_without_sizes_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    change_json(folder / "2_Dense/config.json", **changes)
    with pytest.raises(CheckpointError, match="in_features and out_features"):
        read_folder(folder)


@pytest.mark.parametrize("kind", ["WordEmbeddings", "LSTM", "LayerNorm", "Dropout", "CLIPModel"])
def test_other_modules_are_refused_by_name(folder: Path, kind: str) -> None:
    write_json(
        folder / "modules.json", [*modules(folder)[:2], {"path": "2_X", "type": f"sentence_transformers.{kind}"}]
    )
    with pytest.raises(UnsupportedModelError, match=rf"{kind}.*Pooling, SpladePooling, Dense and Normalize"):
        read_folder(folder)


def test_a_module_behind_normalize_is_refused(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    transformer, pooling, dense, normalize = modules(folder)
    write_json(folder / "modules.json", [transformer, pooling, normalize, dense])
    with pytest.raises(UnsupportedModelError, match="Dense module after Normalize"):
        read_folder(folder)


def test_a_dense_module_before_pooling_is_refused(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    transformer, pooling, dense, normalize = modules(folder)
    write_json(folder / "modules.json", [transformer, dense, pooling, normalize])
    with pytest.raises(UnsupportedModelError, match="Dense"):
        read_folder(folder)


@pytest.mark.parametrize("path", ["../elsewhere", "/etc", "1_Pooling/../../elsewhere"])
def test_a_path_that_leaves_the_folder_is_refused(folder: Path, path: str) -> None:
    rows = modules(folder)
    rows[1]["path"] = path
    (folder.parent / "elsewhere").mkdir()
    write_json(folder.parent / "elsewhere/config.json", {"pooling_mode": "cls"})
    write_json(folder / "modules.json", rows)
    with pytest.raises(CheckpointError, match="leaves the folder"):
        read_folder(folder)


def test_a_link_to_a_file_is_followed(folder: Path) -> None:
    # Hugging Face's cache is made of links to files that lie elsewhere.
    for path in (folder / "config.json", folder / "1_Pooling/config.json"):
        path.rename(folder.parent / f"blob-{path.parent.name}")
        path.symlink_to(folder.parent / f"blob-{path.parent.name}")
    assert read_folder(folder).pooling == "cls"


# Lengths, prompts, lowercase.


@pytest.mark.parametrize(
    ("sentence", "tokenizer", "expected"),
    [(20, 40, 20), (40, 20, 20), (None, 40, 40), (20, None, 20), (None, None, None), (20, 10**30, 20),
     (None, 10**30, None), (20, 1.0e30, 20)],
)  # fmt: skip
def test_the_smallest_stated_length_counts(
    folder: Path, sentence: int | None, tokenizer: float | None, expected: int | None
) -> None:
    change_json(folder / "sentence_bert_config.json", max_seq_length=sentence)
    change_json(folder / "tokenizer_config.json", model_max_length=tokenizer)
    assert read_folder(folder).max_length == expected


def test_prompts_and_the_default_one(tmp_path: Path) -> None:
    prompts = {"query": "search: ", "document": "text: "}
    facts = read_folder(write_embedder(tmp_path / "model", BERT, prompts=prompts, default_prompt="query"))
    assert facts.prompts == prompts
    assert facts.default_prompt == "query"


def test_lowercase_is_read(folder: Path) -> None:
    assert not read_folder(folder).lowercase
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    assert read_folder(folder).lowercase


# Damage.


def test_a_folder_without_a_config(folder: Path) -> None:
    (folder / "config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"config\.json is missing in"):
        read_folder(folder)


@pytest.mark.parametrize(
    "name", ["config.json", "modules.json", "1_Pooling/config.json", "config_sentence_transformers.json",
             "sentence_bert_config.json", "tokenizer_config.json"],
)  # fmt: skip
@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"5", b'"text"'])
def test_a_damaged_file_is_named(folder: Path, name: str, content: bytes) -> None:
    (folder / name).write_bytes(content)
    with pytest.raises(CheckpointError, match=name.rpartition("/")[2].replace(".", r"\.")):
        read_folder(folder)


def test_a_missing_pooling_config_is_named(folder: Path) -> None:
    (folder / "1_Pooling/config.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"config\.json is missing in .*1_Pooling"):
        read_folder(folder)


def test_modules_must_be_a_list_of_objects(folder: Path) -> None:
    write_json(folder / "modules.json", ["Transformer"])
    with pytest.raises(CheckpointError, match="expected a list of objects"):
        read_folder(folder)


def test_read_json_gives_objects(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"ä": 1})
    assert read_json(tmp_path / "a.json") == {"ä": 1}


# From facts to a card.


def test_a_folder_without_pooling_is_refused_with_two_ways_out(tmp_path: Path) -> None:
    facts = read_folder(write_plain(tmp_path / "model", BERT))
    with pytest.raises(CheckpointError, match=r"how to pool.*pooling='cls'.*card="):
        card_from_folder("model", facts, None, None)


def test_the_callers_pooling_stands_above_the_folders(folder: Path) -> None:
    assert card_from_folder("model", read_folder(folder), None, "mean").pooling == "mean"


def test_a_listed_row_fills_in_what_a_plain_folder_does_not_say(tmp_path: Path) -> None:
    facts, row = read_folder(write_plain(tmp_path / "model", BERT)), find_card("intfloat/e5-small-v2")
    card = card_from_folder("model", facts, row, None)
    assert (card.name, card.pooling, card.normalize, card.dimension) == ("model", "mean", True, 32)
    assert card.query.render("dog") == "query: dog"
    assert card.document.render("dog") == "passage: dog"


def test_a_folders_own_prompts_stand_above_the_rows(tmp_path: Path) -> None:
    prompts = {"query": "search: ", "passage": "text: ", "topic": "about: "}
    facts = read_folder(write_embedder(tmp_path / "model", BERT, prompts=prompts))
    card = card_from_folder("model", facts, find_card("intfloat/e5-small-v2"), None)
    assert (card.query, card.document) == (PromptTemplate("search: "), PromptTemplate("text: "))
    assert card.prompts["topic"] == "about: "


def test_empty_prompts_do_not_overrule_a_row(tmp_path: Path) -> None:
    facts = read_folder(write_embedder(tmp_path / "model", BERT, prompts={"query": "", "document": ""}))
    assert card_from_folder("model", facts, find_card("intfloat/e5-small-v2"), None).query.instruction == "query: "


def test_a_row_of_another_architecture_is_refused(folder: Path) -> None:
    with pytest.raises(CheckpointError, match=r"'bert'.*'xlm-roberta'.*not that model"):
        card_from_folder("model", read_folder(folder), find_card("BAAI/bge-m3"), None)


def test_the_dimension_is_that_of_the_last_dense_layer(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer(16), DenseLayer(8)])
    assert card_from_folder("model", read_folder(folder), None, None).dimension == 8
