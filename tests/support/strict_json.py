"""JSON as the standard has it: Python's own reader also takes NaN and Infinity."""

from __future__ import annotations

import json
from typing import Any


def strict_json(raw: str | bytes) -> Any:
    """The value of a JSON text."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is no JSON")

    return json.loads(raw, parse_constant=refuse)
