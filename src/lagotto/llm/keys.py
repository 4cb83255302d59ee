"""Where an endpoint's API key comes from. It is never shown, logged or kept."""

from __future__ import annotations

import os
from pathlib import Path

from lagotto.core.errors import ConfigError

KEY_VARIABLE = "LAGOTTO_LLM_API_KEY"
"""Environment variable that is read unless another one is named."""


def find_key(key: str | None, variable: str | None, file: str | Path | None = None) -> str | None:
    """The key that was given or is in a file, else that of the environment, else None: one's own servers need none.

    Another program's variable (``OPENAI_API_KEY``) is read only where it is named: its key must not go to whatever
    address is configured here. Raises `ConfigError` for a named variable that is not set, a file that
    can't be read, and for what is no key.
    """
    if sum(given is not None for given in (key, variable, file)) > 1:
        raise ConfigError("of a key, a variable that holds one and a file that does, several were given; give one")
    if file is not None:
        key = _read(Path(file))
    if key is None:
        key = os.environ.get(variable or KEY_VARIABLE)
        if key is None and variable is not None:
            raise ConfigError(f"the environment has no variable {variable!r}, which is to hold the API key; set it")
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        raise ConfigError("the API key is empty or has characters no key has: white space, line ends, or non-ASCII")
    return key


def _read(file: Path) -> str:
    """What stands in a file, without the white space around it that editors leave."""
    try:
        return file.expanduser().read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"the API key's file {file} can't be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"the API key's file {file} is not text") from None
