"""Language models that rerank, in the torch engine: what is read of a checkpoint, and what is wrong with one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.sources import Source
from lagotto.cards.weights import Weights
from lagotto.core.errors import CheckpointError, OutOfMemoryError, UnsupportedModelError
from lagotto.engines.base import Output, Scoring

torch = pytest.importorskip("torch")
save_torch = pytest.importorskip("safetensors.torch").save_file
pytest.importorskip("transformers")

from lagotto.engines.torch.memory import WithinMemory  # noqa: E402
from lagotto.engines.torch.pair_scores import PairScores  # noqa: E402
from lagotto.engines.torch.tensors import TensorReader  # noqa: E402
from support.checkpoints import change_json  # noqa: E402
from support.llm_rerankers import CARDS, open_ranker, write_causal, write_layerwise  # noqa: E402

FILE = "model.safetensors"
HOW = Scoring(cutoff_layers=(2, 4), compress_layers=(1,), compress_ratio=2, closing=3)
PAIRS = [("what is a panda", f"the giant panda is {number} days old") for number in range(5)]


def understood(folder: Path, architecture: str) -> Checkpoint:
    return open_checkpoint(Source(str(folder), folder, row=None), "rerank", card=CARDS[architecture])


def batch() -> Batch:
    ids = np.random.default_rng(2).integers(6, 90, (4, 20)).astype(np.int32)
    return Batch(ids, np.array([20, 17, 12, 20], np.int32), np.full(4, 5, np.int32), 0)


def rewritten(folder: Path, change: Any) -> Path:
    tensors = change(dict(safetensors.numpy.load_file(str(folder / "model.safetensors"))))
    safetensors.numpy.save_file(tensors, str(folder / "model.safetensors"))
    return folder


@pytest.mark.parametrize(
    "name", ["model.layers.2.mlp.up_proj.weight", "lm_head.3.linear_head.weight", "model.norm.weight"]
)
def test_a_missing_weight_is_named(name: str, tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path, "minicpm")
    rewritten(folder, lambda tensors: {key: value for key, value in tensors.items() if key != name})
    with pytest.raises(CheckpointError, match=f"weight {name!r} .* is missing"):
        PairScores(understood(folder, "minicpm"), "cpu", "f32")


def test_a_weight_of_another_shape_is_named(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path, "minicpm")
    change_json(folder / "config.json", intermediate_size=40)
    with pytest.raises(
        CheckpointError, match=r"gate_proj.weight' has shape \(48, 32\), config.json asks for \(40, 32\)"
    ):
        PairScores(understood(folder, "minicpm"), "cpu", "f32")


def test_an_adapter_beside_weights_is_refused(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path, "cost_wise_mistral")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="open it with adapter="):
        PairScores(understood(folder, "cost_wise_mistral"), "cpu", "f32")


def test_weights_in_half_precision_and_in_pickle_files(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path / "half", "cost_wise_gemma")
    tensors = safetensors.numpy.load_file(str(folder / "model.safetensors"))
    half = {name: torch.from_numpy(values).to(torch.bfloat16) for name, values in tensors.items()}
    (folder / "model.safetensors").unlink()
    torch.save(half, folder / "pytorch_model.bin")
    pickled = PairScores(understood(folder, "cost_wise_gemma"), "cpu", "f32")(batch(), HOW)
    (folder / "pytorch_model.bin").unlink()
    save_torch(half, str(folder / "model.safetensors"))
    plain = PairScores(understood(folder, "cost_wise_gemma"), "cpu", "f32")(batch(), HOW)
    assert np.array_equal(pickled, plain)
    assert np.allclose(PairScores(understood(folder, "cost_wise_gemma"), "cpu", "bf16")(batch(), HOW), plain, atol=0.15)


def test_bits_are_read_without_a_detour_over_float32(tmp_path: Path) -> None:
    values = torch.randn(6, 4).to(torch.bfloat16)
    save_torch({"a": values, "b": values.float()}, str(tmp_path / "model.safetensors"))
    weights = Weights.open(tmp_path)
    assert weights.bits("a").dtype == np.uint16
    assert np.array_equal(weights.rows("a", [5, 2]), values[[5, 2]].float().numpy())
    reader = TensorReader(weights, torch.bfloat16, "cpu")
    assert torch.equal(reader("a", 6, 4), values)
    assert torch.equal(reader.rows("a", [5, 2], 6, 4), values[[5, 2]].float())
    assert torch.equal(reader.rows("b", [0], 6, 4), values[:1].float())
    assert torch.equal(reader("b", 6, 4), values)


def test_of_the_vocabularys_matrix_two_rows_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_causal(tmp_path, "qwen3", tie_word_embeddings=False, max_position_embeddings=1024)
    asked: list[tuple[str, int]] = []
    rows = TensorReader.rows

    def counted(self: TensorReader, name: str, wanted: Any, *shape: int) -> Any:
        asked.append((name, len(wanted)))
        return rows(self, name, wanted, *shape)

    monkeypatch.setattr(TensorReader, "rows", counted)
    with open_ranker(folder, "qwen3") as ranker:
        ranker.score(PAIRS)
        ranker.score(PAIRS)
    assert asked == [("lm_head.weight", 2)]


def test_a_batch_that_does_not_fit_is_computed_in_parts(tmp_path: Path) -> None:
    compute = PairScores(understood(write_layerwise(tmp_path, "cost_wise_gemma"), "cost_wise_gemma"), "cpu", "f32")
    sizes: list[int] = []

    def narrow(given: Batch, output: Output) -> Any:
        sizes.append(len(given.lengths))
        if len(given.lengths) > 2:
            raise torch.OutOfMemoryError("too much")
        return compute(given, output)

    found = WithinMemory(narrow, "cpu")(batch(), HOW)
    assert sizes == [4, 2, 2]
    assert np.allclose(found, compute(batch(), HOW), atol=1e-5)


def test_computing_ends_at_the_highest_layer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = PairScores(understood(write_layerwise(tmp_path, "minicpm"), "minicpm"), "cpu", "f32")
    layers: list[int] = []
    real = compute._decoder.layer

    def noted(number: int, *args: Any, **kwargs: Any) -> Any:
        layers.append(number)
        return real(number, *args, **kwargs)

    monkeypatch.setattr(compute._decoder, "layer", noted)
    compute(batch(), Scoring(cutoff_layers=(1, 3)))
    assert layers == [0, 1, 2]


def read_layers(compute: PairScores) -> list[int]:
    return sorted(compute._decoder._layers)


def test_a_layer_is_read_when_a_call_first_gets_to_it(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path, "minicpm")
    compute = PairScores(understood(folder, "minicpm"), "cpu", "f32")
    assert read_layers(compute) == []
    first = compute(batch(), Scoring(cutoff_layers=(1,)))
    assert read_layers(compute) == [0]
    both = compute(batch(), Scoring(cutoff_layers=(1, 3)))
    assert read_layers(compute) == [0, 1, 2]
    assert np.allclose(first[:, 0], both[:, 0], atol=1e-5)
    kept = [id(layer) for layer in compute._decoder._layers.values()]
    compute(batch(), Scoring(cutoff_layers=(3,)))
    assert [id(layer) for layer in compute._decoder._layers.values()] == kept


def test_a_model_with_one_head_is_read_as_a_whole(tmp_path: Path) -> None:
    folder = write_causal(tmp_path, "qwen3", max_position_embeddings=1024)
    assert read_layers(PairScores(understood(folder, "qwen3"), "cpu", "f32")) == [0, 1, 2, 3]


def test_opening_reads_no_numbers_of_layers_and_finds_those_that_can_t_be_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_layerwise(tmp_path, "cost_wise_gemma")
    asked: list[str] = []
    bits = Weights.bits

    def noted(self: Weights, name: str) -> Any:
        asked.append(name)
        return bits(self, name)

    monkeypatch.setattr(Weights, "bits", noted)
    PairScores(understood(folder, "cost_wise_gemma"), "cpu", "f32")
    assert asked
    assert not [name for name in asked if ".layers." in name]
    eights = {name: torch.from_numpy(value) for name, value in safetensors.numpy.load_file(folder / FILE).items()}
    eights["model.layers.3.mlp.up_proj.weight"] = eights["model.layers.3.mlp.up_proj.weight"].to(torch.float8_e5m2)
    save_torch(eights, str(folder / FILE))
    with pytest.raises(UnsupportedModelError, match="elements of type F8_E5M2"):
        PairScores(understood(folder, "cost_wise_gemma"), "cpu", "f32")


def test_a_layer_that_does_not_fit_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compute = PairScores(understood(write_layerwise(tmp_path, "minicpm"), "minicpm"), "cpu", "f32")
    compute(batch(), Scoring(cutoff_layers=(1,)))

    def full(*given: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(compute._decoder, "_open_layer", full)
    with pytest.raises(OutOfMemoryError, match=r"layer 2 of 4 does not fit the memory of cpu .*weights='int8'"):
        WithinMemory(compute, "cpu")(batch(), Scoring(cutoff_layers=(2,)))
    assert compute(batch(), Scoring(cutoff_layers=(1,))).shape == (4, 1)
