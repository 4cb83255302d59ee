"""What a folder of int8 weights says about itself: ``quantization.json``, beside the weights.

Such a folder is made by ``lagotto quantize``. A quantised linear layer ``NAME`` has, instead of its weights, an int8
``NAME.weight`` (out, in), a ``NAME.weight_scale`` (out,) and a ``NAME.input_scale`` (in,)::

    y = (round(x / input_scale) @ weight^T) * weight_scale + bias

where the rounded inputs are cut to -128 ... 127. Everything else is stored as usual, matrices in float16. The weights
lie in a file of their own name, so that no other library reads whole numbers as weights.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from lagotto.cards.json_files import read_json
from lagotto.cards.schema import Pooling
from lagotto.core.errors import CheckpointError

QUANTIZATION_FILE = "quantization.json"
INT8_WEIGHTS = "model.int8.safetensors"
FORMAT = 1
"""Raised whenever the layout of the tensors changes."""


@dataclass(frozen=True, slots=True)
class QuantizedFacts:
    """What opening the folder needs to know of it."""

    accepted: bool
    """It passed its quality gate."""
    forced: bool
    """It did not pass, and whoever made it wanted it all the same."""
    verdict: str
    """What the gate found, in a sentence."""
    card: str | None = None
    """The listed model it was made from."""
    pooling: Pooling | None = None
    """How to pool, where whoever made it had to say so."""


def read_quantized(folder: Path) -> QuantizedFacts | None:
    """The facts; None for a folder of ordinary weights. Raises `CheckpointError` for a file of another format."""
    path = folder / QUANTIZATION_FILE
    if not path.is_file():
        return None
    raw = read_json(path)
    if raw.get("format") != FORMAT or raw.get("precision") != "int8":
        raise CheckpointError(
            f"{path}: format {raw.get('format')!r} of {raw.get('precision')!r} weights is not read by this version "
            f"(it reads format {FORMAT} of 'int8'); make the folder anew with lagotto quantize"
        )
    return QuantizedFacts(
        bool(raw.get("accepted")),
        bool(raw.get("forced")),
        str(raw.get("verdict", "")),
        raw.get("card"),
        raw.get("pooling"),
    )


def check_accepted(folder: Path, facts: QuantizedFacts) -> None:
    """Raise `CheckpointError` for a folder that failed its quality gate and was not forced."""
    if not facts.accepted and not facts.forced:
        raise CheckpointError(
            f"{folder} holds int8 weights that failed their quality gate: {facts.verdict}. Use the original model, or "
            "make the folder anew with lagotto quantize: with more calibration texts, or with --force if you accept it"
        )
