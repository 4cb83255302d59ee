"""Where the user's own checkpoints lie, for tests of real weights. The network is never asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lagotto.cards.sources import Places, locate
from lagotto.core.errors import ModelNotFoundError


def _from_environment() -> tuple[Path | None, Path]:
    """The user's folder of models and Hugging Face cache, as the variables name them.

    Read when tests are collected, before the fixtures put the user's settings aside. The rules of the second are those
    of huggingface_hub, which is not imported here, since it would keep the user's settings for all tests.
    """
    store = os.environ.get("LAGOTTO_MODELS")
    home = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    hub = Path(os.environ.get("HF_HOME", home)) / "hub"
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE") or hub
    return Path(store).expanduser() if store else None, Path(cache).expanduser()


STORE, HUB_CACHE = _from_environment()


def real_model(name: str, *, store: Path | None = STORE, hub_cache: Path = HUB_CACHE) -> Path:
    """The folder of a checkpoint that is on this machine; without it the test is skipped, and told how to run."""
    places = Places(cache=Path(), store=store, offline=True, hub="huggingface", hub_cache=hub_cache)
    try:
        return locate(name, places).folder
    except ModelNotFoundError:
        folder = f"{store}/{name}" if store else f"a folder of models named by LAGOTTO_MODELS, as {name} in it"
        pytest.skip(
            f"the weights of {name} are not here; put them into {folder}, "
            f"or into the Hugging Face cache {hub_cache} (`lagotto models pull {name}`)"
        )
