"""Adapters of rerankers, merged when they are loaded or chosen by each call: cross-encoders and language models."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Reranker, ScoreOptions
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.models.loading import Options
from lagotto.models.opening import open_any
from support.adapters import write_tensors
from support.architectures import write_architecture
from support.checkpoints import change_json
from support.llm_rerankers import CARDS, write_causal, write_layerwise

pytestmark = pytest.mark.filterwarnings("ignore")
CLOSE = 1e-5
PAIRS = [("what is a giant panda", text) for text in ("the giant panda is a bear", "paris is a city", "dog", "")]
Tensors = dict[str, NDArray[np.float32]]


def write_pairs_model(folder: Path) -> Path:
    return write_architecture(folder, "qwen3", classifier=True)


BASES: dict[str, tuple[Callable[[Path], Path], str | None, str]] = {
    "cross-encoder": (write_pairs_model, None, "model."),
    "gemma": (lambda folder: write_causal(folder, "gemma"), CARDS["gemma"], "model."),
    "minicpm": (lambda folder: write_layerwise(folder, "minicpm"), CARDS["minicpm"], "model."),
    "cost_wise_gemma": (lambda folder: write_layerwise(folder, "cost_wise_gemma"), CARDS["cost_wise_gemma"], "model."),
}


def tensors_of(folder: Path) -> Tensors:
    return dict(safetensors.numpy.load_file(str(folder / "model.safetensors")))


def products(tensors: Tensors, names: list[str], seed: int) -> Tensors:
    """Adapters' tensors for weights of these names."""
    random, found = np.random.default_rng(seed), {}
    for name in names:
        out, into = tensors[name].shape
        for side, shape in (("A", (2, into)), ("B", (out, 2))):
            key = f"base_model.model.{name.removesuffix('.weight')}.lora_{side}.weight"
            found[key] = random.standard_normal(shape).astype(np.float32) * 0.2
    return found


def linears(tensors: Tensors) -> list[str]:
    return sorted(name for name in tensors if "proj.weight" in name and "layers.1." not in name)


def with_sum(base: Path, folder: Path, given: Mapping[str, NDArray[np.float32]]) -> Path:
    """The base with an adapter's products, of a scale of 2, and whole tensors written into its file."""
    shutil.copytree(base, folder)
    tensors = tensors_of(base)
    for name, values in given.items():
        plain = name.removeprefix("base_model.model.")
        if plain.endswith("lora_A.weight"):
            weight = plain.replace(".lora_A", "")
            tensors[weight] = tensors[weight] + 2 * given[name.replace("lora_A", "lora_B")] @ values
        elif "lora" not in plain:
            tensors[plain] = values
    safetensors.numpy.save_file(tensors, str(folder / "model.safetensors"), metadata={"format": "pt"})
    return folder


def scores(model: Path, card: str | None, **how: Any) -> NDArray[np.float32]:
    with Reranker(model, card=card, engine="torch", precision="f32", device="cpu", threads=1, **how) as opened:
        return opened.score(PAIRS).scores


