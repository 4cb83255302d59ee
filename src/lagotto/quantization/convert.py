"""From a checkpoint and calibration sequences to a folder of int8 weights."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lagotto.batch.sequences import Sequences, pad
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.safetensors_writer import write_safetensors
from lagotto.cards.starter import RECORD
from lagotto.cards.weights import INT8_WEIGHTS, Weights
from lagotto.engines.openvino.observed import Observed, observe
from lagotto.quantization.linear import Int8Linear, input_steps, int8_linear

MAX_NOISE = 0.02
"""Layers whose output would have more error power than this share of its variance keep their weights (run in bf16)."""
_SECTION = 32  # MB of rows written at a time
_LEFT_BEHIND = (".*", "onnx", "openvino", RECORD, "checkpoint-*", "optimizer.pt", "scheduler.pt", "training_args.bin")
"""What version control, converters and training leave in a model's folder, and a starter model's list of its files."""
_OTHER_WEIGHTS = (
    *("*.onnx*", "*.h5", "*.msgpack", "*.ot", "*.gguf", "*.ckpt*", "openvino_model*"),
    *("pytorch_model*", "model*.safetensors", "*.safetensors.index.json"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """What became of a linear layer."""

    name: str
    noise: float
    """See `Int8Linear.noise`."""
    quantized: bool
    """False: too much would be lost, and the layer stays as it was."""


@dataclass(frozen=True, slots=True)
class Converted:
    """What was written."""

    layers: tuple[Layer, ...]
    bytes_before: int
    """Size of the weights file or files."""
    bytes_after: int

    @property
    def kept(self) -> tuple[Layer, ...]:
        """The layers that stay as they were."""
        return tuple(layer for layer in self.layers if not layer.quantized)


def convert(
    checkpoint: Checkpoint,
    root: Path,
    sequences: Sequences,
    out: Path,
    threads: int,
    max_noise: float = MAX_NOISE,
    done: Callable[[int], None] | None = None,
) -> Converted:
    """Write the int8 twin of a checkpoint to the empty folder ``out``.

    ``root`` is the folder that was opened (the checkpoint's weights may lie in a folder inside it). Everything but the
    weights is copied as it is.
    """
    batches = [pad(sequences, [row], checkpoint.config.pad_token_id) for row in range(len(sequences))]
    observed = observe(checkpoint, batches, threads, done=done)
    source = Weights.open(checkpoint.folder)
    layers, tensors = _int8_layers(source, observed, max_noise)
    target = out / checkpoint.folder.relative_to(root)
    _copy(root, out, checkpoint.folder, {path.resolve() for path in source.files()})
    weights = target / INT8_WEIGHTS
    _write(weights, source, tensors)
    return Converted(layers, sum(path.stat().st_size for path in source.files()), weights.stat().st_size)


def _int8_layers(
    source: Weights, observed: Sequence[Observed], max_noise: float
) -> tuple[tuple[Layer, ...], dict[str, npt.NDArray[Any]]]:
    """What became of every layer, and the tensors of those that are int8 now."""
    layers: list[Layer] = []
    tensors: dict[str, npt.NDArray[Any]] = {}
    for group in observed:
        weights = [source[f"{name}.weight"].astype(np.float32) for name in group.layers]
        steps = input_steps(group.largest, np.concatenate(weights))
        rows = group.rows.astype(np.float32)
        for name, weight in zip(group.layers, weights, strict=True):
            made = int8_linear(weight, source[f"{name}.bias"].astype(np.float32), steps, rows)
            keep = made.noise <= max_noise
            layers.append(Layer(name, made.noise, keep))
            if keep:
                tensors.update(_tensors(name, made))
    return tuple(layers), tensors


def _tensors(name: str, made: Int8Linear) -> dict[str, npt.NDArray[Any]]:
    parts = ("weight", "weight_scale", "input_scale", "bias")
    return {f"{name}.{part}": getattr(made, part) for part in parts}


def _write(path: Path, source: Weights, tensors: dict[str, npt.NDArray[Any]]) -> None:
    """All tensors of the source, those given in their place; other matrices in float16, which bf16 can't tell apart."""
    layout: dict[str, tuple[str, tuple[int, ...]]] = {
        name: ("F16" if len(source.shape(name)) > 1 else "F32", source.shape(name))
        for name in source
        if np.issubdtype(source.dtype(name), np.floating)
    }
    layout |= {name: ("I8" if array.dtype == np.int8 else "F32", array.shape) for name, array in tensors.items()}

    def pieces(name: str) -> Iterator[npt.NDArray[Any]]:
        if name in tensors:
            yield tensors[name]
            return
        array = np.atleast_1d(source[name])
        rows = max(1, _SECTION * 1_000_000 // max(1, array[:1].nbytes)) if array.ndim > 1 else max(1, len(array))
        for start in range(0, len(array), rows):
            yield array[start : start + rows]

    write_safetensors(path, layout, pieces)


def _copy(root: Path, out: Path, transformer: Path, own: set[Path]) -> None:
    """All that is wanted of a folder.

    Not `shutil.copytree`: it takes over permissions, and a model store may be read-only.
    """
    for place, folders, files in os.walk(root, followlinks=True):
        folder = Path(place)
        target = out / folder.relative_to(root)
        target.mkdir(exist_ok=True)
        unwanted = _unwanted(folder, [*folders, *files], transformer, own)
        folders[:] = [name for name in folders if name not in unwanted]
        for name in files:
            if name not in unwanted:
                shutil.copyfile(folder / name, target / name)


def _unwanted(folder: Path, names: list[str], transformer: Path, own: set[Path]) -> set[str]:
    """Weights that are written anew, the same in other formats, and what a model does not need."""
    patterns = (*_LEFT_BEHIND, *(_OTHER_WEIGHTS if folder == transformer else ()))
    matching = {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}
    return matching | {name for name in names if (folder / name).resolve() in own}
