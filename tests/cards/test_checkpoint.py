"""Folders understood for a task, and the ones that are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.checkpoint import Checkpoint, check_listed, check_pooling, open_checkpoint, runs
from lagotto.cards.registry import find_card, load_cards
from lagotto.cards.schema import Pooling, Task
from lagotto.cards.sources import Source
from lagotto.core.errors import (
    CheckpointError,
    InvalidInputError,
    LagottoError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from support.checkpoints import BERT, XLMR, Shape, change_json, write_embedder, write_plain, write_reranker


def understand(
    folder: Path, task: Task = "embed", *, card: str | None = None, pooling: Pooling | None = None
) -> Checkpoint:
    return open_checkpoint(Source("model", folder, row=None), task, card=card, pooling=pooling)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_embedder(tmp_path / "model", BERT)


def test_an_embedder(tiny_bert: Path) -> None:
    found = understand(tiny_bert)
    assert (found.name, found.card.task, found.card.pooling, found.card.dimension) == ("model", "embed", "cls", 32)
    assert (found.max_length, found.lowercase, found.default_prompt, found.dense) == (64, False, "", ())
    assert found.config.head_dim == 16


def test_a_reranker(tiny_reranker: Path, tiny_xlmr_reranker: Path) -> None:
    for folder in (tiny_reranker, tiny_xlmr_reranker):
        found = understand(folder, "rerank")
        assert (found.card.task, found.max_length, found.config.num_labels) == ("rerank", 64, 1)
        assert not found.card.normalize


# Pooling that the folder does not know.


def test_a_plain_folder_opens_with_pooling_or_a_card(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "model", BERT)
    with pytest.raises(CheckpointError, match="how to pool"):
        understand(folder)
    assert understand(folder, pooling="mean").card.pooling == "mean"
    found = understand(folder, card="BAAI/bge-small-en-v1.5")
    assert found.card.pooling == "cls"
    assert found.card.query.instruction.startswith("Represent this sentence")


def test_an_unlisted_card_is_refused_with_close_names(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="BAAI/bge-base-en-v1.5"):
        understand(folder, card="BAAI/bge-bose-en-v1.5")


@pytest.mark.parametrize("pooling", ["median", "none", "", "CLS"])
def test_an_unknown_pooling_is_refused_with_the_choices(folder: Path, pooling: Any) -> None:
    with pytest.raises(InvalidInputError, match="cls, mean, max, mean_sqrt_len, last_token"):
        understand(folder, pooling=pooling)
    with pytest.raises(InvalidInputError):
        check_pooling(pooling)


# Lengths.


@pytest.mark.parametrize(
    ("shape", "stated", "expected"),
    [(BERT, 64, 64), (BERT, 20, 20), (BERT, 512, 64), (XLMR, 66, 64), (XLMR, 64, 64), (XLMR, 20, 20)],
)
def test_positions_limit_the_stated_length(tmp_path: Path, shape: Shape, stated: int, expected: int) -> None:
    folder = write_embedder(tmp_path / "model", shape, max_length=stated)
    change_json(folder / "tokenizer_config.json", model_max_length=stated)
    assert understand(folder).max_length == expected


@pytest.mark.parametrize("shape", [BERT, XLMR])
def test_positions_alone_give_the_length(tmp_path: Path, shape: Shape) -> None:
    folder = write_plain(tmp_path / "model", shape)
    change_json(folder / "tokenizer_config.json", model_max_length=None)
    assert understand(folder, pooling="cls").max_length == 64


def test_a_cards_length_fills_in(tmp_path: Path) -> None:
    folder = write_plain(tmp_path / "model", Shape(positions=1000, hidden=8, layers=1))
    change_json(folder / "tokenizer_config.json", model_max_length=None)
    assert understand(folder, card="BAAI/bge-small-en-v1.5").max_length == 512


# Prompts.


def test_the_default_prompt(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, prompts={"query": "search: "}, default_prompt="query")
    assert understand(folder).default_prompt == "search: "


def test_a_default_prompt_that_is_not_there_is_refused(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, prompts={"query": "search: "}, default_prompt="quarry")
    with pytest.raises(CheckpointError, match="quarry"):
        understand(folder)


# The wrong task.


def test_an_embedder_is_no_reranker(tiny_bert: Path) -> None:
    with pytest.raises(LagottoError, match="use Embedder"):
        understand(tiny_bert, "rerank")


def test_a_reranker_is_no_embedder(tiny_reranker: Path) -> None:
    with pytest.raises(InvalidInputError, match="open it with Reranker"):
        understand(tiny_reranker)


@pytest.mark.parametrize("labels", [2, 3])
def test_a_classifier_of_several_labels_is_no_reranker(tmp_path: Path, labels: int) -> None:
    folder = write_reranker(tmp_path / "model", Shape(labels=labels))
    with pytest.raises(UnsupportedModelError, match=f"{labels} labels"):
        understand(folder, "rerank")


def test_labels_are_two_where_nothing_says_otherwise(tmp_path: Path) -> None:
    folder = write_reranker(tmp_path / "model")
    change_json(folder / "config.json", id2label=None, label2id=None)
    with pytest.raises(UnsupportedModelError, match="2 labels"):
        understand(folder, "rerank")


# Configs that cannot be run.


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"position_embedding_type": "relative_key"}, UnsupportedModelError, "relative_key"),
        ({"is_decoder": True}, UnsupportedModelError, "is_decoder"),
        ({"add_cross_attention": True}, UnsupportedModelError, "add_cross_attention"),
        ({"hidden_act": "silu"}, UnsupportedModelError, "silu"),
        ({"model_type": "clip"}, UnsupportedModelError, "'clip'.*bert and xlm-roberta.*with torch also.*modernbert"),
        ({"model_type": "roberta", "auto_map": {"AutoModel": "a.B"}}, UnsupportedModelError, "never executes"),
        ({"model_type": "roberta", "vocab_size": None}, CheckpointError, "vocab_size.*missing"),
        ({"model_type": "roberta", "max_position_embeddings": 1}, CheckpointError, "max_tokens is 0"),
        ({"model_type": None}, UnsupportedModelError, "None"),
        ({"hidden_size": None}, CheckpointError, "hidden_size.*missing"),
        ({"hidden_size": "wide"}, CheckpointError, "not a number"),
        ({"num_attention_heads": 5}, CheckpointError, "not a multiple"),
        ({"num_hidden_layers": 0}, CheckpointError, "num_hidden_layers is 0"),
        ({"max_position_embeddings": 0}, CheckpointError, "leaves no position"),
    ],
)
def test_a_config_that_cannot_be_run_is_refused(
    folder: Path, changes: dict[str, Any], error: type[LagottoError], match: str
) -> None:
    change_json(folder / "config.json", **changes)
    with pytest.raises(error, match=match):
        understand(folder)


def test_a_missing_tokenizer_is_refused_with_the_way_to_make_one(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()
    with pytest.raises(ModelNotFoundError, match=r"tokenizer\.json is missing.*AutoTokenizer"):
        understand(folder)


# What is known by name alone.


@pytest.mark.parametrize(
    "name", ["BAAI/BGE-VL-base", "baai/bge-vl-BASE", "BAAI/BGE-VL-base@main", "modelscope:BAAI/BGE-VL-base"]
)
def test_a_planned_model_is_refused_by_name(name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="BAAI/BGE-VL-base is listed but not run by this version"):
        check_listed(name, "embed")


@pytest.mark.parametrize(
    ("name", "task", "use"),
    [("BAAI/bge-reranker-v2-m3", "embed", "Reranker"), ("BAAI/bge-m3@main", "rerank", "Embedder")],
)
def test_the_wrong_task_is_refused_by_name(name: str, task: Task, use: str) -> None:
    with pytest.raises(InvalidInputError, match=f"open it with {use}"):
        check_listed(name, task)


def test_names_that_are_not_listed_pass() -> None:
    check_listed("org/unknown", "embed")
    check_listed("./some/folder", "rerank")


def test_the_encoders_of_the_family_run() -> None:
    running = {name for name, card in load_cards().items() if runs(card)}
    assert {"BAAI/bge-small-en-v1.5", "BAAI/bge-m3", "BAAI/bge-reranker-v2-m3", "BAAI/bge-large-zh"} <= running
    assert not {"BAAI/BGE-VL-base", "BAAI/bge-visualized", "jinaai/jina-reranker-v1-turbo-en"} & running


def test_a_row_of_the_other_task_is_refused(tiny_bert: Path) -> None:
    row = find_card("BAAI/bge-reranker-base")
    with pytest.raises(InvalidInputError, match="open it with Reranker"):
        open_checkpoint(Source("model", tiny_bert, row), "embed")
