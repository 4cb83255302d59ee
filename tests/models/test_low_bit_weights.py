"""Models whose linear layers are kept in fewer bits: nearly the same values, another fingerprint, less memory."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.engines import low_bits
from support.checkpoints import BERT, some_texts, write_embedder, write_reranker
from support.low_bits import FORMATS, INT4, NF4, needs

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.adapters import write_adapter  # noqa: E402
from support.language_models import write_language_model  # noqa: E402
from support.llm_rerankers import CARDS, write_layerwise  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = some_texts(9)
PAIRS = [("what is a panda", "the giant panda is a bear"), ("what is a panda", "dog"), ("paris", "a city in france")]
NEAR = {"int8": 0.9995, "int4": 0.97, "nf4": 0.97}
"""Cosines to float32 on random weights, which suffer more than trained ones: an embedder's vectors."""


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_embedder(tmp_path_factory.mktemp("low") / "bert", replace(BERT, hidden=64, inner=128))


@pytest.fixture(scope="module")
def layerwise(tmp_path_factory: pytest.TempPathFactory) -> Path:
    sizes = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16}
    return write_layerwise(tmp_path_factory.mktemp("low"), "minicpm", **sizes)


def open_embedder(folder: Path, **how: Any) -> Embedder:
    return Embedder(folder, precision="f32", threads=1, **how)


def open_layerwise(folder: Path, **how: Any) -> Reranker:
    return Reranker(folder, card=CARDS["minicpm"], precision="f32", threads=1, **how)


@pytest.mark.parametrize("weights", FORMATS)
def test_an_embedder_is_nearly_what_it_was(embedder: Path, weights: str) -> None:
    with open_embedder(embedder, engine="torch") as full, open_embedder(embedder, weights=weights) as low:
        cosines = (full.encode(TEXTS).dense * low.encode(TEXTS).dense).sum(1)
        assert NEAR[weights] < cosines.min() < 0.99999
        assert full.fingerprint != low.fingerprint
        assert (low.engine.name, low.engine.device, low.engine.weights) == ("torch", "cpu", weights)
        assert f"f32, {weights} weights" in repr(low)


@pytest.mark.parametrize("weights", FORMATS)
def test_a_language_model_that_reranks_is_nearly_what_it_was(layerwise: Path, weights: str) -> None:
    with open_layerwise(layerwise) as full, open_layerwise(layerwise, weights=weights) as low:
        apart = np.abs(full.score(PAIRS).scores - low.score(PAIRS).scores)
        assert 1e-4 < apart.max() < (0.1 if weights == "int8" else 2.0)
        assert full.fingerprint != low.fingerprint


