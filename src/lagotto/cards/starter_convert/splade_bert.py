"""Convert a SPLADE model of BERT's shape from a safetensors file, whose layer norms may have the names of 2018."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lagotto.cards.starter_convert.bert import bert_config
from lagotto.cards.starter_convert.folder import (
    Recipe,
    write_json,
    write_splade_modules,
    write_weights,
    write_wordpiece_tokenizer,
)
from lagotto.cards.weights import read_tensors

VERSION = 1
"""Raised whenever the written files change, so that folders of an older version are not taken for new ones."""


def convert(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
    """Write the checkpoint folder of ``files["weights"]`` with ``files["tokenizer"]``.

    Raises `CheckpointError` if the file does not hold such a model.
    """
    tensors = read_tensors(files["weights"])
    names = {
        name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias"): name
        for name in tensors
    }
    shapes = {name: tensors.shape(stored) for name, stored in names.items()}
    config = bert_config(shapes, recipe)
    write_json(folder / "config.json", config)
    write_weights(folder, shapes, lambda name: (tensors[names[name]].astype(np.float32),), recipe.dtype)
    write_wordpiece_tokenizer(folder, files["tokenizer"])
    write_splade_modules(folder, recipe, config["vocab_size"])
