"""Vectors and scores are those of transformers, over shapes, architectures and ways to store weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from support.checkpoints import BERT, XLMR, DenseLayer, Shape, some_texts, write_embedder, write_plain, write_reranker

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

if TYPE_CHECKING:
    from support.reference import Reference

pytestmark = pytest.mark.filterwarnings("ignore")
VECTORS = 2e-5
LOGITS = 1e-4
COSINE_BF16 = 0.9995
SHAPES = {
    "bert of one layer": Shape(hidden=24, layers=1, heads=3, inner=50, positions=40, activation="relu", seed=11),
    "bert of four layers": Shape(hidden=64, layers=4, heads=8, inner=96, positions=128, types=1, seed=12),
    "bert of odd width": Shape(hidden=35, layers=2, heads=5, inner=71, positions=51, activation="gelu_new", seed=13),
    "bert of one head": Shape(hidden=16, layers=3, heads=1, inner=16, positions=99, epsilon=1e-5, seed=14),
    "xlm-r of three layers": replace(XLMR, hidden=48, layers=3, heads=4, inner=100, positions=130, seed=15),
    "xlm-r of one layer": replace(XLMR, hidden=20, layers=1, heads=2, inner=33, positions=37, activation="relu"),
    "xlm-r of two types": replace(XLMR, hidden=32, layers=2, heads=2, types=2, seed=16),
}
TEXTS = ["", "dog", "the giant panda is a bear", *some_texts(45, seed=5, longest=60), "熊猫是动物", "word " * 700]


@pytest.fixture(params=list(SHAPES))
def shape(request: pytest.FixtureRequest) -> Shape:
    return SHAPES[request.param]


def reference(folder: Path, shape: Shape, **options: object) -> Reference:
    from support.reference import open_reference

    return open_reference(folder, shape.tokens, **options)  # type: ignore[arg-type]


def vectors(folder: Path, texts: list[str], **options: object) -> np.ndarray:
    with Embedder(folder, precision="f32", threads=2, **options) as model:  # type: ignore[arg-type]
        return model.encode(texts).dense


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert float(np.abs(found - expected).max()) < tolerance


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_vectors(tmp_path: Path, shape: Shape, pooling: str) -> None:
    folder = write_embedder(tmp_path / "model", shape, pooling=pooling)
    close(vectors(folder, TEXTS), reference(folder, shape).embed(TEXTS, pooling), VECTORS)


def test_logits(tmp_path: Path, shape: Shape) -> None:
    folder = write_reranker(tmp_path / "model", shape)
    pairs = list(zip(some_texts(30, seed=1, longest=9), some_texts(30, seed=2), strict=True))
    pairs += [("", ""), ("dog", ""), ("", "dog"), ("dog", "word " * 300)]
    with Reranker(folder, precision="f32", threads=2) as model:
        found = model.score(pairs, max_windows=1).scores
    close(found, reference(folder, shape, classifier=True).score(pairs), LOGITS)


@pytest.mark.parametrize("pooling", ["cls", "mean", "max", "mean_sqrt_len", "last_token"])
@pytest.mark.parametrize("base", [BERT, XLMR], ids=["bert", "xlm-roberta"])
def test_poolings_without_normalising(tmp_path: Path, base: Shape, pooling: str) -> None:
    folder = write_embedder(tmp_path / "model", base, pooling=pooling, normalize=False)
    expected = reference(folder, base).embed(TEXTS, pooling, normalize=False)
    close(vectors(folder, TEXTS), expected, VECTORS * float(np.abs(expected).max()))


def test_dense_modules(tmp_path: Path) -> None:
    layers = [DenseLayer(20), DenseLayer(12, "torch.nn.modules.linear.Identity", bias=False, seed=8)]
    folder = write_embedder(tmp_path / "model", BERT, pooling="mean", dense=layers)
    dense = [folder / "2_Dense", folder / "3_Dense"]
    close(vectors(folder, TEXTS), reference(folder, BERT).embed(TEXTS, "mean", dense=dense), VECTORS)


# Ways to store weights, as transformers and torch write them.


def shard_safetensors(model: torch.nn.Module, folder: Path) -> None:
    model.save_pretrained(folder, max_shard_size="20KB")
    assert len(list(folder.glob("model-*.safetensors"))) > 2


def one_safetensors(model: torch.nn.Module, folder: Path) -> None:
    model.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()


def one_pickle(model: torch.nn.Module, folder: Path) -> None:
    torch.save(model.state_dict(), folder / "pytorch_model.bin")


def old_pickle(model: torch.nn.Module, folder: Path) -> None:
    torch.save(model.state_dict(), folder / "pytorch_model.bin", _use_new_zipfile_serialization=False)


def half_pickle(model: torch.nn.Module, folder: Path) -> None:
    torch.save({name: tensor.half() for name, tensor in model.state_dict().items()}, folder / "pytorch_model.bin")


def shard_pickles(model: torch.nn.Module, folder: Path) -> None:
    import json

    state = model.state_dict()
    places = {name: f"pytorch_model-0000{1 + number % 3}-of-00003.bin" for number, name in enumerate(state)}
    for file in set(places.values()):
        torch.save({name: tensor for name, tensor in state.items() if places[name] == file}, folder / file)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


Save = Callable[["torch.nn.Module", Path], None]
STORES = [shard_safetensors, one_safetensors, one_pickle, old_pickle, half_pickle, shard_pickles]


@pytest.mark.parametrize("save", STORES)
@pytest.mark.parametrize("base", [BERT, XLMR], ids=["bert", "xlm-roberta"])
def test_stored_encoders(tmp_path: Path, base: Shape, save: Save) -> None:
    folder = write_plain(tmp_path / "model", base)
    exact = reference(folder, base)
    if save is half_pickle:
        exact.model.half().float()
    (folder / "model.safetensors").unlink()
    save(exact.model, folder)
    close(vectors(folder, TEXTS, pooling="mean"), exact.embed(TEXTS, "mean"), VECTORS)


@pytest.mark.parametrize("save", STORES)
@pytest.mark.parametrize("base", [BERT, XLMR], ids=["bert", "xlm-roberta"])
def test_stored_rerankers(tmp_path: Path, base: Shape, save: Save) -> None:
    folder = write_reranker(tmp_path / "model", base)
    exact = reference(folder, base, classifier=True)
    if save is half_pickle:
        exact.model.half().float()
    (folder / "model.safetensors").unlink()
    save(exact.model, folder)
    pairs = list(zip(some_texts(12, seed=3, longest=9), some_texts(12, seed=4, longest=20), strict=True))
    with Reranker(folder, precision="f32", threads=1) as model:
        close(model.score(pairs).scores, exact.score(pairs), LOGITS)


def test_the_encoder_of_a_model_with_a_head_for_pretraining(tmp_path: Path) -> None:
    from transformers import AutoModelForMaskedLM

    folder = write_plain(tmp_path / "model", BERT)
    exact = reference(folder, BERT)
    whole = AutoModelForMaskedLM.from_pretrained(folder)
    shutil.copy(folder / "tokenizer.json", tmp_path / "tokenizer.json")
    whole.save_pretrained(folder)
    assert "BertForMaskedLM" in (folder / "config.json").read_text()
    close(vectors(folder, TEXTS, pooling="cls"), exact.embed(TEXTS, "cls"), VECTORS)


# Texts that are out of the ordinary.


def test_special_tokens_that_are_spelled_out(tmp_path: Path) -> None:
    texts = ["<pad>", "the <pad> dog <pad><pad>", "<pad> " * 5, "</s> <mask> dog <s>", "[PAD] [SEP]", "the dog"]
    for base in (BERT, XLMR):
        for pooling in ("cls", "mean", "last_token"):
            folder = write_embedder(tmp_path / f"{base.architecture}-{pooling}", base, pooling=pooling)
            close(vectors(folder, texts), reference(folder, base).embed(texts, pooling), VECTORS)


@pytest.mark.parametrize("base", [BERT, XLMR], ids=["bert", "xlm-roberta"])
def test_texts_of_512_tokens(tmp_path: Path, base: Shape) -> None:
    long = replace(base, positions=base.positions + 512 - base.tokens, layers=1)
    assert long.tokens == 512
    folder = write_embedder(tmp_path / "model", long, pooling="mean")
    texts = ["the dog " * number for number in (254, 255, 256, 400)]
    with Embedder(folder, precision="f32", threads=2) as model:
        found = model.encode(texts)
    assert found.tokens.tolist() == [510, 512, 512, 512]
    close(found.dense, reference(folder, long).embed(texts, "mean"), VECTORS)


@pytest.mark.parametrize("base", [BERT, XLMR], ids=["bert", "xlm-roberta"])
def test_left_truncation(tmp_path: Path, base: Shape) -> None:
    folder = write_embedder(tmp_path / "model", base)
    expected = reference(folder, base, side="left").embed(TEXTS, "cls")
    close(vectors(folder, TEXTS, truncation="left"), expected, VECTORS)


@pytest.mark.parametrize("name", ["bert of four layers", "xlm-r of three layers"])
def test_bf16_keeps_the_direction(tmp_path: Path, name: str) -> None:
    shape = SHAPES[name]
    folder = write_embedder(tmp_path / "model", shape, pooling="mean")
    expected = reference(folder, shape).embed(TEXTS, "mean")
    with Embedder(folder, precision="bf16", threads=2) as model:
        cosines = (model.encode(TEXTS).dense * expected).sum(axis=1)
    assert float(cosines.min()) >= COSINE_BF16