@pytest.mark.parametrize("weights", FORMATS)
def test_scores_are_those_of_weights_that_were_rounded_beforehand(
    layerwise: Path, weights: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_layerwise(layerwise, weights=weights) as low:
        found = low.score(PAIRS).scores
    from lagotto.engines.torch import low_bits as packing
    from lagotto.engines.torch import tensors

    def rounded(weight: Any, how: Any, name: str) -> Any:
        """An ordinary matrix of the numbers that the bits stand for: what it gives for the unit vectors."""
        return torch.nn.functional.linear(torch.eye(weight.shape[1]), packing.pack(weight, how, name)).T.contiguous()

    monkeypatch.setattr(tensors, "pack", rounded)
    with open_layerwise(layerwise, weights=weights) as low:
        np.testing.assert_allclose(low.score(PAIRS).scores, found, atol=2e-3)


@needs("torchao")
def test_a_classifiers_head_and_pooler_stay_in_full(tmp_path: Path) -> None:
    folder = write_reranker(tmp_path / "model", BERT)
    with Reranker(folder, precision="f32", threads=1, weights="int8") as low:
        module = low._loaded.engine._compute._compute._module  # type: ignore[attr-defined]
        full = {
            name
            for name, layer in module.named_modules()
            if isinstance(layer, torch.nn.Linear) and type(layer.weight) is torch.nn.Parameter
        }
        assert full == {"bert.pooler.dense", "classifier"}
        assert np.isfinite(low.score(PAIRS).scores).all()


@needs("torchao")
def test_an_adapter_is_merged_before_weights_are_packed(tmp_path: Path) -> None:
    base = write_language_model(tmp_path / "base", "qwen2")
    adapter = write_adapter(tmp_path / "adapter", str(base), {"layers.0.self_attn.q_proj": (32, 32)}, lora_alpha=64)
    how: dict[str, Any] = {"pooling": "last_token", "device": "cpu"}

    def vectors(**more: Any) -> Any:
        with open_embedder(base, **how, **more) as model:
            return model.encode(TEXTS).dense

    plain, full, low = vectors(), vectors(adapter=adapter), vectors(adapter=adapter, weights="int8")
    assert (full * low).sum(1).min() > 0.997 > 0.99 > (full * plain).sum(1).min()


@pytest.mark.parametrize("weights", [INT4, NF4])
def test_sizes_that_do_not_fit_are_named(tmp_path: Path, weights: str) -> None:
    with pytest.raises(UnsupportedModelError, match="self_attn.q_proj.weight' has rows of 32"):
        open_layerwise(write_layerwise(tmp_path / "llm", "minicpm"), weights=weights)
    with pytest.raises(UnsupportedModelError, match="attention.self.query.weight' has rows of 32"):
        open_embedder(write_embedder(tmp_path / "bert", BERT), weights=weights)


@needs("torchao")
def test_openvino_and_f16_are_refused(embedder: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="'openvino' keeps no weights in int8; pass engine='torch'"):
        open_embedder(embedder, engine="openvino", weights="int8")
    with pytest.raises(UnsupportedModelError, match="overflows in precision 'f16'"):
        Embedder(embedder, precision="f16", weights="int8")


def test_unknown_formats_and_missing_packages_are_told_before_anything_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(InvalidInputError, match="weights is 'int3'; allowed are full, int8, int4, nf4"):
        Embedder("ORG/NAME", weights="int3")
    monkeypatch.setattr(low_bits, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="'int8' needs torchao"):
        Reranker("ORG/NAME", weights="int8")


@needs("torchao")
def test_several_devices_keep_them_so_too(embedder: Path) -> None:
    from lagotto.cards.checkpoint import open_checkpoint
    from lagotto.cards.sources import Source
    from lagotto.engines.torch.worker import open_model
    from lagotto.engines.torch.worker_process import Start

    checkpoint = open_checkpoint(Source("bert", embedder, row=None), "embed")
    width, compute = open_model(Start(checkpoint, "cpu", "f32", 1, "int8"))
    module = compute._compute._module  # type: ignore[attr-defined]
    packed = module.encoder.layer[0].attention.self.query.weight
    assert (width, type(packed).__name__) == (64, "Int8Tensor")


def test_each_device_is_told(embedder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class Stub:
        def __init__(self, starts: Any, closing: Any) -> None:
            told.extend(starts)

        def width(self) -> int:
            return 64

        def end(self) -> None: ...

    monkeypatch.setattr("lagotto.engines.torch.processes.Workers", Stub)
    monkeypatch.setattr(low_bits, "find_spec", lambda name: name)
    with open_embedder(embedder, device="cpu,cpu", weights="nf4") as model:
        assert (model.engine.device, model.engine.weights) == ("cpu,cpu", "nf4")
    assert [start.weights for start in told] == ["nf4", "nf4"]


@pytest.mark.parametrize("weights", FORMATS)
def test_live_adapters_stand_beside_them(tmp_path: Path, embedder: Path, layerwise: Path, weights: str) -> None:
    query = {"encoder.layer.1.attention.self.query": (64, 64)}
    adapter = write_adapter(tmp_path / "embedder", str(embedder), query)
    with open_embedder(embedder, adapters={"a": adapter}, weights=weights) as low:
        with open_embedder(embedder, adapter=adapter, weights=weights) as merged:
            expected = merged.encode(TEXTS).dense
        with open_embedder(embedder, adapters={"a": adapter}) as full:
            assert full.fingerprint_of("a") != low.fingerprint_of("a")
        found = low.encode(TEXTS, adapter="a").dense
        assert (found * expected).sum(1).min() > NEAR[weights]
        assert (found * low.encode(TEXTS).dense).sum(1).min() < (found * expected).sum(1).min()
    changed = {"model.layers.1.self_attn.q_proj": (64, 64)}
    adapter = write_adapter(tmp_path / "reranker", str(layerwise), changed)
    with open_layerwise(layerwise, adapters={"a": adapter}, weights=weights) as ranker:
        plain, adapted = ranker.score(PAIRS).scores, ranker.score(PAIRS, adapter="a").scores
        assert np.abs(plain - adapted).max() > 1e-3
