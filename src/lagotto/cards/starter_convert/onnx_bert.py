"""Convert a BERT model from an ONNX file whose weights were quantised to 8 bits (ONNX Runtime, dynamic)."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from lagotto.cards.starter_convert.bert import bert_config
from lagotto.cards.starter_convert.folder import (
    Floats,
    Recipe,
    write_json,
    write_modules,
    write_weights,
    write_wordpiece_tokenizer,
)
from lagotto.core.errors import CheckpointError, MissingDependencyError

VERSION = 1
"""Raised whenever the written files change, so that folders of an older version are not taken for new ones."""


def convert(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
    """Write the checkpoint folder of ``files["weights"]`` with ``files["tokenizer"]`` and ``files["vocab"]``.

    Raises `MissingDependencyError` without the onnx package, `CheckpointError` if the graph is not such a model.
    """
    tensors = dequantised(files["weights"])
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = bert_config(shapes, recipe)
    write_json(folder / "config.json", config)
    write_weights(folder, shapes, lambda name: (tensors[name],), recipe.dtype)
    write_wordpiece_tokenizer(folder, files["tokenizer"])
    shutil.copyfile(files["vocab"], folder / "vocab.txt")
    if not recipe.classification:
        write_modules(folder, recipe, config["hidden_size"])


def dequantised(path: Path) -> dict[str, Floats]:
    """The float32 parameters of the graph under the names they had before the export.

    A quantised parameter ``x`` lies there as ``x_quantized``, ``x_scale`` and ``x_zero_point``:
    value = (quantised - zero point) * scale, the scale one number or one per output. Matrices lost their names to
    ``onnx::MatMul_7``; the node that multiplies by one, ``/encoder/layer.0/.../query/MatMul_quant``, still tells.
    """
    graph, arrays = _load(path)
    tensors: dict[str, Floats] = {}
    for name, array in arrays.items():
        base = name.removesuffix("_quantized")
        if base.startswith("onnx::"):
            continue
        if base != name:
            tensors[base] = _dequantise(arrays, base)
        elif array.dtype == np.float32 and name.endswith((".weight", ".bias")):
            tensors[name] = array
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            base = node.input[1].removesuffix("_quantized")
            tensors[_parameter_name(base, node.name)] = _dequantise(arrays, base).T  # ONNX keeps (inputs, outputs)
    return tensors


def _load(path: Path) -> tuple[Any, dict[str, npt.NDArray[Any]]]:
    try:
        import onnx  # heavy, and needed only once for each model
        from onnx import numpy_helper
    except ImportError as error:
        raise MissingDependencyError(
            'converting this starter model needs the onnx package: pip install "lagotto[starter]"'
        ) from error
    graph = onnx.load(str(path), load_external_data=False).graph
    return graph, {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


def _dequantise(arrays: Mapping[str, npt.NDArray[Any]], base: str) -> Floats:
    try:
        quantised, scale, zero = (arrays[base + part] for part in ("_quantized", "_scale", "_zero_point"))
    except KeyError as error:
        raise CheckpointError(f"the ONNX graph keeps {base} in a form that is not known: no {error}") from error
    values: Floats = (quantised.astype(np.float32) - zero.astype(np.float32)) * scale
    return values


def _parameter_name(base: str, node: str) -> str:
    if not base.startswith("onnx::"):
        return base
    layer = re.fullmatch(r"/(.+)/MatMul_quant", node)
    if layer is None:
        raise CheckpointError(f"the ONNX node {node!r} does not tell which layer it belongs to")
    return layer[1].replace("/", ".") + ".weight"
