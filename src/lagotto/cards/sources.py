"""Where a model's files come from: a folder, a starter package, a local store of models, or a hub."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lagotto.cards import hubs
from lagotto.cards.registry import find_card, suggest
from lagotto.cards.schema import ModelCard, Task
from lagotto.cards.starter import ensure_starter
from lagotto.cards.starter_models import STARTERS
from lagotto.core.errors import InvalidInputError, ModelNotFoundError

STORE_VARIABLE = "LAGOTTO_MODELS"
HUB_VARIABLE = "LAGOTTO_HUB"
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True, slots=True)
class Source:
    """A model's files on this machine."""

    name: str
    """As a user would name it again: folder, ``starter:NAME`` or ``ORG/NAME[@REVISION]``."""
    folder: Path
    row: ModelCard | None
    """The listed card, where the name is a listed one."""
    reranker: ModelCard | None = None
    """How it scores pairs, where a model that embeds can do that too."""

    def card_for(self, task: Task) -> ModelCard | None:
        """The card that is known for a task."""
        return self.reranker if task == "rerank" and self.reranker is not None else self.row


@dataclass(frozen=True, slots=True)
class Places:
    """Where to look, and whether connections may be made."""

    cache: Path
    store: Path | None = None
    """Folder of downloaded models, looked at before any hub: ``store/ORG/NAME`` or ``store/NAME``."""
    offline: bool = False
    hub: str = ""
    """``huggingface`` or ``modelscope``; empty means ``$LAGOTTO_HUB``, else Hugging Face."""
    hub_cache: Path | None = None
    """Folder for the hub's downloads instead of its own cache."""

    def store_folder(self) -> Path | None:
        """The store: the given one, else ``$LAGOTTO_MODELS``."""
        chosen = self.store or os.environ.get(STORE_VARIABLE)
        return Path(chosen).expanduser() if chosen else None


def locate(
    name: str | Path, places: Places, revision: str | None = None, say: Callable[[str], None] | None = None
) -> Source:
    """Find or fetch a model by name.

    ``name`` is a folder, ``starter:NAME``, ``modelscope:ORG/NAME`` or a hub id ``ORG/NAME``, the last two with an
    optional ``@REVISION``. Raises `ModelNotFoundError` saying where it looked.
    """
    text = os.fspath(name)
    if not text.strip() or "\0" in text:
        raise InvalidInputError(f"model name {text!r} is empty or not a name; give a folder, a hub id or starter:NAME")
    if text.startswith("starter:"):
        return _starter(text.removeprefix("starter:"), places, say)
    folder = Path(text).expanduser()
    if folder.is_dir():
        return Source(text, folder, row=None)
    hub, _, rest = text.rpartition(":")
    repo, _, pinned = rest.partition("@")
    if isinstance(name, Path) or not _HUB_ID.fullmatch(repo) or text.startswith((".", "/", "~")):
        raise ModelNotFoundError(_not_found(text))
    revision = revision or pinned or None
    row = find_card(repo)
    if revision is None and (stored := _in_store(repo, places)):
        return Source(repo, stored, row)
    chosen = hub or places.hub or os.environ.get(HUB_VARIABLE) or "huggingface"
    found = hubs.fetch(chosen, row.name if row else repo, revision, places.offline, places.hub_cache)
    return Source(f"{repo}@{revision}" if revision else repo, found, row)


def _starter(name: str, places: Places, say: Callable[[str], None] | None) -> Source:
    if name not in STARTERS:
        raise ModelNotFoundError(f"no starter model {name!r}; there are {', '.join(sorted(STARTERS))}")
    folder = ensure_starter(name, places.cache, progress=say)
    starter = STARTERS[name]
    return Source(f"starter:{name}", folder, starter.model_card(), starter.reranker)


def _in_store(repo: str, places: Places) -> Path | None:
    store = places.store_folder()
    if store is None:
        return None
    candidates = (store / repo, store / repo.partition("/")[2])
    return next((path for path in candidates if (path / "config.json").is_file()), None)


def _not_found(text: str) -> str:
    close = suggest(text)
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"{text!r} is no folder here, no hub id (ORG/NAME) and no starter model (starter:NAME){hint}"
