"""Where Lagotto keeps what it makes: converted starter models, compiled graphs, file digests."""

from __future__ import annotations

import os
import secrets
import sys
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
    # Not tempfile: its files can be read by their owner alone, and these keep their permissions when they are moved.
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}")
    try:
        with temporary.open("xb") as file:
            file.writelines(parts)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
