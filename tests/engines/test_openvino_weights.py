"""Weights that do not fit are refused by name; all usual ways to name and store them are read."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import CheckpointError, ModelNotFoundError
from support.checkpoints import (
    BERT,
    XLMR,
    DenseLayer,
    Tensors,
    change_json,
    classifier_tensors,
    encoder_tensors,
    some_texts,
    write_embedder,
    write_reranker,
    write_weights,
)

TEXTS = some_texts(12)
QUERY = "encoder.layer.1.attention.self.query.weight"


def vectors(folder: Path) -> np.ndarray:
    with Embedder(folder, precision="f32", threads=1) as model:
        return model.encode(TEXTS).dense


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_embedder(tmp_path / "model", BERT)


def changed(change: Callable[[Tensors], None]) -> Tensors:
    tensors = encoder_tensors(BERT)
    change(tensors)
    return tensors


def test_a_missing_weight_is_named(folder: Path) -> None:
    write_weights(folder, changed(lambda tensors: tensors.__delitem__(QUERY)))
    with pytest.raises(CheckpointError, match=rf"{QUERY}' \(32, 32\) is missing"):
        Embedder(folder)


def test_a_wrong_shape_is_named_with_the_right_one(folder: Path) -> None:
    write_weights(folder, changed(lambda tensors: tensors.update({QUERY: np.zeros((32, 16), np.float32)})))
    with pytest.raises(CheckpointError, match=rf"{QUERY}' has shape \(32, 16\), config.json asks for \(32, 32\)"):
        Embedder(folder)


@pytest.mark.parametrize(
    ("key", "value", "named"),
    [
        ("num_hidden_layers", 3, "encoder.layer.2"),
        ("vocab_size", 500, "word_embeddings"),
        ("max_position_embeddings", 32, "position_embeddings"),
        ("type_vocab_size", 3, "token_type_embeddings"),
        ("intermediate_size", 65, "intermediate.dense"),
    ],
)
def test_sizes_that_contradict_the_weights_are_refused(folder: Path, key: str, value: int, named: str) -> None:
    change_json(folder / "config.json", **{key: value})
    with pytest.raises(CheckpointError, match=named):
        Embedder(folder)


@pytest.mark.parametrize("keep", [4, 100, 5000, -1])
def test_truncated_safetensors_are_named(folder: Path, keep: int) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match=r"model\.safetensors"):
        Embedder(folder)


def test_no_weights_at_all(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model.onnx")
    with pytest.raises(ModelNotFoundError, match=r"holds no weights.*model\.onnx"):
        Embedder(folder)


def test_weights_of_something_else_say_what_is_there(folder: Path) -> None:
    write_weights(folder, {"visual.patch": np.zeros(3, np.float32)})
    with pytest.raises(CheckpointError, match=r"word_embeddings.*visual\.patch"):
        Embedder(folder)


def test_a_reranker_without_its_head_is_refused(tmp_path: Path) -> None:
    for shape, named in ((BERT, "classifier.weight"), (XLMR, "classifier.dense.weight")):
        folder = write_reranker(tmp_path / shape.architecture, shape)
        write_weights(folder, {n: t for n, t in classifier_tensors(shape).items() if n != named})
        with pytest.raises(CheckpointError, match=named):
            Reranker(folder)


def test_a_dense_module_of_another_width_is_refused(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, dense=[DenseLayer()])
    change_json(folder / "2_Dense/config.json", in_features=64)
    with pytest.raises(CheckpointError, match=r"linear\.weight"):
        Embedder(folder)


@pytest.mark.parametrize("prefix", ["bert.", "roberta.", "model.", "0.auto_model."])
def test_prefixes_of_other_tools_are_read(folder: Path, prefix: str) -> None:
    expected = vectors(folder)
    write_weights(folder, {prefix + name: tensor for name, tensor in encoder_tensors(BERT).items()})
    np.testing.assert_array_equal(vectors(folder), expected)


def test_layer_norms_of_2018_are_read(folder: Path) -> None:
    def old(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    expected = vectors(folder)
    write_weights(folder, {old(name): tensor for name, tensor in encoder_tensors(BERT).items()})
    np.testing.assert_array_equal(vectors(folder), expected)


def test_an_embedder_needs_no_pooler(folder: Path) -> None:
    expected = vectors(folder)
    write_weights(folder, {n: t for n, t in encoder_tensors(BERT).items() if not n.startswith("pooler")})
    np.testing.assert_array_equal(vectors(folder), expected)


def test_half_precision_weights_are_computed_in_full(folder: Path) -> None:
    half = {name: tensor.astype(np.float16) for name, tensor in encoder_tensors(BERT).items()}
    write_weights(folder, {name: tensor.astype(np.float32) for name, tensor in half.items()})
    expected = vectors(folder)
    write_weights(folder, half)
    np.testing.assert_array_equal(vectors(folder), expected)


def test_shards_are_read_as_one(folder: Path) -> None:
    expected, tensors = vectors(folder), encoder_tensors(BERT)
    (folder / "model.safetensors").unlink()
    names = sorted(tensors)
    places = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"model-{number:05}-of-00002.safetensors"
        write_weights(folder, {name: tensors[name] for name in part})
        (folder / "model.safetensors").rename(folder / file)
        places |= dict.fromkeys(part, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    np.testing.assert_array_equal(vectors(folder), expected)


def test_one_missing_shard_is_named(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "model-00001-of-00002.safetensors")
    places = dict.fromkeys(encoder_tensors(BERT), "model-00001-of-00002.safetensors")
    places["pooler.dense.bias"] = "model-00002-of-00002.safetensors"
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    with pytest.raises(ModelNotFoundError, match="model-00002-of-00002"):
        Embedder(folder)
