"""Folders the torch engine refuses, because something would be random or would not be what it says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import CheckpointError, MissingDependencyError, UnsafeWeightsError, UnsupportedModelError
from support.checkpoints import (
    BERT,
    XLMR,
    DenseLayer,
    change_json,
    classifier_tensors,
    encoder_tensors,
    some_texts,
    write_embedder,
    write_reranker,
    write_weights,
)

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TEXTS = some_texts(9)
QUERY = "encoder.layer.1.attention.self.query.weight"


def vectors(folder: Path) -> np.ndarray:
    with Embedder(folder, engine="torch", device="cpu", precision="f32", threads=1) as model:
        return model.encode(TEXTS).dense


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_embedder(tmp_path / "model", BERT)


def test_a_missing_weight_is_named(folder: Path) -> None:
    write_weights(folder, {name: tensor for name, tensor in encoder_tensors(BERT).items() if name != QUERY})
    with pytest.raises(CheckpointError, match=rf"'{QUERY}' is missing from the weights"):
        vectors(folder)


def test_of_many_missing_weights_some_are_named(folder: Path) -> None:
    write_weights(folder, {name: t for name, t in encoder_tensors(BERT).items() if "layer.1" not in name})
    with pytest.raises(CheckpointError, match=r"encoder\.layer\.1\.attention.* and 11 more are missing"):
        vectors(folder)


def test_a_wrong_shape_is_named_with_the_right_one(folder: Path) -> None:
    write_weights(folder, encoder_tensors(BERT) | {QUERY: np.zeros((32, 16), np.float32)})
    with pytest.raises(CheckpointError, match=rf"{QUERY}' has shape \(32, 16\), config.json asks for \(32, 32\)"):
        vectors(folder)


def test_an_embedder_needs_no_pooler(folder: Path) -> None:
    expected = vectors(folder)
    write_weights(folder, {n: t for n, t in encoder_tensors(BERT).items() if not n.startswith("pooler")})
    np.testing.assert_array_equal(vectors(folder), expected)


@pytest.mark.parametrize(
    ("shape", "named"),
    [(BERT, "classifier.weight"), (BERT, "bert.pooler.dense.bias"), (XLMR, "classifier.dense.weight")],
)
def test_a_reranker_without_its_head_is_refused(tmp_path: Path, shape: object, named: str) -> None:
    folder = write_reranker(tmp_path / "model", shape)  # type: ignore[arg-type]
    write_weights(folder, {n: t for n, t in classifier_tensors(shape).items() if n != named})  # type: ignore[arg-type]
    with pytest.raises(CheckpointError, match=f"'{named}' is missing"):
        Reranker(folder, engine="torch", device="cpu")


def test_dense_modules_are_applied_and_checked(tmp_path: Path) -> None:
    layers = [DenseLayer(20), DenseLayer(12, "torch.nn.modules.linear.Identity", bias=False, seed=8)]
    folder = write_embedder(tmp_path / "model", BERT, pooling="mean", dense=layers)
    with Embedder(folder, precision="f32", threads=1) as model:
        expected = model.encode(TEXTS).dense
    found = vectors(folder)
    assert found.shape == (9, 12)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    change_json(folder / "3_Dense/config.json", in_features=64)
    with pytest.raises(CheckpointError, match=r"linear\.weight' has shape \(12, 20\)"):
        vectors(folder)
    write_weights(folder / "2_Dense", {"other": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"linear\.weight' \(20, 32\) is missing"):
        vectors(folder)


def test_a_pickle_file_is_read_and_a_dangerous_one_is_not(folder: Path) -> None:
    expected = vectors(folder)
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(tensor) for name, tensor in encoder_tensors(BERT).items()}
    torch.save(state, folder / "pytorch_model.bin")
    np.testing.assert_array_equal(vectors(folder), expected)
    torch.save({**state, "x": Path("/")}, folder / "pytorch_model.bin")
    with pytest.raises(UnsafeWeightsError):
        vectors(folder)


def test_an_adapter_beside_the_weights_is_refused(folder: Path) -> None:
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"adapter_config\.json.*open it with adapter="):
        vectors(folder)


def test_an_architecture_the_installed_transformers_lacks(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import AutoConfig

    def unknown(*_: object, **__: object) -> None:
        raise ValueError("The checkpoint has model type `bert`\nbut ...")

    monkeypatch.setattr(AutoConfig, "from_pretrained", unknown)
    with pytest.raises(UnsupportedModelError, match=r"can't build the architecture 'bert'.*a newer transformers may"):
        vectors(folder)


def test_transformers_says_nothing_while_loading(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    vectors(folder)
    assert capfd.readouterr() == ("", "")
    from transformers.utils import logging

    assert logging.is_progress_bar_enabled()


@pytest.mark.parametrize("missing", ["torch", "transformers"])
def test_without_the_extra_the_error_names_it(
    folder: Path, missing: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("lagotto.models.loading.find_spec", lambda name: None if name == missing else name)
    for options in ({"engine": "torch"}, {"device": "cuda"}):
        with pytest.raises(MissingDependencyError, match=rf'needs {missing}: pip install "lagotto\[torch\]"'):
            Embedder(folder, **options)  # type: ignore[arg-type]
    Embedder(folder, threads=1).close()
    change_json(folder / "config.json", model_type="roberta", pad_token_id=1)
    with pytest.raises(MissingDependencyError, match="lagotto"):
        Embedder(folder)


def test_an_empty_text_without_special_tokens_gets_a_vector(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, pooling="last_token")
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"post_processor": None}))
    with Embedder(folder, engine="torch", device="cpu", precision="f32", threads=1) as model:
        found = model.encode(["", "dog", ""])
        assert found.tokens.tolist() == [0, 1, 0]
        assert np.isfinite(found.dense).all()
        np.testing.assert_allclose(found.dense[0], found.dense[2], atol=1e-6)
        np.testing.assert_allclose(model.encode("").dense[0], found.dense[0], atol=1e-6)
