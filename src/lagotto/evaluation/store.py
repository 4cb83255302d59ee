"""`VectorStore`: what models computed, kept on disk under a key of everything that decides it.

A corpus is embedded block by block. Each block's file is named by a digest of the model's fingerprint, how the texts
were written, and the texts themselves: nothing stale can be found under it, an interrupted run goes on behind its last
whole block, and a corpus that grew at its end computes only what is new.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto import __version__
from lagotto.core.paths import write_atomically
from lagotto.evaluation.instructions import Wording
from lagotto.models.embedder import Embedder
from lagotto.models.pipeline import CHUNK_CHARACTERS
from lagotto.models.reranker import Reranker

logger = logging.getLogger(__name__)

BLOCK = 4096
"""Texts (or pairs) computed and kept together: 6 MB at 384 dimensions."""
_NUMBERS = ("values", "tokens", "truncated", "seconds")

Done = Callable[[int], None]
"""Is told how many texts or pairs were finished."""


@dataclass(frozen=True, slots=True, eq=False)
class Block:
    """Vectors of texts, or scores of pairs, with what computing them took."""

    values: NDArray[np.float32]
    """(n, dimension) vectors, or (n,) logits."""
    tokens: NDArray[np.int32]
    """(n,) tokens the model saw."""
    truncated: NDArray[np.bool_]
    """(n,) whether a part was cut off."""
    seconds: float
    cached: bool

    def __len__(self) -> int:
        return len(self.values)


@dataclass(slots=True)
class Stored:
    """The blocks of one list of texts: where they lie, and sums over them."""

    paths: list[Path]
    sizes: list[int]
    tokens: NDArray[np.int32]
    truncated: NDArray[np.bool_]
    seconds: float
    cached: int
    """How many of the texts were there before."""

    def __len__(self) -> int:
        return sum(self.sizes)

    def blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(place of the first, vectors) of every block, one at a time."""
        start = 0
        for path, size in zip(self.paths, self.sizes, strict=True):
            with np.load(path) as file:
                yield start, file["values"]
            start += size

    def values(self) -> NDArray[np.float32]:
        """Everything in one array."""
        parts = [values for _, values in self.blocks()]
        return np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)


class VectorStore:
    """A folder of blocks. Safe for several processes at once: files appear whole, and equal names hold equal content.

    The folder may be deleted between evaluations; what is missing is computed again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def embed(self, embedder: Embedder, texts: Iterable[str], wording: Wording, done: Done | None = None) -> Stored:
        """Vectors of texts, full length and normalised by the model's habit; read from the store where they are there.

        Dimensions are cut later, so that all of them share one computation.
        """
        job = _job(embedder, wording=asdict(wording))

        def compute(block: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
            parts = list(
                embedder.stream(
                    block,
                    role=wording.role,
                    prompt=wording.prompt,
                    instruction=wording.instruction,
                    progress=done or False,
                )
            )
            return (
                np.concatenate([part.dense for part in parts]),
                np.concatenate([part.tokens for part in parts]),
                np.concatenate([part.truncated for part in parts]),
            )

        return self._collect(job, texts, len, compute, done)

    def score(
        self,
        reranker: Reranker,
        pairs: Iterable[tuple[str, str]],
        done: Done | None = None,
        *,
        max_windows: int | None = 10,
    ) -> Stored:
        """Logits of (query, document) pairs; read from the store where they are there."""
        job = _job(reranker, max_windows=max_windows)

        def compute(
            block: Sequence[tuple[str, str]],
        ) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]:
            found = reranker.score(block, max_windows=max_windows, progress=done or False)
            return found.scores, found.tokens, found.truncated

        return self._collect(job, pairs, lambda pair: len(pair[0]) + len(pair[1]), compute, done)

    def _collect(
        self,
        job: dict[str, Any],
        items: Iterable[Any],
        size_of: Callable[[Any], int],
        compute: Callable[[Sequence[Any]], tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.bool_]]],
        done: Done | None,
    ) -> Stored:
        stored = Stored([], [], np.zeros(0, np.int32), np.zeros(0, np.bool_), 0.0, 0)
        tokens, truncated = [stored.tokens], [stored.truncated]
        for block in _blocks(items, size_of):
            path = self._path(job, block)
            found = _read(path)
            if found is None:
                started = time.perf_counter()
                values, seen, cut = compute(block)
                found = Block(values, seen, cut, time.perf_counter() - started, cached=False)
                _write(path, found)
            elif done is not None:
                done(len(found))
            stored.paths.append(path)
            stored.sizes.append(len(found))
            tokens.append(found.tokens)
            truncated.append(found.truncated)
            stored.seconds += found.seconds
            stored.cached += len(found) * found.cached
        stored.tokens, stored.truncated = np.concatenate(tokens), np.concatenate(truncated)
        return stored

    def _path(self, job: dict[str, Any], block: Sequence[Any]) -> Path:
        digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode())
        for item in block:
            for text in (item,) if isinstance(item, str) else item:
                raw = text.encode("utf-8", "surrogatepass")
                digest.update(f"{len(raw)} ".encode())
                digest.update(raw)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.npz"


def _job(model: Embedder | Reranker, **call: Any) -> dict[str, Any]:
    """What decides a model's answers beside the texts; the precision is part of the fingerprint."""
    kept = {"model": model.fingerprint, "max_length": model.max_length, "truncation": str(model.truncation)}
    return {**kept, **call, "lagotto": __version__}


def _blocks(items: Iterable[Any], size_of: Callable[[Any], int]) -> Iterator[list[Any]]:
    """Up to `BLOCK` items, fewer when they are long; the same cuts for the same items."""
    block: list[Any] = []
    characters = 0
    for item in items:
        block.append(item)
        characters += size_of(item)
        if len(block) == BLOCK or characters >= 4 * CHUNK_CHARACTERS:
            yield block
            block, characters = [], 0
    if block:
        yield block


def _read(path: Path) -> Block | None:
    """A whole block, or None; the archive's own checksums tell a damaged one."""
    try:
        # Opened here, since numpy leaves a file open that turns out to be no archive.
        with path.open("rb") as raw, np.load(raw) as file:
            values, tokens, truncated, seconds = (file[name] for name in _NUMBERS)
    except FileNotFoundError:
        return None
    # RuntimeError: the archive's header says that it is encrypted, or packed in an unknown way.
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zipfile.BadZipFile) as error:
        logger.warning("%s is damaged (%s) and is computed again", path, error)
        return None
    return Block(values, tokens, truncated, float(seconds), cached=True)


def _write(path: Path, block: Block) -> None:
    buffer = io.BytesIO()
    np.savez(
        buffer,
        allow_pickle=False,
        values=block.values,
        tokens=block.tokens,
        truncated=block.truncated,
        seconds=np.float64(block.seconds),
    )
    write_atomically(path, buffer.getbuffer())
