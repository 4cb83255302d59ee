"""The graph of int8 weights: equal to the same arithmetic in numpy; damaged weights are refused by name."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from lagotto import Embedder
from lagotto.batch.sequences import pad
from lagotto.cards.weights import INT8_WEIGHTS
from lagotto.core.errors import CheckpointError
from lagotto.engines.openvino.graph import build
from lagotto.engines.openvino.packing import pack
from support.calibration import texts
from support.checkpoints import BERT
from support.engines import checkpoint_of, encode

Matrix = NDArray[np.float32]
Tensors = dict[str, NDArray[Any]]
LAYER = "encoder.layer.1.output.dense"
HALF = -128.0, 127.0


class Numpy:
    """BERT's forward pass over one sequence, as Devlin et al. 2018 have it, with layers in int8."""

    def __init__(self, folder: Path) -> None:
        self._tensors = dict(safetensors.numpy.load_file(folder / INT8_WEIGHTS))

    def cls(self, ids: NDArray[np.int32]) -> Matrix:
        """(hidden,) the first token's last state."""
        words, places, types = (
            self._tensors[f"embeddings.{name}_embeddings.weight"].astype(np.float32)
            for name in ("word", "position", "token_type")
        )
        x = self._norm(words[ids] + places[: len(ids)] + types[0], "embeddings.LayerNorm")
        for layer in range(BERT.layers):
            name = f"encoder.layer.{layer}"
            mixed = self._attention(x, f"{name}.attention.self")
            x = self._norm(
                x + self._linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output.LayerNorm"
            )
            inner = gelu(self._linear(x, f"{name}.intermediate.dense"))
            x = self._norm(x + self._linear(inner, f"{name}.output.dense"), f"{name}.output.LayerNorm")
        first: Matrix = x[0]
        return first

    def _linear(self, x: Matrix, name: str) -> Matrix:
        weight, bias = self._tensors[f"{name}.weight"], self._tensors[f"{name}.bias"]
        assert weight.dtype == np.int8
        steps, scale = self._tensors[f"{name}.input_scale"], self._tensors[f"{name}.weight_scale"]
        whole = np.clip(np.round(x / steps), *HALF).astype(np.int64)
        return ((whole @ weight.T.astype(np.int64)) * scale + bias).astype(np.float32)

    def _attention(self, x: Matrix, name: str) -> Matrix:
        heads = BERT.heads, BERT.hidden // BERT.heads
        query, key, value = (
            self._linear(x, f"{name}.{part}").reshape(-1, *heads).swapaxes(0, 1) for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / np.sqrt(heads[1])
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        mixed: Matrix = (weights / weights.sum(axis=-1, keepdims=True)) @ value
        return mixed.swapaxes(0, 1).reshape(-1, BERT.hidden)

    def _norm(self, x: Matrix, name: str) -> Matrix:
        x = x - x.mean(axis=-1, keepdims=True)
        x = x / np.sqrt(np.square(x).mean(axis=-1, keepdims=True) + BERT.epsilon)
        out: Matrix = x * self._tensors[f"{name}.weight"] + self._tensors[f"{name}.bias"]
        return out


def gelu(x: Matrix) -> Matrix:
    from scipy.special import erf

    out: Matrix = x * (1 + erf(x / np.sqrt(2))) / 2
    return out


def unit(x: Matrix) -> Matrix:
    out: Matrix = x / np.linalg.norm(x, axis=-1, keepdims=True)
    return out


def test_the_graph_computes_what_numpy_computes(tiny_int8: Path, tiny_bert: Path) -> None:
    checkpoint, sequences = checkpoint_of(tiny_int8), encode(tiny_int8, texts(40))
    compiled = ov.Core().compile_model(build(checkpoint), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names = [port.get_any_name() for port in compiled.inputs]
    packed = [pack(pad(sequences, [row], 0), checkpoint.config) for row in range(len(sequences))]
    graph = np.concatenate([compiled({name: given[name] for name in names})[0] for given in packed])
    reference = Numpy(tiny_int8)
    expected = np.stack([reference.cls(ids) for ids in sequences.ids])
    with Embedder(tiny_bert, precision="f32", threads=1) as model:
        exact = model.encode(texts(40)).dense
    # A number that lies at the edge between two steps may fall to either side, and then all behind it moves a little.
    near = (unit(graph) * unit(expected)).sum(axis=1)
    far = (unit(expected) * exact).sum(axis=1)
    assert np.median(np.abs(graph - expected).max(axis=1)) < 1e-3
    assert near.mean() > 0.99999
    assert 1 - near.mean() < 0.1 * (1 - far.mean())


def test_the_engine_stays_near_it_in_its_own_precision(tiny_int8: Path) -> None:
    reference = Numpy(tiny_int8)
    expected = unit(np.stack([reference.cls(ids) for ids in encode(tiny_int8, texts(40)).ids]))
    with Embedder(tiny_int8, threads=1) as model:
        cosines = (model.encode(texts(40)).dense * expected).sum(axis=1)
        again = model.encode(texts(40)).dense
    assert cosines.mean() > 0.9995
    assert (again * expected).sum(axis=1).tolist() == cosines.tolist()


def test_a_batch_changes_nothing(tiny_int8: Path) -> None:
    with Embedder(tiny_int8, threads=2) as model:
        together = model.encode(texts(40)).dense
        alone = np.concatenate([model.encode([text]).dense for text in texts(40)])
    assert (together * alone).sum(axis=1).min() > 0.999


def test_layers_that_run_in_int8(tiny_int8: Path) -> None:
    compiled = ov.Core().compile_model(build(checkpoint_of(tiny_int8)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    facts = [node.get_rt_info() for node in compiled.get_runtime_model().get_ordered_ops()]
    kinds = [fact["runtimePrecision"].get() for fact in facts if fact["layerType"].get() == "FullyConnected"]
    assert len(kinds) >= 4 * BERT.layers
    assert set(kinds) <= {"i8", "u8"}


# Damaged weights.


def without(name: str) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.__delitem__(name)


def changed(name: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Callable[[Tensors], None]:
    return lambda tensors: tensors.update({name: np.ascontiguousarray(change(tensors[name]))})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (without(f"{LAYER}.weight_scale"), rf"{LAYER}\.weight' holds whole numbers \(int8\)"),
        (without(f"{LAYER}.input_scale"), rf"{LAYER}\.input_scale' \(64,\) is missing"),
        (without(f"{LAYER}.weight"), rf"{LAYER}\.weight' \(32, 64\) is missing"),
        (without(f"{LAYER}.bias"), rf"{LAYER}\.bias' \(32,\) is missing"),
        (changed(f"{LAYER}.weight", lambda x: x[:, :8]), rf"{LAYER}\.weight' has shape \(32, 8\), .* \(32, 64\)"),
        (changed(f"{LAYER}.weight_scale", lambda x: x[:4]), rf"{LAYER}\.weight_scale' has shape \(4,\)"),
        (changed(f"{LAYER}.input_scale", lambda x: x[:4]), rf"{LAYER}\.input_scale' has shape \(4,\)"),
        (changed(f"{LAYER}.input_scale", lambda x: x * 0), rf"{LAYER}\.input_scale' .* must be above 0"),
        (changed(f"{LAYER}.weight_scale", lambda x: x * np.nan), rf"{LAYER}\.weight_scale' .* must be above 0"),
        (changed(f"{LAYER}.weight", lambda x: x.astype(np.float32)), rf"{LAYER}\.weight' is float32, .* int8"),
        (changed("embeddings.LayerNorm.bias", lambda x: x.astype(np.int8)), r"LayerNorm\.bias' holds whole numbers"),
    ],
)
def test_damaged_weights_are_refused_by_name(
    tiny_int8: Path, tmp_path: Path, damage: Callable[[Tensors], None], message: str
) -> None:
    folder = shutil.copytree(tiny_int8, tmp_path / "copy")
    tensors = dict(safetensors.numpy.load_file(folder / INT8_WEIGHTS))
    damage(tensors)
    safetensors.numpy.save_file(tensors, folder / INT8_WEIGHTS)
    with pytest.raises(CheckpointError, match=message):
        Embedder(folder)


def test_a_file_that_is_cut_short(tiny_int8: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(tiny_int8, tmp_path / "copy")
    (folder / INT8_WEIGHTS).write_bytes((folder / INT8_WEIGHTS).read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"model\.int8\.safetensors: is cut short"):
        Embedder(folder)
