"""What ColBERT folders say, in the three layouts there are, and what is refused."""

from __future__ import annotations

import string
from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.colbert import ColBert
from lagotto.cards.folder import read_folder
from lagotto.cards.sources import Source
from lagotto.core.errors import CheckpointError, InvalidInputError, LagottoError, UnsupportedModelError
from support.checkpoints import BERT, change_json, write_embedder
from support.token_models import Layout, write_colbert, write_module_list

PUNCTUATION = tuple(string.punctuation)


def described(folder: Path) -> ColBert:
    found = read_folder(folder).colbert
    assert found is not None
    return found


def opened(folder: Path, **options: Any) -> Checkpoint:
    return open_checkpoint(Source(str(folder), folder, row=None), "embed", **options)


def test_pylate(tmp_path: Path) -> None:
    folder = write_colbert(
        tmp_path / "m", attend=True, skiplist_words=["!"], prompts={"query": "[Q] find: ", "x": "[Q] "}
    )
    assert described(folder) == ColBert((folder / "1_Dense",), "[Q] ", "[D] ", 12, 24, 12, attend=True, skipped=("!",))
    assert read_folder(folder).prompts == {"query": "find: ", "x": "[Q] "}  # the marker is put in as a token


def test_pylate_without_expansion_and_with_what_it_leaves_out(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "m", do_query_expansion=False)
    assert described(folder).expanded_length is None
    gone = dict.fromkeys(("query_length", "document_length", "skiplist_words", "do_query_expansion", "document_prefix"))
    change_json(folder / "config_sentence_transformers.json", **gone)
    found = described(folder)
    assert (found.query_length, found.document_length, found.expanded_length) == (32, None, 32)
    assert (found.document_marker, found.skipped) == ("", PUNCTUATION)


def test_stanford(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "m", layout="stanford")
    assert described(folder) == ColBert((folder,), "[unused0]", "[unused1]", 12, 24, 12, skipped=PUNCTUATION)
    (folder / "artifact.metadata").unlink()
    assert described(folder) == ColBert((folder,), "[unused0]", "[unused1]", 32, None, 32, skipped=PUNCTUATION)
    folder = write_colbert(tmp_path / "n", layout="stanford", mask_punctuation=False, query_token_id="[MASK]")
    assert (described(folder).skipped, described(folder).query_marker) == ((), "[MASK]")


def test_sentence_transformers(tmp_path: Path) -> None:
    folder = write_colbert(tmp_path / "m", layout="sentence-transformers")
    assert described(folder) == ColBert((folder / "1_Dense",), "", "", 12, 24, 12, skipped=PUNCTUATION)
    least = {"strategy": "min", "attend": True, "length": 5, "token": "[UNK]"}
    folder = write_colbert(tmp_path / "n", layout="sentence-transformers", query_expansion=least, query_length=40)
    found = described(folder)
    assert (found.query_length, found.expanded_length, found.expansion_token, found.attend) == (40, 5, "[UNK]", True)
    folder = write_colbert(tmp_path / "o", layout="sentence-transformers", query_expansion=None)
    assert (described(folder).query_length, described(folder).expanded_length) == (None, None)


def test_other_folders_are_no_colbert(tmp_path: Path) -> None:
    assert read_folder(write_embedder(tmp_path / "m")).colbert is None


@pytest.mark.parametrize("layout", ["pylate", "stanford", "sentence-transformers"])
def test_the_card(tmp_path: Path, layout: Layout) -> None:
    checkpoint = opened(write_colbert(tmp_path / "m", layout=layout))
    card = checkpoint.card
    assert (card.heads, card.pooling, card.normalize, card.dimension) == (("multi_vector",), "none", True, None)
    assert (checkpoint.max_length, checkpoint.usual_length) == (BERT.tokens, 24)
    assert len(checkpoint.weight_folders) == (1 if layout == "stanford" else 2)


@pytest.mark.parametrize("layout", ["pylate", "stanford"])
def test_the_fingerprint_covers_settings_and_projection(tmp_path: Path, layout: Layout) -> None:
    def of(name: str, **settings: Any) -> str:
        return opened(write_colbert(tmp_path / name, layout=layout, **settings)).fingerprint("f32", tmp_path / "cache")

    prints = {of("a"), of("b", attend=True), of("c", width=9)}
    assert len(prints) == 3
    assert of("d") in prints


def test_pooling_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"is a ColBERT model.*leave out pooling='cls'"):
        opened(write_colbert(tmp_path / "m"), pooling="cls")


@pytest.mark.parametrize(
    ("file", "changes", "error", "says"),
    [
        ("1_Dense/config.json", {"activation_function": "torch.nn.Tanh"}, UnsupportedModelError, "'Tanh'"),
        ("1_Dense/config.json", {"use_residual": True}, UnsupportedModelError, "use_residual True"),
        (
            "1_Dense/config.json",
            {"module_input_name": "sentence_embedding"},
            UnsupportedModelError,
            "sentence_embedding",
        ),
        ("2_MultiVectorMask/config.json", {"keep_only_token_ids": [3]}, UnsupportedModelError, "keep_only_token_ids"),
        ("2_MultiVectorMask/config.json", {"skiplist_tasks": ["query"]}, UnsupportedModelError, "skiplist_tasks"),
        ("3_Normalize/config.json", {"module_input_name": None}, UnsupportedModelError, "not normalised"),
        (
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "x", "length": 3}},
            UnsupportedModelError,
            "known",
        ),
        ("sentence_bert_config.json", {"document_length": "long"}, CheckpointError, "document_length is 'long'"),
        (
            "sentence_bert_config.json",
            {"query_expansion": {"strategy": "fixed", "length": 65}},
            CheckpointError,
            "filled up to 65 tokens, the encoder has 64",
        ),
    ],
)
def test_what_is_computed_otherwise_is_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], error: type[LagottoError], says: str
) -> None:
    folder = write_colbert(tmp_path / "m", layout="sentence-transformers")
    change_json(folder / file, **changes)
    with pytest.raises(error, match=says):
        opened(folder)


@pytest.mark.parametrize(
    ("modules", "says"),
    [
        ([("", "Transformer")], "without a Dense projection"),
        (
            [("", "Transformer"), ("1_Dense", "Dense"), ("2_Pooling", "HierarchicalTokenPooling")],
            "HierarchicalTokenPooling",
        ),
    ],
)
def test_other_modules_are_refused(tmp_path: Path, modules: list[tuple[str, str]], says: str) -> None:
    folder = write_colbert(tmp_path / "m")
    write_module_list(folder, modules)
    with pytest.raises(UnsupportedModelError, match=says):
        read_folder(folder)
