"""LoRA adapters as PEFT writes them, without PEFT."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from support.checkpoints import write_json

Shapes = Mapping[str, tuple[int, int]]
"""Module names as the trained model had them, and (out, in) of their matrices."""


def write_adapter(folder: Path, base: str, shapes: Shapes, *, rank: int = 2, seed: int = 0, **config: Any) -> Path:
    """An adapter of random matrices."""
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for module, (out, into) in shapes.items():
        for side, shape in (("A", (rank, into)), ("B", (out, rank))):
            values = random.standard_normal(shape).astype(np.float32) * 0.3
            tensors[f"base_model.model.{module}.lora_{side}.weight"] = values
    return write_tensors(folder, base, tensors, r=rank, **config)


def write_tensors(folder: Path, base: str, tensors: Mapping[str, NDArray[Any]], **config: Any) -> Path:
    """An adapter of given tensors."""
    folder.mkdir(parents=True, exist_ok=True)
    plain = {"peft_type": "LORA", "base_model_name_or_path": base, "lora_alpha": 4, "bias": "none"}
    write_json(folder / "adapter_config.json", {**plain, "init_lora_weights": True, **config})
    safetensors.numpy.save_file(dict(tensors), str(folder / "adapter_model.safetensors"))
    return folder
