"""Where an endpoint's API key comes from. It is never shown, logged or kept."""

from __future__ import annotations

import os

from lagotto.core.errors import ConfigError

KEY_VARIABLE = "LAGOTTO_LLM_API_KEY"
"""Environment variable that is read unless another one is named."""


def find_key(key: str | None, variable: str | None) -> str | None:
    """The key that was given, else that of the environment, else None: servers on one's own machine need none.

    Another program's variable (``OPENAI_API_KEY``) is read only where it is named: its key must not go to whatever
    address is configured here. Raises `ConfigError` for a named variable that is not set, and for what is no key.
    """
    if key is not None and variable is not None:
        raise ConfigError("both a key and a variable that holds one were given; give one of them")
    if key is None:
        key = os.environ.get(variable or KEY_VARIABLE)
        if key is None and variable is not None:
            raise ConfigError(f"the environment has no variable {variable!r}, which is to hold the API key; set it")
    if key is not None and (not key or not key.isascii() or not key.isprintable() or " " in key):
        raise ConfigError("the API key is empty or has characters no key has: white space, line ends, or non-ASCII")
    return key
