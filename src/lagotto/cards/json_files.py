"""JSON files of a checkpoint folder, with errors that name the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lagotto.core.errors import CheckpointError, ModelNotFoundError


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises `ModelNotFoundError` without it, `CheckpointError` when it is not one."""
    value = _parse(path)
    if not isinstance(value, dict):
        raise CheckpointError(f"{path}: holds a {type(value).__name__}, expected a JSON object")
    return value


def optional_json(path: Path) -> dict[str, Any]:
    """As `read_json`, empty where there is no such file."""
    return read_json(path) if path.is_file() else {}


def read_json_list(path: Path) -> list[dict[str, Any]]:
    """A JSON list of objects. Raises as `read_json` does."""
    value = _parse(path)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise CheckpointError(f"{path}: expected a list of objects")
    return value


def _parse(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelNotFoundError(f"{path.name} is missing in {path.parent}; a checkpoint folder holds one") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CheckpointError(f"{path}: can't be read as JSON ({error})") from None
