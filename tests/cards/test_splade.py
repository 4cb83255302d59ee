"""What SPLADE folders say, and how a bare masked-language-model is told to be one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lagotto import Embedder
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.folder import read_folder
from lagotto.cards.schema import Pooling
from lagotto.cards.sources import Source
from lagotto.core.errors import CheckpointError, InvalidInputError, LagottoError, UnsupportedModelError
from support.checkpoints import change_json, write_plain
from support.token_models import write_masked_lm, write_module_list, write_splade


def opened(folder: Path, pooling: Pooling | None = None) -> Checkpoint:
    return open_checkpoint(Source(str(folder), folder, row=None), "embed", pooling=pooling)


def test_a_sparse_encoders_folder(tmp_path: Path) -> None:
    card = opened(write_splade(tmp_path / "m")).card
    assert (card.heads, card.pooling, card.normalize, card.dimension) == (("sparse",), "splade_max", False, None)
    assert card.options == {}
    folder = write_splade(
        tmp_path / "n", settings={"max_active_dims": 7}, pooling_strategy="sum", activation_function="log1p_relu"
    )
    card = opened(folder).card
    assert (card.pooling, card.options) == ("splade_sum", {"activation": "log1p_relu", "max_active_dims": 7})
    assert opened(folder, "splade_max").card.pooling == "splade_max"


def test_a_bare_masked_language_model_must_be_told_what_it_is(tmp_path: Path) -> None:
    folder = write_masked_lm(tmp_path / "m")
    with pytest.raises(CheckpointError, match=r"does not say how to pool.*'splade_max'.*'splade_sum'"):
        opened(folder)
    assert opened(folder, "splade_max").card.heads == ("sparse",)
    assert opened(folder, "cls").card.heads == ("dense",)
    with pytest.raises(CheckpointError) as error:
        opened(write_plain(tmp_path / "n"))
    assert "splade" not in str(error.value)


def test_the_fingerprint_covers_the_pooling(tmp_path: Path) -> None:
    folders = [
        write_splade(tmp_path / "a"),
        write_splade(tmp_path / "b", pooling_strategy="sum"),
        write_splade(tmp_path / "c", activation_function="log1p_relu"),
        write_splade(tmp_path / "d", settings={"max_active_dims": 7}),
    ]
    assert len({opened(folder).fingerprint("f32", tmp_path / "cache") for folder in folders}) == 4


def test_a_dense_pooling_of_a_splade_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"is a SPLADE model.*leave out pooling='mean'"):
        opened(write_splade(tmp_path / "m"), "mean")


@pytest.mark.parametrize(
    ("file", "changes", "error", "says"),
    [
        ("1_SpladePooling/config.json", {"pooling_strategy": "mean"}, UnsupportedModelError, "'mean'"),
        ("1_SpladePooling/config.json", {"activation_function": "gelu"}, UnsupportedModelError, "'gelu'"),
        ("config_sentence_transformers.json", {"max_active_dims": 0}, CheckpointError, "max_active_dims is 0"),
    ],
)
def test_what_is_not_known_is_refused(
    tmp_path: Path, file: str, changes: dict[str, Any], error: type[LagottoError], says: str
) -> None:
    folder = write_splade(tmp_path / "m")
    change_json(folder / file, **changes)
    with pytest.raises(error, match=says):
        opened(folder)


def test_nothing_may_follow(tmp_path: Path) -> None:
    folder = write_splade(tmp_path / "m")
    write_module_list(folder, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling"), ("2_N", "Normalize")])
    with pytest.raises(UnsupportedModelError, match="a Normalize module after SpladePooling"):
        read_folder(folder)


def test_a_splade_model_of_another_shape_is_refused(tmp_path: Path) -> None:
    folder = write_splade(tmp_path / "m")
    change_json(folder / "config.json", model_type="distilbert")
    with pytest.raises(UnsupportedModelError, match="SPLADE and ColBERT models are run on the CPU"):
        Embedder(folder)
