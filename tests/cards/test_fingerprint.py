"""Fingerprints: equal for equal models wherever they lie, different for whatever changes an answer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from lagotto.cards import fingerprint as module
from lagotto.cards.checkpoint import open_checkpoint
from lagotto.cards.fingerprint import file_digest
from lagotto.cards.sources import Source
from support.checkpoints import (
    BERT,
    DenseLayer,
    change_json,
    encoder_tensors,
    write_embedder,
    write_json,
    write_plain,
    write_weights,
)
from support.engines import checkpoint_of


def make(folder: Path) -> Path:
    return write_embedder(folder, BERT, dense=[DenseLayer()], prompts={"query": "search: ", "topic": "on: "})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make(tmp_path / "model")


def fingerprint(folder: Path, cache: Path, precision: str = "f32") -> str:
    return checkpoint_of(folder).fingerprint(precision, cache)


def test_it_is_32_hex_digits_and_does_not_change_by_itself(folder: Path, tmp_path: Path) -> None:
    first = fingerprint(folder, tmp_path / "cache")
    assert len(first) == 32
    assert int(first, 16)
    assert fingerprint(folder, tmp_path / "cache") == first
    assert fingerprint(folder, tmp_path / "another") == first


def test_a_copy_elsewhere_under_another_name_is_the_same_model(folder: Path, tmp_path: Path) -> None:
    copy = make(tmp_path / "elsewhere/copy")
    os.utime(copy / "model.safetensors", (1, 1))
    assert fingerprint(copy, tmp_path / "cache") == fingerprint(folder, tmp_path / "cache")


def test_a_readme_changes_nothing(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder, tmp_path / "cache")
    (folder / "README.md").write_text("new")
    (folder / "model.onnx").write_bytes(b"new")
    assert fingerprint(folder, tmp_path / "cache") == before


def change_weights(folder: Path) -> None:
    tensors = encoder_tensors(BERT)
    tensors["pooler.dense.bias"][0] += 1
    write_weights(folder, tensors)


def change_dense_weights(folder: Path) -> None:
    path = folder / "2_Dense/model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def change_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace('"panda"', '"pandas"'))


CHANGES: list[Callable[[Path], None]] = [
    change_weights,
    change_dense_weights,
    change_tokenizer,
    lambda folder: write_json(folder / "1_Pooling/config.json", {"pooling_mode": "mean"}),
    lambda folder: change_json(folder / "2_Dense/config.json", activation_function="torch.nn.Identity"),
    lambda folder: change_json(folder / "2_Dense/config.json", bias=False),
    lambda folder: change_json(folder / "config_sentence_transformers.json", prompts={"query": "find: "}),
    lambda folder: change_json(folder / "config_sentence_transformers.json", default_prompt_name="topic"),
    lambda folder: change_json(folder / "sentence_bert_config.json", max_seq_length=20),
    lambda folder: change_json(folder / "sentence_bert_config.json", do_lower_case=True),
    lambda folder: change_json(folder / "config.json", layer_norm_eps=1e-6),
    lambda folder: change_json(folder / "config.json", num_attention_heads=4),
    lambda folder: change_json(folder / "config.json", hidden_act="relu"),
]
NAMES = ["weights", "dense weights", "tokenizer", "pooling", "activation", "bias", "prompt", "default prompt", "length",
         "lowercase", "epsilon", "heads", "act"]  # fmt: skip


@pytest.mark.parametrize("change", CHANGES, ids=NAMES)
def test_what_changes_an_answer_changes_it(folder: Path, tmp_path: Path, change: Callable[[Path], None]) -> None:
    before = fingerprint(folder, tmp_path / "cache")
    change(folder)
    assert fingerprint(folder, tmp_path / "cache") != before


def test_the_precision_changes_it(folder: Path, tmp_path: Path) -> None:
    assert fingerprint(folder, tmp_path, "f32") != fingerprint(folder, tmp_path, "bf16")


def test_the_callers_pooling_and_card_change_it(tmp_path: Path) -> None:
    source = Source("model", write_plain(tmp_path / "plain", BERT), row=None)
    found = {
        open_checkpoint(source, "embed", card=card, pooling=pooling).fingerprint("f32", tmp_path)
        for card, pooling in ((None, "cls"), (None, "mean"), ("BAAI/bge-small-en-v1.5", None))
    }
    assert len(found) == 3


def test_the_files_that_are_loaded_are_the_ones_that_count(folder: Path, tmp_path: Path) -> None:
    before = fingerprint(folder, tmp_path / "cache")
    (folder / "model.fp16.safetensors").write_bytes(b"a variant that is not loaded")
    (folder / "pytorch_model.bin").write_bytes(b"nor this")
    assert fingerprint(folder, tmp_path / "cache") == before


# The memory of digests.


def test_a_file_is_hashed_once(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, path = tmp_path / "cache", folder / "model.safetensors"
    first = file_digest(path, cache)

    def refuse(*_: object) -> None:
        pytest.fail("hashed again")

    with monkeypatch.context() as patch:
        patch.setattr(module.hashlib, "file_digest", refuse)
        assert file_digest(path, cache) == first
        assert file_digest(folder.parent / "model/../model/model.safetensors", cache) == first
    assert len(list((cache / "digests").iterdir())) == 1


def test_a_changed_file_is_hashed_again(folder: Path, tmp_path: Path) -> None:
    path = folder / "model.safetensors"
    first = file_digest(path, tmp_path / "cache")
    time = path.stat().st_mtime_ns
    change_weights(folder)
    os.utime(path, ns=(time + 1, time + 1))
    assert file_digest(path, tmp_path / "cache") != first


@pytest.mark.parametrize("content", [b"", b"short", b"\xff" * 64])
def test_a_damaged_memory_is_not_believed(folder: Path, tmp_path: Path, content: bytes) -> None:
    path, cache = folder / "model.safetensors", tmp_path / "cache"
    first = file_digest(path, cache)
    (memory,) = (cache / "digests").iterdir()
    memory.write_bytes(content)
    assert file_digest(path, cache) == first
    assert memory.read_text() == first


def test_a_cache_that_cannot_be_written_costs_a_warning(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, cache = folder / "model.safetensors", tmp_path / "cache"
    cache.write_text("a file where a folder should be")
    with caplog.at_level(logging.WARNING):
        found = file_digest(path, cache)
    assert "can't be remembered" in caplog.text
    assert found == file_digest(path, tmp_path / "another")
