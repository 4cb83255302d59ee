"""A server that has a model called ``judge``, a language model elsewhere."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from starlette.testclient import TestClient

from lagotto.server.app import create_app
from lagotto.server.settings import load_settings

Serve = Callable[..., contextlib.AbstractContextManager[TestClient]]


def write_settings(file: Path, table: dict[str, Any], before: str = "", model: str = "") -> Path:
    """A settings file with such an ``llm`` table; ``before`` is above its ``[[model]]``, ``model`` in it."""
    lines = [f"{name} = {_toml(value)}" for name, value in table.items()]
    file.write_text("\n".join([before, '[[model]]\nname = "judge"', model, "[model.llm]", *lines, ""]))
    return file


def _toml(value: Any) -> str:
    """A value as TOML has it: as JSON does, tables apart."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name} = {_toml(inner)}" for name, inner in value.items()) + "}"
    return json.dumps(value)


@contextlib.contextmanager
def serving(file: Path, **flags: Any) -> Iterator[TestClient]:
    """A client of a server with the settings of a file."""
    settings = load_settings(file, **{"precision": "f32", "threads": 1} | flags)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client
