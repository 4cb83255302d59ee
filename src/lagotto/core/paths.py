"""Where Lagotto keeps what it makes: converted starter models, compiled graphs, file digests."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

CACHE_VARIABLE = "LAGOTTO_CACHE"


def cache_dir(override: str | Path | None = None) -> Path:
    """The cache folder: the argument, else ``$LAGOTTO_CACHE``, else the platform's cache place. Not created here."""
    if override is not None:
        return Path(override).expanduser()
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData/Local")) / "lagotto"
    if sys.platform == "darwin":
        return Path.home() / "Library/Caches/lagotto"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "lagotto"


def write_atomically(path: Path, *parts: bytes | memoryview) -> None:
    """Write a file, its parts one after another, so that no reader ever sees half of it.

    Raises OSError when the folder is not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.writelines(parts)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
