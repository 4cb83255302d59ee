"""``quantization.json``: what it must say, and that it goes with the weights beside it."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.quantized import FORMAT, QUANTIZATION_FILE, UNMEASURED, QuantizedFacts, read_quantized
from lagotto.cards.sources import Source
from lagotto.cards.weights import INT8_WEIGHTS
from lagotto.core.errors import CheckpointError
from support.checkpoints import BERT, change_json, write_embedder, write_json, write_plain

SAID = {"format": FORMAT, "precision": "int8", "accepted": True, "forced": False, "verdict": "mean cosine 0.999"}
FORCED = {"accepted": False, "forced": True}


def disguise(folder: Path, **changes: Any) -> Path:
    """A folder whose files say that it holds int8 weights; nothing here computes with them."""
    (folder / "model.safetensors").rename(folder / INT8_WEIGHTS)
    write_json(folder / QUANTIZATION_FILE, SAID | changes)
    return folder


def understand(folder: Path) -> Checkpoint:
    return open_checkpoint(Source("model", folder, row=None), "embed")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_embedder(tmp_path / "model", BERT)


def test_ordinary_folders_say_nothing(folder: Path) -> None:
    assert read_quantized(folder) is None
    assert understand(folder).quantized is None


def test_an_ordinary_folder_with_a_stray_int8_file_is_ordinary(folder: Path) -> None:
    (folder / INT8_WEIGHTS).write_bytes(b"")
    assert read_quantized(folder) is None


def test_the_facts(folder: Path) -> None:
    disguise(folder, card="BAAI/bge-small-en-v1.5", pooling="cls")
    expected = QuantizedFacts(True, False, "mean cosine 0.999", "BAAI/bge-small-en-v1.5", "cls")
    assert read_quantized(folder) == expected
    assert understand(folder).quantized == expected


def test_card_and_pooling_fill_in_what_the_folder_does_not_say(tmp_path: Path) -> None:
    folder = disguise(write_plain(tmp_path / "model", BERT), card="BAAI/bge-small-en-v1.5", pooling="mean")
    card = understand(folder).card
    assert card.query.instruction.startswith("Represent this sentence")
    assert card.pooling == "mean"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"format": 2}, "format 2 of 'int8' weights is not read by this version .*lagotto quantize"),
        ({"precision": "int4"}, "format 1 of 'int4'"),
        ({"format": None}, "format None"),
        ({"accepted": None}, "accepted is None, expected a bool"),
        ({"accepted": "yes"}, "accepted is 'yes', expected a bool"),
        ({"forced": 1}, "forced is 1, expected a bool"),
        ({"verdict": None}, "verdict is None, expected a str"),
        ({"card": "BAAI/unheard-of"}, "card 'BAAI/unheard-of' is not listed"),
        ({"card": 3}, "card 3 is not listed"),
        ({"pooling": "median"}, "pooling 'median' is none of cls, mean"),
    ],
)
def test_a_file_that_is_damaged_is_refused(folder: Path, changes: dict[str, Any], message: str) -> None:
    disguise(folder)
    change_json(folder / QUANTIZATION_FILE, **changes)
    with pytest.raises(CheckpointError, match=rf"quantization\.json: {message}"):
        understand(folder)


@pytest.mark.parametrize("content", ["", "{", "[]", "\x00"])
def test_a_file_that_is_no_json_is_refused(folder: Path, content: str) -> None:
    disguise(folder)
    (folder / QUANTIZATION_FILE).write_text(content)
    with pytest.raises(CheckpointError, match=QUANTIZATION_FILE):
        understand(folder)


def test_int8_weights_without_the_file_are_refused(folder: Path) -> None:
    disguise(folder)
    (folder / QUANTIZATION_FILE).unlink()
    with pytest.raises(CheckpointError, match=r"quantization\.json is missing beside model\.int8\.safetensors"):
        understand(folder)


def test_two_kinds_of_weights_in_one_folder_are_refused(folder: Path) -> None:
    write_json(folder / QUANTIZATION_FILE, SAID)
    with pytest.raises(CheckpointError, match=r"model\.safetensors lies beside quantization\.json; remove one"):
        understand(folder)


def test_a_folder_that_failed_is_refused_with_its_verdict(folder: Path) -> None:
    disguise(folder, accepted=False, verdict="mean cosine 0.9 is below 0.998")
    with pytest.raises(CheckpointError, match="failed their quality gate: mean cosine 0.9 is below 0.998.*--force"):
        understand(folder)


def test_a_folder_that_was_forced_is_warned_of(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    disguise(folder, **FORCED, verdict="mean cosine 0.9 is below 0.998")
    with caplog.at_level(logging.WARNING):
        assert understand(folder).quantized is not None
    assert "by force: mean cosine 0.9 is below 0.998" in caplog.text


def test_what_is_silent(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    disguise(folder)
    with caplog.at_level(logging.WARNING):
        understand(folder)
        write_json(folder / QUANTIZATION_FILE, SAID | FORCED | {"verdict": UNMEASURED})  # the gate is at work
        understand(folder)
    assert not caplog.records
