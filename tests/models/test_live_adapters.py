"""Adapters beside one base, chosen by each call, give what each gives merged into a base of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder
from lagotto.batch.sequences import pad
from lagotto.cards.adapter import read_adapter
from lagotto.cards.architectures import TORCH_ARCHITECTURES
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.engines.base import Adapted
from lagotto.engines.torch.forward import Forward
from lagotto.engines.torch.packing import can_pack
from support.adapters import write_adapter, write_tensors
from support.architectures import reference_model, torch, write_architecture
from support.checkpoints import some_texts, write_m3
from support.engines import checkpoint_of, encode
from support.language_models import write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = 1e-5
TEXTS = ["the dog", "what is a panda", "a big city in france", ""]
SHAPES = {
    "model.layers.0.self_attn.q_proj": (32, 32),
    "model.layers.1.self_attn.v_proj": (16, 32),
    "model.layers.1.mlp.down_proj": (32, 48),
}
HOW: dict[str, Any] = {"pooling": "last_token", "precision": "f32", "threads": 1, "device": "cpu"}
NAMES = ("legal", "medical")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "base", "qwen2")


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, Path]:
    return {
        name: write_adapter(base.parent / name, str(base), SHAPES, seed=seed, rank=2 + seed)
        for seed, name in enumerate(NAMES)
    }


@pytest.fixture(scope="module")
def model(base: Path, adapters: dict[str, Path]) -> Iterator[Embedder]:
    with Embedder(base, adapters=adapters, **HOW) as opened:
        yield opened


def merged(base: Path, adapter: Path | None, **how: Any) -> Any:
    with Embedder(base, adapter=adapter, **HOW | how) as opened:
        return opened.encode(TEXTS).dense


def test_each_call_is_computed_with_its_adapter(model: Embedder, base: Path, adapters: dict[str, Path]) -> None:
    assert model.adapters == NAMES
    found = {name: model.encode(TEXTS, adapter=name).dense for name in (*NAMES, None)}
    for name, vectors in found.items():
        np.testing.assert_allclose(vectors, merged(base, adapters.get(name or "")), atol=CLOSE)
    assert np.abs(found["legal"] - found["medical"]).max() > 0.01
    assert np.abs(found["legal"] - found[None]).max() > 0.01


def test_the_base_alone_is_the_base_to_the_bit(model: Embedder, base: Path) -> None:
    with Embedder(base, engine="torch", **HOW) as plain:
        np.testing.assert_array_equal(model.encode(TEXTS).dense, plain.encode(TEXTS).dense)
        assert plain.fingerprint == model.fingerprint


def test_every_way_to_compute_takes_one(model: Embedder, base: Path, adapters: dict[str, Path]) -> None:
    name = "medical"
    with Embedder(base, adapter=adapters[name], **HOW) as alone:
        for one, other in (
            (model.encode_queries(TEXTS, adapter=name), alone.encode_queries(TEXTS)),
            (model.encode_documents(TEXTS, adapter=name), alone.encode_documents(TEXTS)),
            (model.encode_ids([[5, 6, 7]], adapter=name), alone.encode_ids([[5, 6, 7]])),
            (next(model.stream(TEXTS, adapter=name)), next(alone.stream(TEXTS))),
        ):
            np.testing.assert_allclose(one.dense, other.dense, atol=CLOSE)
        spans = model.encode_spans("the dog", [(4, 7)], adapter=name), alone.encode_spans("the dog", [(4, 7)])
        np.testing.assert_allclose(spans[0].dense, spans[1].dense, atol=CLOSE)
        states = [x.multivector for x in (model.encode_states(TEXTS, adapter=name), alone.encode_states(TEXTS))]
        assert states[0] is not None
        assert states[1] is not None
        np.testing.assert_allclose(states[0].vectors, states[1].vectors, atol=1e-4)


def test_token_outputs_come_from_the_adapted_states(tmp_path: Path) -> None:
    folder = write_m3(tmp_path / "m3")
    adapter = write_adapter(tmp_path / "adapter", str(folder), {"encoder.layer.0.attention.self.query": (32, 32)})
    how: dict[str, Any] = {**HOW, "pooling": "cls"}
    outputs = ("dense", "sparse", "multivector")
    with Embedder(folder, adapter=adapter, **how) as alone, Embedder(folder, adapters={"a": adapter}, **how) as live:
        assert live.engine.name == "torch"
        expected, found = alone.encode(TEXTS[:3], outputs=outputs), live.encode(TEXTS[:3], outputs=outputs, adapter="a")
        other = live.encode(TEXTS[:3], outputs=outputs)
    for values in (expected, found, other):
        assert values.sparse is not None
        assert values.multivector is not None
    np.testing.assert_allclose(found.sparse.values, expected.sparse.values, atol=1e-4)  # type: ignore[union-attr]
    np.testing.assert_allclose(found.multivector.vectors, expected.multivector.vectors, atol=1e-4)  # type: ignore[union-attr]
    assert np.abs(found.multivector.vectors - other.multivector.vectors).max() > 1e-3  # type: ignore[union-attr]


def test_calls_side_by_side_never_share_rows(model: Embedder, base: Path, adapters: dict[str, Path]) -> None:
    """The same texts with two adapters and without, all at once, many times."""
    texts = some_texts(6, seed=3, longest=20)
    expected = {}
    for name in (*NAMES, None):
        with Embedder(base, adapter=adapters.get(name or ""), **HOW) as alone:
            expected[name] = alone.encode(texts).dense
    wanted = [(name, text) for _ in range(4) for name in (*NAMES, None) for text in range(len(texts))]
    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda one: model.encode(texts[one[1]], adapter=one[0]).dense[0], wanted))
    for (name, text), vector in zip(wanted, found, strict=True):
        np.testing.assert_allclose(vector, expected[name][text], atol=CLOSE)


def test_fingerprints_tell_adapters_apart(model: Embedder, base: Path, adapters: dict[str, Path]) -> None:
    prints = [model.fingerprint_of(name) for name in (None, *NAMES)]
    with Embedder(base, adapter=adapters["legal"], **HOW) as alone:
        prints.append(alone.fingerprint)  # nearly the same values, and not the same bits
    assert prints[0] == model.fingerprint
    assert len(set(prints)) == 4


def test_several_devices(base: Path, adapters: dict[str, Path]) -> None:
    with Embedder(base, adapters=adapters, **{**HOW, "device": "cpu,cpu", "engine": "torch", "threads": 2}) as opened:
        for name in (*NAMES, None):
            vectors = opened.encode(TEXTS, adapter=name).dense
            np.testing.assert_allclose(vectors, merged(base, adapters.get(name or "")), atol=CLOSE)


def test_half_precision_stays_as_near_as_merging(base: Path, adapters: dict[str, Path]) -> None:
    exact = merged(base, adapters["legal"])
    with Embedder(base, adapters=adapters, **{**HOW, "precision": "bf16"}) as opened:
        found = opened.encode(TEXTS, adapter="legal").dense
    near = (merged(base, adapters["legal"], precision="bf16") * exact).sum(axis=1).min()
    assert (found * exact).sum(axis=1).min() > min(near, 0.999) - 1e-3


def test_embeddings_and_matrices_kept_the_other_way_round(tmp_path: Path, base: Path) -> None:
    words = safetensors.numpy.load_file(base / "model.safetensors")["embed_tokens.weight"]
    random = np.random.default_rng(1)
    down, up = (random.standard_normal(shape).astype(np.float32) for shape in ((2, len(words)), (32, 2)))
    tokens = {
        "base_model.model.embed_tokens.lora_embedding_A": down,
        "base_model.model.embed_tokens.lora_embedding_B": up,
    }
    square = {"layers.0.self_attn.q_proj": (32, 32)}
    folders = {
        "tokens": write_tensors(tmp_path / "tokens", str(base), tokens, r=2),
        "square": write_adapter(tmp_path / "square", str(base), square, fan_in_fan_out=True),
    }
    with Embedder(base, adapters=folders, **HOW) as opened:
        for name, folder in folders.items():
            np.testing.assert_allclose(opened.encode(TEXTS, adapter=name).dense, merged(base, folder), atol=CLOSE)


@pytest.mark.parametrize("architecture", TORCH_ARCHITECTURES)
def test_every_linear_layer_and_embedding_of_every_architecture(tmp_path: Path, architecture: str) -> None:
    """Whatever calls a layer, live gives what merged gives; with packed texts, too."""
    try:
        folder = write_architecture(tmp_path / "model", architecture)
    except ValueError:
        pytest.skip("this transformers does not know it")
    layers = dict(reference_model(folder).named_modules())
    shapes = {
        n: tuple(x.weight.shape) for n, x in layers.items() if isinstance(x, torch.nn.Linear) and "pooler" not in n
    }
    random, tensors = np.random.default_rng(0), {}
    for name, (out, into) in shapes.items():
        tensors[f"base_model.model.{name}.lora_A.weight"] = random.standard_normal((2, into)).astype(np.float32) * 0.1
        tensors[f"base_model.model.{name}.lora_B.weight"] = random.standard_normal((out, 2)).astype(np.float32) * 0.1
    words = next(name for name, x in layers.items() if isinstance(x, torch.nn.Embedding))
    count, width = layers[words].weight.shape
    for side, shape in (("A", (2, count)), ("B", (width, 2))):
        values = random.standard_normal(shape).astype(np.float32) * 0.1
        tensors[f"base_model.model.{words}.lora_embedding_{side}"] = values
    adapter = read_adapter(write_tensors(tmp_path / "adapter", str(folder), tensors, r=2))
    checkpoint = checkpoint_of(folder)
    batch = pad(encode(folder, some_texts(4, seed=2, longest=20)), range(4), checkpoint.config.pad_token_id)
    base, expected = (Forward(replace(checkpoint, adapter=one), "cpu", "f32", packing=False) for one in (None, adapter))
    assert np.abs(base(batch, "pooled") - expected(batch, "pooled")).max() > 1e-3
    for packing in (False, True) if can_pack(checkpoint.config, "embed") else (False,):
        live = Forward(replace(checkpoint, adapters=(("a", adapter),)), "cpu", "f32", packing=packing)
        np.testing.assert_allclose(live(batch, Adapted("pooled", "a")), expected(batch, "pooled"), atol=CLOSE)
        np.testing.assert_allclose(live(batch, "pooled"), base(batch, "pooled"), atol=CLOSE)


def test_what_can_not_be_live_says_to_merge(tmp_path: Path, base: Path) -> None:
    norm = {"base_model.model.norm.weight": np.ones(32, np.float32)}
    whole = write_tensors(tmp_path / "whole", str(base), norm)
    with pytest.raises(UnsupportedModelError, match=r"'norm.weight' is replaced as a whole .*adapter="):
        Embedder(base, adapters={"a": whole}, **HOW)
    other = {"layers.7.self_attn.q_proj": (32, 32)}
    with pytest.raises(CheckpointError, match="which the base has not"):
        Embedder(base, adapters={"a": write_adapter(tmp_path / "other", str(base), other)}, **HOW)
    with pytest.raises(CheckpointError, match="has no tensors"):
        Embedder(base, adapters={"a": write_tensors(tmp_path / "none", str(base), {})}, **HOW)
    wide = {"layers.0.self_attn.q_proj": (32, 16)}
    with pytest.raises(CheckpointError, match=r"fits weights of shape \(32, 16\), the base has \(32, 32\)"):
        Embedder(base, adapters={"a": write_adapter(tmp_path / "wide", str(base), wide)}, **HOW)


def test_bad_calls(model: Embedder, base: Path, adapters: dict[str, Path]) -> None:
    with pytest.raises(InvalidInputError, match="adapter is 'leagl'; .* has legal, medical"):
        model.encode("a", adapter="leagl")
    with pytest.raises(InvalidInputError, match="adapter is 'legal '"):
        model.encode_states("a", adapter="legal ")
    with Embedder(base, **HOW) as plain, pytest.raises(InvalidInputError, match="none; open it with adapters="):
        plain.encode("a", adapter="legal")
    with pytest.raises(InvalidInputError, match="give one of the two"):
        Embedder(base, adapter=adapters["legal"], adapters=adapters, **HOW)
    with pytest.raises(InvalidInputError, match="give one of the two"):
        Embedder(adapters["legal"], adapters=adapters, **HOW)
    with pytest.raises(UnsupportedModelError, match="engine 'openvino' takes no adapters"):
        Embedder(base, adapters=adapters, engine="openvino", **HOW)
    with pytest.raises(InvalidInputError, match="adapters is .* give a mapping"):
        Embedder(base, adapters=["legal"], **HOW)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="adapter name '' is none"):
        Embedder(base, adapters={"": adapters["legal"]}, **HOW)
