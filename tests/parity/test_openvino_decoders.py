"""Language models on the CPU engine give what transformers' own forward gives for one text at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.cards.architectures import NATIVE_DECODERS
from support.checkpoints import change_json, some_texts
from support.engines import Vectors, checkpoint_of, encode

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.architectures import reference_model, write_architecture  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = [*some_texts(16, seed=5, longest=60), "a", "the dog"]
CLOSE = {"f32": 2e-5, "bf16": 0.6}
"""Largest difference of a number. Weights are drawn wide, so bfloat16's rounding shows more than in a real model."""
PLAIN: dict[str, Any] = {"mistral": {"sliding_window": None}}
POOLINGS: dict[str, Any] = {"last_token": lambda x: x[-1], "mean": lambda x: x.mean(axis=0), "cls": lambda x: x[0]}


def write(folder: Path, architecture: str, **changes: Any) -> Path:
    return write_architecture(
        folder, architecture, **{"pooling": "last_token", **PLAIN.get(architecture, {}), **changes}
    )


def states(folder: Path) -> list[Vectors]:
    """(tokens, hidden) of every text."""
    model = reference_model(folder)
    with torch.inference_mode():
        given = [torch.from_numpy(ids[None].astype(np.int64)) for ids in encode(folder, TEXTS).ids]
        return [model(ids).last_hidden_state[0].numpy() for ids in given]


@pytest.mark.parametrize("precision", list(CLOSE))
@pytest.mark.parametrize("architecture", NATIVE_DECODERS)
def test_vectors_and_states(tmp_path: Path, cache: Path, architecture: str, precision: str) -> None:
    folder = write(tmp_path / "model", architecture, num_attention_heads=4, num_key_value_heads=2)
    expected = states(folder)
    assert np.stack([one[-1] for one in expected]).std(axis=0).mean() > 0.1
    with Embedder(folder, precision=precision, threads=2, cache_dir=cache) as model:
        assert (model.engine.name, model.engine.output) == ("openvino", 32)
        for pooled in range(2):  # with the small graph, then with the one that gives states too
            found = model.encode(TEXTS, normalize=False).dense
            np.testing.assert_allclose(found, [one[-1] for one in expected], atol=CLOSE[precision])
            if not pooled:
                token_states = model.encode_states(TEXTS).multivector
                assert token_states is not None
                for mine, theirs in zip(token_states, expected, strict=True):
                    np.testing.assert_allclose(mine, theirs, atol=CLOSE[precision])


@pytest.mark.parametrize("pooling", list(POOLINGS))
def test_poolings(tmp_path: Path, cache: Path, pooling: str) -> None:
    folder = write(tmp_path / "model", "qwen3", pooling=pooling)
    expected = np.stack([POOLINGS[pooling](one) for one in states(folder)])
    with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
        np.testing.assert_allclose(model.encode(TEXTS, normalize=False).dense, expected, atol=CLOSE["f32"])


@pytest.mark.parametrize(("architecture", "activation"), [("qwen3", "gelu"), ("gemma", "gelu_pytorch_tanh")])
def test_activations(tmp_path: Path, cache: Path, architecture: str, activation: str) -> None:
    folder = write(tmp_path / "model", architecture, hidden_act=activation)
    with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
        assert model.engine.name == "openvino"
        expected = [one[-1] for one in states(folder)]
        np.testing.assert_allclose(model.encode(TEXTS, normalize=False).dense, expected, atol=CLOSE["f32"])


def test_both_engines_agree_and_each_can_be_asked_for(tmp_path: Path, cache: Path) -> None:
    folder = write(tmp_path / "model", "qwen3")
    found = {}
    for engine in ("openvino", "torch"):
        with Embedder(folder, engine=engine, precision="f32", threads=1, cache_dir=cache) as model:  # type: ignore[arg-type]
            assert model.engine.name == engine
            found[engine] = model.encode(TEXTS).dense
    np.testing.assert_allclose(found["openvino"], found["torch"], atol=1e-5)


def test_a_text_without_a_token_is_read_as_padding_by_both(tmp_path: Path, cache: Path) -> None:
    folder = write(tmp_path / "model", "qwen2")
    change_json(folder / "tokenizer.json", post_processor=None)
    found = []
    for engine in ("openvino", "torch"):
        with Embedder(folder, engine=engine, precision="f32", threads=1, cache_dir=cache) as model:  # type: ignore[arg-type]
            found.append(model.encode(["", "the dog"]).dense)
    np.testing.assert_allclose(*found, atol=1e-5)


@pytest.mark.parametrize(
    ("architecture", "changes"),
    [
        ("mistral", {"sliding_window": 8}),
        ("llama", {"attention_bias": True}),
        ("llama", {"mlp_bias": True}),
        ("qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}),
        ("llama", {"rope_parameters": {"rope_type": "yarn", "factor": 2.0, "rope_theta": 10000.0}}),
        ("gemma2", {}),
    ],
)
def test_what_the_graph_has_not_is_left_to_transformers(
    tmp_path: Path, cache: Path, architecture: str, changes: dict[str, Any]
) -> None:
    folder = write_architecture(tmp_path / "model", architecture, pooling="last_token", **changes)
    assert not checkpoint_of(folder).native
    with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
        assert model.engine.name == "torch"
        np.testing.assert_allclose(
            model.encode(TEXTS, normalize=False).dense, [one[-1] for one in states(folder)], atol=2e-5
        )


@pytest.mark.parametrize(
    "told",
    [
        {"rope_type": "linear", "factor": 4.0},
        {
            "rope_type": "llama3",
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 16,
        },
    ],
    ids=lambda told: told["rope_type"],
)
@pytest.mark.parametrize("architecture", NATIVE_DECODERS)
def test_scaled_positions(tmp_path: Path, cache: Path, architecture: str, told: dict[str, Any]) -> None:
    folder = write(tmp_path / "model", architecture, rope_parameters={"rope_theta": 500.0, **told})
    plain = write(tmp_path / "plain", architecture, rope_parameters={"rope_theta": 500.0, "rope_type": "default"})
    expected = np.stack([one[-1] for one in states(folder)])
    with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
        assert model.engine.name == "openvino"
        np.testing.assert_allclose(model.encode(TEXTS, normalize=False).dense, expected, atol=5e-5)
    assert np.abs(expected - np.stack([one[-1] for one in states(plain)])).max() > 0.1


def test_positions_are_read_from_the_config_of_older_versions_too(tmp_path: Path, cache: Path) -> None:
    new = write(tmp_path / "new", "qwen3", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    old = write(tmp_path / "old", "qwen3", rope_parameters={"rope_type": "default", "rope_theta": 500.0})
    change_json(old / "config.json", rope_parameters=None, rope_theta=500.0, rope_scaling=None)
    found = []
    for folder in (new, old):
        with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
            assert model.engine.name == "openvino"
            found.append(model.encode(TEXTS).dense)
    np.testing.assert_array_equal(*found)