@pytest.fixture(scope="module", params=list(BASES))
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def base(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return BASES[kind][0](tmp_path_factory.mktemp("model") / "base")


@pytest.fixture(scope="module")
def adapters(base: Path) -> dict[str, Path]:
    tensors = tensors_of(base)
    return {
        name: write_tensors(base.parent / name, str(base), products(tensors, linears(tensors), seed), r=2)
        for seed, name in enumerate(("legal", "medical"))
    }


def test_merged_is_the_sum_and_live_is_the_same(
    tmp_path: Path, kind: str, base: Path, adapters: dict[str, Path]
) -> None:
    card, found = BASES[kind][1], {}
    with Reranker(base, card=card, adapters=adapters, precision="f32", device="cpu", threads=1) as live:
        assert live.adapters == ("legal", "medical")
        for name, adapter in adapters.items():
            summed = with_sum(base, tmp_path / name, safetensors.numpy.load_file(adapter / "adapter_model.safetensors"))
            found[name] = scores(summed, card)
            np.testing.assert_allclose(scores(base, card, adapter=adapter), found[name], atol=CLOSE)
            np.testing.assert_allclose(live.score(PAIRS, adapter=name).scores, found[name], atol=CLOSE)
            ranking = live.rank(PAIRS[0][0], [document for _, document in PAIRS], adapter=name, normalize=False)
            np.testing.assert_allclose([one.score for one in ranking], sorted(found[name], reverse=True), atol=CLOSE)
        plain = scores(base, card)
        np.testing.assert_array_equal(live.score(PAIRS).scores, plain)
        assert len({live.fingerprint, live.fingerprint_of("legal"), live.fingerprint_of("medical")}) == 3
    assert np.abs(found["legal"] - found["medical"]).max() > 1e-3
    assert np.abs(found["legal"] - plain).max() > 1e-3


def test_an_adapter_by_its_own_name_brings_its_base(kind: str, base: Path, adapters: dict[str, Path]) -> None:
    card = BASES[kind][1]
    expected = scores(base, card, adapter=adapters["legal"])
    np.testing.assert_array_equal(scores(adapters["legal"], card), expected)


def test_calls_side_by_side_each_get_their_own(kind: str, base: Path, adapters: dict[str, Path]) -> None:
    card = BASES[kind][1]
    expected = {name: scores(base, card, adapter=adapters.get(name or "")) for name in (*adapters, None)}
    wanted = [(name, row) for _ in range(3) for name in expected for row in range(len(PAIRS))]
    with (
        Reranker(base, card=card, adapters=adapters, precision="f32", device="cpu", threads=1) as live,
        ThreadPoolExecutor(8) as threads,
    ):
        found = list(threads.map(lambda one: live.score([PAIRS[one[1]]], adapter=one[0])[0], wanted))
    for (name, row), score in zip(wanted, found, strict=True):
        assert score == pytest.approx(float(expected[name][row]), abs=CLOSE)


def test_whole_tensors_are_merged_and_never_live(tmp_path: Path, kind: str, base: Path) -> None:
    tensors = tensors_of(base)
    names = [name for name in tensors if name.endswith(("score.weight", "lm_head.2.linear_head.weight"))]
    names += ["model.norm.weight"]
    random = np.random.default_rng(4)
    given: Tensors = {
        f"base_model.model.{name}": random.standard_normal(tensors[name].shape).astype(np.float32) for name in names
    }
    given |= products(tensors, linears(tensors)[:2], 5)
    adapter = write_tensors(tmp_path / "adapter", str(base), given, r=2)
    card = BASES[kind][1]
    expected = scores(with_sum(base, tmp_path / "summed", given), card)
    np.testing.assert_allclose(scores(base, card, adapter=adapter), expected, atol=CLOSE)
    with pytest.raises(UnsupportedModelError, match="is replaced as a whole .* adapter="):
        Reranker(base, card=card, adapters={"a": adapter}, device="cpu")


def test_what_does_not_fit_is_named(tmp_path: Path, kind: str, base: Path) -> None:
    tensors, card = tensors_of(base), BASES[kind][1]
    one = linears(tensors)[0]
    wide = products({one: np.zeros((32, 8), np.float32)}, [one], 0)
    absent = products({"model.layers.9.mlp.up_proj.weight": tensors[one]}, ["model.layers.9.mlp.up_proj.weight"], 0)
    for how in ({"adapter": "folder"}, {"adapters": "folder"}):
        for number, (given, message) in enumerate(
            ((wide, "fits weights of shape"), (absent, "which the base has not"), ({}, "has no tensors"))
        ):
            folder = write_tensors(tmp_path / f"{number}", str(base), given, r=2)
            chosen: Any = {"adapter": folder} if "adapter" in how else {"adapters": {"a": folder}}
            with pytest.raises(CheckpointError, match=message):
                Reranker(base, card=card, device="cpu", **chosen)


@pytest.mark.parametrize(("kind", "head"), [("qwen3", "score"), ("bert", "classifier")])
def test_an_adapter_that_brings_the_head_of_its_own(tmp_path: Path, kind: str, head: str) -> None:
    """PEFT's SEQ_CLS: the base is a model without one."""
    whole = write_architecture(tmp_path / "whole", kind, classifier=True)
    base = tmp_path / "base"
    shutil.copytree(whole, base)
    tensors = tensors_of(whole)
    rest = {name: values for name, values in tensors.items() if not name.startswith(f"{head}.")}
    safetensors.numpy.save_file(rest, str(base / "model.safetensors"), metadata={"format": "pt"})
    change_json(base / "config.json", architectures=["SomethingModel"], id2label=None, label2id=None)
    brought = {f"base_model.model.{name}": tensors[name] for name in tensors.keys() - rest.keys()}
    layer = {"qwen3": "model.layers.1.self_attn.q_proj.weight", "bert": "bert.encoder.layer.1.output.dense.weight"}[
        kind
    ]
    given = brought | products(tensors, [layer], 3)
    adapter = write_tensors(tmp_path / "adapter", str(base), given, r=2, task_type="SEQ_CLS")
    expected = scores(with_sum(whole, tmp_path / "summed", given), None)
    np.testing.assert_allclose(scores(base, None, adapter=adapter), expected, atol=CLOSE)
    opened = open_any(adapter, Options(device="cpu", precision="f32"))
    assert isinstance(opened, Reranker)
    np.testing.assert_allclose(opened.score(PAIRS).scores, expected, atol=CLOSE)
    opened.close()
    with pytest.raises(CheckpointError, match="has no sequence-classification head"):
        Reranker(base, device="cpu")
    headless = write_tensors(tmp_path / "headless", str(base), products(tensors, [layer], 3), r=2, task_type="SEQ_CLS")
    with pytest.raises(CheckpointError, match=f"'{head}.*missing from the weights"):
        Reranker(base, adapter=headless, device="cpu")


@pytest.mark.parametrize(
    ("kind", "layer"), [("qwen3", "model.layers.1.self_attn.q_proj.weight"), ("roberta", "classifier.dense.weight")]
)
def test_a_head_trained_as_a_whole_is_live(tmp_path: Path, kind: str, layer: str) -> None:
    """PEFT's SEQ_CLS again, over a base with a head: one adapter brings another head, one does not."""
    base = write_architecture(tmp_path / "base", kind, classifier=True)
    tensors, random = tensors_of(base), np.random.default_rng(8)
    heads = [name for name in tensors if name.startswith(("score.", "classifier.")) and name != layer]
    wholes: Tensors = {
        f"base_model.model.{name}": random.standard_normal(tensors[name].shape).astype(np.float32) for name in heads
    }
    given = {"whole": {**wholes, **products(tensors, [layer], 3)}, "plain": products(tensors, [layer], 4)}
    if kind == "roberta":  # its bias stays the base's own
        given["whole"].pop("base_model.model.classifier.dense.bias")
    adapters = {
        name: write_tensors(tmp_path / name, str(base), one, r=2, task_type="SEQ_CLS") for name, one in given.items()
    }
    with Reranker(base, adapters=adapters, precision="f32", device="cpu", threads=1) as live:
        for name, one in given.items():
            expected = scores(with_sum(base, tmp_path / f"{name}-summed", one), None)
            np.testing.assert_allclose(live.score(PAIRS, adapter=name).scores, expected, atol=CLOSE)
        np.testing.assert_array_equal(live.score(PAIRS).scores, scores(base, None))


def test_the_vocabularys_matrix(tmp_path: Path) -> None:
    """Of a head apart from the embeddings only some rows are read; a tied one can't be changed with them."""
    random = np.random.default_rng(0)
    base = write_causal(tmp_path / "base", "qwen3", tie_word_embeddings=False)
    tensors, card = tensors_of(base), CARDS["qwen3"]
    given = products(tensors, ["lm_head.weight"], 3)
    words = tensors["model.embed_tokens.weight"].shape
    embedded = {
        "base_model.model.model.embed_tokens.lora_embedding_A": random.standard_normal((2, words[0])),
        "base_model.model.model.embed_tokens.lora_embedding_B": random.standard_normal((words[1], 2)),
    }
    given |= {name: values.astype(np.float32) * 0.2 for name, values in embedded.items()}
    adapter = write_tensors(tmp_path / "adapter", str(base), given, r=2)
    summed = with_sum(base, tmp_path / "summed", given)
    written = tensors_of(summed)
    down, up = (given[f"base_model.model.model.embed_tokens.lora_embedding_{side}"] for side in "AB")
    written["model.embed_tokens.weight"] = written["model.embed_tokens.weight"] + 2 * (up @ down).T
    safetensors.numpy.save_file(written, str(summed / "model.safetensors"), metadata={"format": "pt"})
    np.testing.assert_allclose(scores(base, card, adapter=adapter), scores(summed, card), atol=CLOSE)
    with pytest.raises(UnsupportedModelError, match=r"'(lm_head|model.embed_tokens).weight' belongs to no layer"):
        Reranker(base, card=card, adapters={"a": adapter}, device="cpu")
    change_json(base / "config.json", tie_word_embeddings=True)
    with pytest.raises(UnsupportedModelError, match="changes the embeddings, which are the head of"):
        Reranker(base, card=card, adapter=adapter, device="cpu")


def test_several_devices_and_options(tmp_path: Path) -> None:
    base = write_layerwise(tmp_path / "base", "cost_wise_gemma")
    tensors, card = tensors_of(base), CARDS["cost_wise_gemma"]
    adapter = write_tensors(tmp_path / "a", str(base), products(tensors, linears(tensors), 1), r=2)
    options = ScoreOptions(cutoff_layers=[3, 4], compress_layers=[1], compress_ratio=2)
    how: dict[str, Any] = {"card": card, "precision": "f32", "engine": "torch"}
    with Reranker(base, adapter=adapter, device="cpu", threads=1, **how) as merged:
        expected = merged.score(PAIRS, options=options).scores
    with Reranker(base, adapters={"a": adapter}, device="cpu,cpu", threads=2, **how) as live:
        np.testing.assert_allclose(live.score(PAIRS, options=options, adapter="a").scores, expected, atol=CLOSE)
        with pytest.raises(InvalidInputError, match="adapter is 'b'; .* has a"):
            live.score(PAIRS, adapter="b")


def test_options_of_embedders_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="compat is for queries of bge-en-icl"):
        Options(compat=True).for_reranker()
    with pytest.raises(InvalidInputError, match="'cls', and a reranker has no vectors to pool"):
        Options(pooling="cls").for_reranker()
