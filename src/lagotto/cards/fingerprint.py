"""Fingerprints: which weights, tokenizer, pooling, prompts and precision made a vector."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterable
from pathlib import Path

from lagotto.core.paths import write_atomically

logger = logging.getLogger(__name__)


def file_digest(path: Path, cache: Path) -> str:
    """sha256 of a file, remembered under its path, size and modification time.

    Hashing 2 GB of weights takes seconds; the memory makes the next start free. A cache that can't be written is
    only slower, so that is logged and not raised.
    """
    stat = path.stat()
    identity = json.dumps([str(path.resolve()), stat.st_size, stat.st_mtime_ns])
    memory = cache / "digests" / hashlib.sha256(identity.encode()).hexdigest()
    try:
        remembered = memory.read_text()
        if len(remembered) == 64:
            return remembered
    except (OSError, UnicodeDecodeError):
        pass  # not hashed yet
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        write_atomically(memory, digest.encode())
    except OSError as error:
        logger.warning("file digests can't be remembered in %s (%s)", os.fspath(memory.parent), error)
    return digest


def fingerprint(files: Iterable[Path], facts: object, cache: Path) -> str:
    """32 hex digits over the files' contents and the JSON of ``facts`` (pooling, prompts, precision ...)."""
    contents = sorted((path.name, file_digest(path, cache)) for path in files)
    text = json.dumps([contents, facts], sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:32]
