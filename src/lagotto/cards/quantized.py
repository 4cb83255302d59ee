"""What a folder of int8 weights says about itself: ``quantization.json``, beside the weights.

Such a folder is made by ``lagotto quantize``. A quantised linear layer ``NAME`` has, instead of its weights, an int8
``NAME.weight`` (out, in), a ``NAME.weight_scale`` (out,) and a ``NAME.input_scale`` (in,)::

    y = (round(x / input_scale) @ weight^T) * weight_scale + bias

where the rounded inputs are cut to -128 ... 127. Everything else is stored as usual, matrices in float16. The weights
lie in a file of their own name, so that no other library reads whole numbers as weights.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from lagotto.cards.json_files import read_json
from lagotto.cards.registry import find_card
from lagotto.cards.schema import Pooling
from lagotto.cards.weights import INT8_WEIGHTS, ORDINARY_WEIGHTS
from lagotto.core.errors import CheckpointError

logger = logging.getLogger(__name__)

QUANTIZATION_FILE = "quantization.json"
FORMAT = 1
"""Raised whenever the layout of the tensors changes."""
UNMEASURED = "its quality has not been measured yet"
"""The verdict on a folder that is being made; whoever finds one found what a killed process left."""
_AGAIN = "make the folder anew with lagotto quantize"


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
    """The facts; None for a folder of ordinary weights.

    Raises `CheckpointError` for a file of another format, one that is damaged, and for weights and file that do not go
    together.
    """
    path = folder / QUANTIZATION_FILE
    ordinary = next((name for name in ORDINARY_WEIGHTS if (folder / name).is_file()), None)
    if not path.is_file():
        if ordinary is None and (folder / INT8_WEIGHTS).is_file():
            raise CheckpointError(f"{folder}: {QUANTIZATION_FILE} is missing beside {INT8_WEIGHTS}; {_AGAIN}")
        return None
    raw = read_json(path)
    if raw.get("format") != FORMAT or raw.get("precision") != "int8":
        raise CheckpointError(
            f"{path}: format {raw.get('format')!r} of {raw.get('precision')!r} weights is not read by this version "
            f"(it reads format {FORMAT} of 'int8'); {_AGAIN}"
        )
    if ordinary is not None:
        raise CheckpointError(f"{folder}: {ordinary} lies beside {QUANTIZATION_FILE}; remove one of the two")
    return _facts(raw, path)


def _facts(raw: Mapping[str, Any], path: Path) -> QuantizedFacts:
    for name, kind in (("accepted", bool), ("forced", bool), ("verdict", str)):
        if not isinstance(raw.get(name), kind):
            raise CheckpointError(f"{path}: {name} is {raw.get(name)!r}, expected a {kind.__name__}; {_AGAIN}")
    card, pooling = raw.get("card"), raw.get("pooling")
    if card is not None and (not isinstance(card, str) or find_card(card) is None):
        raise CheckpointError(f"{path}: card {card!r} is not listed by this version; {_AGAIN}")
    if pooling is not None and pooling not in get_args(Pooling):
        raise CheckpointError(f"{path}: pooling {pooling!r} is none of {', '.join(get_args(Pooling))}; {_AGAIN}")
    return QuantizedFacts(raw["accepted"], raw["forced"], raw["verdict"], card, pooling)


def check_usable(folder: Path, facts: QuantizedFacts) -> None:
    """Raise `CheckpointError` for a folder that failed its quality gate; log a warning for one that was forced."""
    if facts.accepted:
        return
    if not facts.forced:
        raise CheckpointError(
            f"{folder} holds int8 weights that failed their quality gate: {facts.verdict}. Use the original model, or "
            f"{_AGAIN}: with more calibration texts, or with --force if you accept it"
        )
    if facts.verdict != UNMEASURED:
        logger.warning("%s holds int8 weights that failed their quality gate, by force: %s", folder, facts.verdict)
