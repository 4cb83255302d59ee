"""Compiled graphs on disk: read and checked, written, and swept so that they stay within a size."""

from __future__ import annotations

import hashlib
import logging
import os
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import ConfigError
from lagotto.core.paths import write_atomically

logger = logging.getLogger(__name__)

LIMIT_VARIABLE = "LAGOTTO_COMPILED_CACHE_GB"
DEFAULT_LIMIT_GB = 16.0
"""Room for BGE-M3 in every precision several times over."""
_DIGEST = hashlib.sha256().digest_size
_ABANDONED_SECONDS = 24 * 3600
"""A half-written file this old belongs to a process that was killed."""


def limit_bytes() -> int:
    """What all compiled graphs together may take, from ``$LAGOTTO_COMPILED_CACHE_GB``; 0 keeps none.

    Raises `ConfigError` for what is not a number of gigabytes.
    """
    given = os.environ.get(LIMIT_VARIABLE) or DEFAULT_LIMIT_GB
    try:
        gigabytes = float(given)
        return int(gigabytes * 1e9) if gigabytes >= 0 else _refuse(given)
    except (ValueError, OverflowError):
        return _refuse(given)


def _refuse(given: object) -> int:
    raise ConfigError(f"{LIMIT_VARIABLE} is {given!r}; give a number of gigabytes, 0 to keep no compiled graphs")


def read(path: Path) -> NDArray[np.uint8] | None:
    """The blob, mapped and checked, and noted as used; the file's last bytes are its digest. None: make it anew."""
    try:
        if path.stat().st_size <= _DIGEST:
            raise ValueError("it is empty")
        data = np.memmap(path, np.uint8, mode="c")  # OpenVINO wants writable memory; copy-on-write keeps the file
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("compiled graph %s can't be read and is made anew (%s)", path, error)
        return None
    blob, digest = data[:-_DIGEST], data[-_DIGEST:]
    if hashlib.sha256(blob.data).digest() == digest.tobytes():
        _note_use(path)
        return blob
    logger.warning("compiled graph %s is damaged and is made anew", path)
    return None


def write(path: Path, blob: memoryview) -> None:
    """Keep a blob, and let go of those that were not used for longest where the folder grows beyond its limit.

    A folder that can't be written is logged, and costs only time.
    """
    limit = limit_bytes()
    if len(blob) + _DIGEST > limit:
        return
    try:
        write_atomically(path, blob, hashlib.sha256(blob).digest())
        _sweep(path, limit)
    except OSError as error:
        logger.warning("compiled graphs can't be kept in %s (%s)", path.parent, error)


def _note_use(path: Path) -> None:
    try:
        os.utime(path)
    except OSError:
        logger.debug("%s belongs to someone else; its use is not noted", path)


def _sweep(newest: Path, limit: int) -> None:
    """Remove half-written files of the dead, then the least recently used, never the one just written.

    Another process may sweep too, and one that has a file open goes on with it.
    """
    files = {path: path.stat() for path in newest.parent.iterdir() if path.is_file()}
    for path in [path for path in files if path.suffix != ".blob"]:
        if time.time() - files.pop(path).st_mtime > _ABANDONED_SECONDS:
            path.unlink(missing_ok=True)
    total = sum(stat.st_size for stat in files.values())
    for path, stat in sorted(files.items(), key=lambda item: item[1].st_mtime):
        if total <= limit:
            return
        if path != newest:
            path.unlink(missing_ok=True)
            total -= stat.st_size
            logger.info("removed compiled graph %s: together they took more than %.1f GB", path, limit / 1e9)
