"""A base with a LoRA adapter gives what the base with the sum written into its weights gives."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder
from lagotto.cards.adapter import read_adapter
from lagotto.core.errors import (
    CheckpointError,
    InvalidInputError,
    ModelNotFoundError,
    UnsupportedModelError,
)
from support.adapters import write_adapter, write_tensors
from support.architectures import torch
from support.checkpoints import change_json, write_embedder
from support.language_models import write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["the dog", "what is a panda", "a big city in france", ""]
SHAPES = {
    "layers.0.self_attn.q_proj": (32, 32),
    "layers.1.self_attn.v_proj": (16, 32),
    "layers.1.mlp.down_proj": (32, 48),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "base", "qwen2")


def vectors(model: Path, **options: Any) -> Any:
    with Embedder(model, pooling="last_token", precision="f32", threads=1, device="cpu", **options) as opened:
        return opened.encode(TEXTS).dense


def merged(base: Path, adapter: Path, folder: Path, scale: float, *, transposed: bool = False) -> Path:
    """The base with the sum in its file, whatever the names in the adapter begin with."""
    shutil.copytree(base, folder)
    tensors = safetensors.numpy.load_file(folder / "model.safetensors")
    parts = safetensors.numpy.load_file(adapter / "adapter_model.safetensors")
    for name in [name for name in parts if name.endswith("lora_A.weight")]:
        plain = name.removeprefix("base_model.model.").removeprefix("model.").removesuffix(".lora_A.weight")
        product = parts[name.replace("lora_A", "lora_B")] @ parts[name] * scale
        tensors[f"{plain}.weight"] = tensors[f"{plain}.weight"] + (product.T if transposed else product)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("prefix", ["", "model."])
@pytest.mark.parametrize(("config", "scale"), [({}, 2.0), ({"use_rslora": True}, 4 / 2**0.5), ({"lora_alpha": 1}, 0.5)])
def test_the_sum_is_what_it_says(tmp_path: Path, base: Path, prefix: str, config: Any, scale: float) -> None:
    shapes = {prefix + name: shape for name, shape in SHAPES.items()}
    adapter = write_adapter(tmp_path / "adapter", str(base), shapes, **config)
    expected = vectors(merged(base, adapter, tmp_path / "merged", scale))
    np.testing.assert_allclose(vectors(base, adapter=adapter), expected, atol=1e-5)
    np.testing.assert_allclose(vectors(adapter), expected, atol=1e-5)  # it brings its base
    assert np.abs(vectors(base) - expected).max() > 0.01


def test_ranks_and_alphas_of_their_own(tmp_path: Path, base: Path) -> None:
    adapter = write_adapter(
        tmp_path / "adapter", str(base), SHAPES, rank=3, alpha_pattern={"q_proj": 9, "1.mlp.down_proj": 30}
    )
    scales = {change.name: change.scale for change in read_adapter(adapter).changes()}
    assert scales == {
        "layers.0.self_attn.q_proj.weight": 3.0,
        "layers.1.self_attn.v_proj.weight": 4 / 3,
        "layers.1.mlp.down_proj.weight": 10.0,
    }


def test_matrices_that_the_base_keeps_the_other_way_round(tmp_path: Path, base: Path) -> None:
    square = {"layers.0.self_attn.q_proj": (32, 32)}
    adapter = write_adapter(tmp_path / "adapter", str(base), square, fan_in_fan_out=True)
    expected = vectors(merged(base, adapter, tmp_path / "merged", 2.0, transposed=True))
    np.testing.assert_allclose(vectors(base, adapter=adapter), expected, atol=1e-5)


def test_embeddings_and_whole_tensors(tmp_path: Path, base: Path) -> None:
    tensors = safetensors.numpy.load_file(base / "model.safetensors")
    random, words = np.random.default_rng(1), tensors["embed_tokens.weight"]
    down, up = (random.standard_normal(shape).astype(np.float32) for shape in ((2, len(words)), (32, 2)))
    norm = random.standard_normal(32).astype(np.float32)
    given = {
        "base_model.model.embed_tokens.lora_embedding_A": down,
        "base_model.model.embed_tokens.lora_embedding_B": up,
        "base_model.model.norm.weight": norm,
    }
    adapter = write_tensors(tmp_path / "adapter", str(base), given, r=2)
    folder = tmp_path / "merged"
    shutil.copytree(base, folder)
    changed = {**tensors, "embed_tokens.weight": words + (up @ down).T * 2, "norm.weight": norm}
    safetensors.numpy.save_file(changed, folder / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_allclose(vectors(base, adapter=adapter), vectors(folder), atol=1e-5)


def test_pickled_adapters_are_read_as_tensors(tmp_path: Path, base: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", str(base), SHAPES)
    expected = vectors(adapter)
    parts = safetensors.numpy.load_file(adapter / "adapter_model.safetensors")
    torch.save({name: torch.from_numpy(part) for name, part in parts.items()}, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    np.testing.assert_array_equal(vectors(adapter), expected)


def test_it_is_a_part_of_the_fingerprint(tmp_path: Path, base: Path) -> None:
    def print_of(model: Path, **options: Any) -> str:
        with Embedder(model, pooling="last_token", precision="f32", threads=1, **options) as opened:
            return opened.fingerprint

    one, other = (write_adapter(tmp_path / str(seed), str(base), SHAPES, seed=seed) for seed in (1, 2))
    prints = [print_of(base), print_of(base, adapter=one), print_of(base, adapter=other)]
    assert len(set(prints)) == 3
    assert print_of(one) == prints[1]
    change_json(other / "adapter_config.json", lora_alpha=8)
    assert print_of(other) != prints[2]


def test_encoders_take_adapters_on_the_torch_engine(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "bert")
    adapter = write_adapter(tmp_path / "adapter", str(folder), {"encoder.layer.0.attention.self.query": (32, 32)})
    with Embedder(folder, adapter=adapter, threads=1) as model:
        assert model.engine.name == "torch"
    with pytest.raises(UnsupportedModelError, match="engine 'openvino' takes no adapters"):
        Embedder(folder, adapter=adapter, engine="openvino")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"peft_type": "LOHA"}, "peft_type is 'LOHA'; LORA adapters are read"),
        ({"use_dora": True}, r"use_dora is True, which is more than plain LoRA .*merge_and_unload"),
        ({"bias": "all"}, "bias is 'all'"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"layer_replication": [[0, 1]]}, "layer_replication"),
    ],
)
def test_what_is_more_than_a_sum_is_refused(tmp_path: Path, base: Path, config: Any, message: str) -> None:
    adapter = write_adapter(tmp_path / "adapter", str(base), SHAPES, **config)
    with pytest.raises(UnsupportedModelError, match=message):
        vectors(base, adapter=adapter)


A, B = np.ones((2, 32), np.float32), np.ones((32, 2), np.float32)
Q, HEAD = "base_model.model.layers.0.self_attn.q_proj", "base_model.model.lm_head"


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({f"{Q}.lora_A.weight": A}, "has A, not A and B"),
        ({f"{Q}.lora_A.weight": A, f"{Q}.lora_B.weight": B[:, :1]}, "which have no product B A"),
        ({f"{Q}.lora_A.weight": A[:, :8], f"{Q}.lora_B.weight": B}, r"fits weights of shape \(32, 8\), the base has"),
        ({f"{Q}.lora_magnitude_vector": A}, "is no part of a plain LoRA adapter"),
        (
            {"base_model.model.lm_head.lora_A.weight": A, "base_model.model.lm_head.lora_B.weight": B},
            "the base has not",
        ),
        ({}, "has no tensors"),
    ],
)
def test_files_that_do_not_fit(tmp_path: Path, base: Path, tensors: Any, message: str) -> None:
    adapter = write_tensors(tmp_path / "adapter", str(base), tensors)
    with pytest.raises(CheckpointError, match=message):
        vectors(base, adapter=adapter)


def test_what_is_missing_is_named(tmp_path: Path, base: Path) -> None:
    adapter = write_adapter(tmp_path / "adapter", "/home/somebody/base", SHAPES)
    with pytest.raises(
        ModelNotFoundError, match=r"an adapter of '/home/somebody/base', which is not found .* adapter="
    ):
        vectors(adapter)
    assert vectors(base, adapter=adapter).shape == (4, 32)
    with pytest.raises(InvalidInputError, match="is an adapter itself"):
        vectors(adapter, adapter=adapter)
    change_json(adapter / "adapter_config.json", lora_alpha="much")
    with pytest.raises(CheckpointError, match="lora_alpha or alpha_pattern can't be read"):
        vectors(base, adapter=adapter)
    (adapter / "adapter_model.safetensors").unlink()
    with pytest.raises(ModelNotFoundError, match=r"no adapter_model\.safetensors or adapter_model\.bin"):
        vectors(base, adapter=adapter)
