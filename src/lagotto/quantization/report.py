"""`QuantizationReport`: what was made, and how near it is to its original; also in the folder."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lagotto import __version__
from lagotto.cards.quantized import FORMAT
from lagotto.cards.schema import Task
from lagotto.core.hardware import cpu_name
from lagotto.quantization.convert import Converted
from lagotto.quantization.gate import Agreement, Limits, Quality


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What `quantize` made, and how near it is to its original. Also in the folder, as ``quantization.json``."""

    out: Path
    source: str
    """The model it was made from, as it was named."""
    fingerprint: str
    """Of the original in float32."""
    task: Task
    accepted: bool
    """It keeps within the limits."""
    forced: bool
    """It does not, and was wanted all the same."""
    verdict: str
    """Why, in a sentence."""
    agreement: Agreement
    """int8 against float32 on texts that were not calibrated on."""
    quality: tuple[Quality, ...]
    """nDCG@10 on labelled sets, where some were given."""
    limits: Limits
    converted: Converted
    """Layers, and sizes of the weights."""
    calibration: str
    """Where the texts came from."""
    samples: int
    """Sequences that were calibrated on."""

    @property
    def usable(self) -> bool:
        """Whether the folder can be opened."""
        return self.accepted or self.forced

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it; a number that is not finite is None."""
        plain = {"format": FORMAT, "precision": "int8", "lagotto": __version__, "cpu": cpu_name()}
        quality = [asdict(item) | {"loss": item.loss} for item in self.quality]
        found: dict[str, Any] = _finite(plain | asdict(self) | {"out": str(self.out), "quality": quality})
        return found


def write_report(path: Path, value: Mapping[str, Any]) -> None:
    """Write a folder's ``quantization.json``; where the folder lies is not part of it."""
    kept = {key: item for key, item in value.items() if key != "out"}
    path.write_text(json.dumps(kept, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
