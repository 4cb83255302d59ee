"""`CachedEmbedder`: an embedder that computes only the texts it has not seen; `VectorCache`: where it keeps vectors."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from lagotto import __version__
from lagotto.batch.demand import current
from lagotto.core.arrays import normalize, shorten
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.engines.base import Engine
from lagotto.models.computing import Computing, Wanted
from lagotto.models.embedder import Embedder
from lagotto.models.inputs import checked_texts
from lagotto.models.progress import Progress
from lagotto.models.rendering import Rendering
from lagotto.server.cache_disk import DiskCache
from lagotto.server.cache_memory import MemoryCache
from lagotto.server.record import current_record
from lagotto.server.settings import Settings

_HEAD = struct.Struct("<i?")  # tokens, truncated; the vector's float32 follow


class VectorCache:
    """Memory in front of a file, either of which may be missing. Thread-safe."""

    def __init__(self, memory: MemoryCache | None, disk: DiskCache | None) -> None:
        self.memory = memory
        self.disk = disk
        self.hits = 0
        self.misses = 0

    def get(self, keys: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values of those keys that are in either."""
        found = self.memory.get(keys) if self.memory else {}
        rest = [key for key in keys if key not in found]
        if self.disk and rest:
            more = self.disk.get(rest)
            if self.memory:
                self.memory.put(more)
            found |= more
        self.hits += len(found)
        self.misses += len(keys) - len(found)
        return found

    def put(self, values: dict[bytes, bytes]) -> None:
        """Keep values in both."""
        if self.memory:
            self.memory.put(values)
        if self.disk:
            self.disk.put(values)

    def close(self) -> None:
        """Close the file."""
        if self.disk:
            self.disk.close()


def open_cache(settings: Settings) -> VectorCache | None:
    """The cache of a server's settings; None where there is to be none. Raises `ConfigError` for an unusable file."""
    if not settings.embedding_cache or not (settings.cache_memory_mb or settings.cache_path):
        return None
    memory = MemoryCache(settings.cache_memory_mb << 20) if settings.cache_memory_mb else None
    disk = DiskCache(settings.cache_path, settings.cache_disk_mb << 20) if settings.cache_path else None
    return VectorCache(memory, disk)


class CachedEmbedder(Embedder):
    """An `Embedder` that looks its dense vectors up first; same calls, same values, in the order of the texts.

    The key is a digest of the text and of all that decides its vector: fingerprint and engine of the model, how the
    text is written, its limit, what happens beyond it. Dimensions and normalising are applied to what was kept, so all
    of them share it. Token ids, spans, and outputs other than dense vectors are computed every time.
    """

    def __init__(
        self,
        model: Embedder,
        cache: VectorCache | None,
        wrap: Callable[[Engine], Engine] = lambda engine: engine,
        adapter: str | None = None,
    ) -> None:
        """``adapter``: the one of the model's that is at work in every call."""
        loaded = model._loaded.using(adapter)
        self._loaded = replace(loaded, engine=wrap(loaded.engine))
        self._truncation = model._truncation
        self._computing = Computing(self._loaded)
        self._cache = cache

    def _collect(self, texts: str | Iterable[str], render: Rendering, wanted: Wanted, progress: Progress) -> Embeddings:
        cacheable = set(wanted.outputs or ("dense",)) == {"dense"} and "dense" in self.outputs
        if self._cache is None or not cacheable or current().priority == "probe":  # that asks if the model computes
            return super()._collect(texts, render, wanted, progress)
        self._computing.start(wanted)  # what is wrong with the call is wrong whether or not its texts are known
        given = list(checked_texts(texts))
        whole = _whole(wanted)
        keys = _keys(self._job(render, whole), given)
        found = self._cache.get(list(dict.fromkeys(keys)))
        missing = {key: text for key, text in zip(keys, given, strict=True) if key not in found}
        if missing:
            try:
                new = super()._collect(list(missing.values()), render, whole, progress)
            except InvalidInputError:
                return super()._collect(given, render, wanted, progress)  # names the text by its number among all
            computed = {key: _packed(new, row) for row, key in enumerate(missing)}
            self._cache.put(computed)
            found |= computed
        values = [found[key] for key in keys]
        _note(values, [found[key] for key in missing])
        return self._unpacked(values, wanted, cut_already=whole is wanted)

    def _job(self, render: Rendering, wanted: Wanted) -> bytes:
        """Everything that decides a vector beside the text."""
        job = {
            "model": self.fingerprint_of(wanted.adapter),
            "engine": self.engine.name,
            "render": asdict(render),
            "side": next(role for role, side in self._computing.sides.items() if side is wanted.side),
            "limit": wanted.limit,
            "long": repr(wanted.long),
            "dimensions": wanted.dimensions,
            "normalize": wanted.normalize,
            "version": __version__,
        }
        return json.dumps(job, sort_keys=True).encode()

    def _unpacked(self, values: Sequence[bytes], wanted: Wanted, cut_already: bool) -> Embeddings:
        heads = [_HEAD.unpack_from(value) for value in values]
        width = wanted.dimensions if cut_already and wanted.dimensions else self.engine.output
        rows = [np.frombuffer(value, np.float32, offset=_HEAD.size) for value in values]
        vectors: NDArray[np.float32] = np.stack(rows) if rows else np.zeros((0, width), np.float32)
        if not cut_already:
            vectors = shorten(vectors, wanted.dimensions)
            unit = self.card.normalize if wanted.normalize is None else wanted.normalize
            vectors = normalize(vectors) if unit else vectors
        tokens, truncated = [head[0] for head in heads], [head[1] for head in heads]
        return Embeddings(vectors, np.array(tokens, np.int32), np.array(truncated, np.bool_))


def _note(given: Sequence[bytes], computed: Sequence[bytes]) -> None:
    """Count for the request what was not computed, since it was there or came several times, as if it had been."""
    record = current_record()
    if record is not None:
        record.texts += len(given) - len(computed)
        record.cached += len(given) - len(computed)
        record.tokens += sum(map(_tokens, given)) - sum(map(_tokens, computed))


def _tokens(value: bytes) -> int:
    tokens: int = _HEAD.unpack_from(value)[0]
    return tokens


def _whole(wanted: Wanted) -> Wanted:
    """The same call for whole vectors as they leave the model, where cutting and normalising them later is the same.

    Windows and the like combine vectors that are cut and normalised already.
    """
    return replace(wanted, dimensions=None, normalize=False) if isinstance(wanted.long, str) else wanted


def _keys(job: bytes, texts: Sequence[str]) -> list[bytes]:
    start = hashlib.sha256(job + b"\0")
    keys = []
    for text in texts:
        digest = start.copy()
        digest.update(text.encode("utf-8", "surrogatepass"))
        keys.append(digest.digest())
    return keys


def _packed(found: Embeddings, row: int) -> bytes:
    head = _HEAD.pack(int(found.tokens[row]), bool(found.truncated[row]))
    return head + np.ascontiguousarray(found.dense[row], np.float32).tobytes()
