"""`VectorStore`: what models computed, kept on disk under a key of everything that decides it.

A corpus is embedded block by block. Each block's file is named by a digest of the model's fingerprint, how the texts
were written, and the texts themselves: nothing stale can be found under it, an interrupted run goes on behind its last
whole block, and a corpus that grew at its end computes only what is new.

Dense, sparse and multi-vector output have files of their own, so that whatever is missing of a block is computed in one
pass, and what is there is not. Token vectors are large: their files are of fewer texts than the others'.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Generic

import numpy as np
from numpy.typing import NDArray

from lagotto import __version__
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.core.values import Embeddings
from lagotto.evaluation.blocks import (
    DENSE,
    MULTI_VECTOR,
    SPARSE,
    Block,
    Dense,
    Form,
    V,
    read_block,
    read_values,
    write_block,
)
from lagotto.evaluation.instructions import Wording
from lagotto.models.embedder import Embedder
from lagotto.models.pipeline import CHUNK_CHARACTERS
from lagotto.models.reranker import Reranker
from lagotto.models.score_options import ScoreOptions
from lagotto.models.token_outputs import DENSE as DENSE_ALONE
from lagotto.models.token_outputs import OutputName

BLOCK = 4096
"""Texts (or pairs) computed and kept together: 6 MB at 384 dimensions."""
BLOCK_CHARACTERS = 4 * CHUNK_CHARACTERS
PART = 256
"""Texts whose token vectors are kept together."""
PART_CHARACTERS = 100_000
"""About 30,000 tokens of English, 60 MB of token vectors at 1,024 dimensions; of Chinese three times that."""

Done = Callable[[int], None]
"""Is told how many texts or pairs were finished."""


@dataclass(slots=True)
class Stored(Generic[V]):
    """The blocks of one list of texts: where they lie, and sums over them."""

    form: Form[V]
    paths: list[Path] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: float = 0.0
    cached: int = 0
    """How many of the texts were there before."""
    _tokens: list[NDArray[np.int32]] = field(default_factory=list)
    _truncated: list[NDArray[np.bool_]] = field(default_factory=list)

    def __len__(self) -> int:
        return sum(self.sizes)

    @property
    def tokens(self) -> NDArray[np.int32]:
        """(n,) tokens the model saw."""
        return np.concatenate([*self._tokens, np.zeros(0, np.int32)])

    @property
    def truncated(self) -> NDArray[np.bool_]:
        """(n,) whether a part was cut off."""
        return np.concatenate([*self._truncated, np.zeros(0, np.bool_)])

    def blocks(self) -> Iterator[tuple[int, V]]:
        """(place of the first, values) of every block, one at a time."""
        start = 0
        for path, size in zip(self.paths, self.sizes, strict=True):
            yield start, read_values(path, self.form)
            start += size

    def values(self) -> V:
        """Everything in one."""
        return self.form.concatenate([values for _, values in self.blocks()])

    def add(self, path: Path, block: Block[V]) -> None:
        """Take a block that lies there; its values are let go."""
        self.paths.append(path)
        self.sizes.append(len(block))
        self._tokens.append(block.tokens)
        self._truncated.append(block.truncated)
        self.seconds += block.seconds
        self.cached += len(block) * block.cached


@dataclass(slots=True)
class Encoded:
    """What an embedder gave for one list of texts; None for what was not asked for."""

    dense: Stored[Dense] | None = None
    sparse: Stored[SparseVectors] | None = None
    multivector: Stored[MultiVectors] | None = None

    def part(self, output: OutputName) -> Stored[Any]:
        """One of the outputs that were asked for."""
        found: Stored[Any] | None = getattr(self, output)
        assert found is not None  # it was asked for
        return found


class VectorStore:
    """A folder of blocks. Safe for several processes at once: files appear whole, and equal names hold equal content.

    The folder may be deleted between evaluations; what is missing is computed again.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def embed(
        self, embedder: Embedder, texts: Iterable[str], wording: Wording, done: Done | None = None
    ) -> Stored[Dense]:
        """Vectors of texts, full length and normalised by the model's habit; read from the store where they are there.

        Dimensions are cut later, so that all of them share one computation.
        """
        dense = self.encode(embedder, texts, wording, DENSE_ALONE, done).dense
        assert dense is not None  # it was asked for
        return dense

    def encode(
        self,
        embedder: Embedder,
        texts: Iterable[str],
        wording: Wording,
        outputs: Collection[OutputName],
        done: Done | None = None,
    ) -> Encoded:
        """Any of an embedder's outputs for texts, as `embed`; what is missing of a block comes from one pass.

        Raises what the embedder raises for outputs that it does not have.
        """
        found = Encoded(
            Stored(DENSE) if "dense" in outputs else None,
            Stored(SPARSE) if "sparse" in outputs else None,
            Stored(MULTI_VECTOR) if "multivector" in outputs else None,
        )
        work = _Pass(self, embedder, wording, found, done)
        for block in _blocks(texts, len, BLOCK, BLOCK_CHARACTERS):
            work.take(block)
        return found

    def score(
        self,
        reranker: Reranker,
        pairs: Iterable[tuple[str, str]],
        done: Done | None = None,
        *,
        max_windows: int | None = 10,
        options: ScoreOptions | None = None,
    ) -> Stored[Dense]:
        """Logits of (query, document) pairs; read from the store where they are there."""
        asked = {} if options is None else {name: getattr(options, name) for name in options.given()}
        job = _job(reranker, max_windows=max_windows, **({"options": asked} if asked else {}))
        stored = Stored(DENSE)
        for block in _blocks(pairs, lambda pair: len(pair[0]) + len(pair[1]), BLOCK, BLOCK_CHARACTERS):
            path = self.path(job, block)
            found = read_block(path, DENSE)
            if found is None:
                started = time.perf_counter()
                scores = reranker.score(block, max_windows=max_windows, options=options, progress=done or False)
                seconds = time.perf_counter() - started
                found = Block(scores.scores, scores.tokens, scores.truncated, seconds, cached=False)
                write_block(path, found, DENSE)
            elif done is not None:
                done(len(found))
            stored.add(path, found)
        return stored

    def path(self, job: Mapping[str, Any], block: Sequence[Any]) -> Path:
        """Where a block of texts, or of pairs, lies."""
        digest = hashlib.sha256(json.dumps(job, sort_keys=True).encode())
        for item in block:
            for text in (item,) if isinstance(item, str) else item:
                raw = text.encode("utf-8", "surrogatepass")
                digest.update(f"{len(raw)} ".encode())
                digest.update(raw)
        name = digest.hexdigest()
        return self.folder / name[:2] / f"{name}.npz"


@dataclass(slots=True)
class _Place(Generic[V]):
    """Where one output of some texts lies, and what lies there."""

    stored: Stored[V]
    path: Path
    block: Block[V] | None

    def take(self, values: V | None, work: Embeddings, seconds: float) -> None:
        """Keep what was computed."""
        assert values is not None  # it was asked for
        self.block = Block(values, work.tokens, work.truncated, seconds, cached=False)
        write_block(self.path, self.block, self.stored.form)

    def settle(self) -> None:
        """Enter it in the list of blocks, and let its values go."""
        assert self.block is not None  # it was there, or was taken
        self.stored.add(self.path, self.block)


class _Pass:
    """One encoding of a list of texts, block by block, of which only what is missing is computed."""

    def __init__(
        self, store: VectorStore, embedder: Embedder, wording: Wording, found: Encoded, done: Done | None
    ) -> None:
        self._store, self._embedder, self._wording = store, embedder, wording
        self._found, self._done = found, done
        self._job = _job(embedder, wording=asdict(wording))

    def take(self, texts: Sequence[str]) -> None:
        """A block of texts. Token vectors are computed and kept in parts of it."""
        dense = self._place(self._found.dense, self._job, texts)
        sparse = self._place(self._found.sparse, self._job | {"output": "sparse"}, texts)
        missing: set[OutputName] = set()
        if dense is not None and dense.block is None:
            missing.add("dense")
        if sparse is not None and sparse.block is None:
            missing.add("sparse")
        made, seconds = [], 0.0
        for part in [texts] if self._found.multivector is None else _blocks(texts, len, PART, PART_CHARACTERS):
            computed, spent = self._take_part(part, missing)
            if computed is not None:
                made.append(replace(computed, multivector=None))
                seconds += spent
        if missing:
            whole = Embeddings.concatenate(made, 0)
            if dense is not None and dense.block is None:
                dense.take(whole.dense, whole, seconds)
            if sparse is not None and sparse.block is None:
                sparse.take(whole.sparse, whole, seconds)
        for place in (dense, sparse):
            if place is not None:
                place.settle()

    def _take_part(self, texts: Sequence[str], missing: set[OutputName]) -> tuple[Embeddings | None, float]:
        """What was computed for a part of a block, and in how many seconds; None where nothing had to be."""
        vectors = self._place(self._found.multivector, self._job | {"output": "multivector"}, texts)
        wanted: set[OutputName] = set(missing)
        if vectors is not None and vectors.block is None:
            wanted.add("multivector")
        computed, seconds = None, 0.0
        if wanted:
            started = time.perf_counter()
            computed = self._compute(texts, wanted)
            seconds = time.perf_counter() - started
        elif self._done is not None:
            self._done(len(texts))
        if vectors is not None:
            if computed is not None and vectors.block is None:
                vectors.take(computed.multivector, computed, seconds)
            vectors.settle()
        return computed, seconds

    def _place(self, stored: Stored[V] | None, job: Mapping[str, Any], texts: Sequence[str]) -> _Place[V] | None:
        if stored is None:
            return None
        path = self._store.path(job, texts)
        return _Place(stored, path, read_block(path, stored.form))

    def _compute(self, texts: Sequence[str], outputs: Collection[OutputName]) -> Embeddings:
        wording = self._wording
        parts = self._embedder.stream(
            texts,
            role=wording.role,
            prompt=wording.prompt,
            instruction=wording.instruction,
            task=wording.task,
            examples=wording.examples or None,
            outputs=sorted(outputs),
            progress=self._done or False,
        )
        return Embeddings.concatenate(list(parts), 0)


def _job(model: Embedder | Reranker, **call: Any) -> dict[str, Any]:
    """What decides a model's answers beside the texts; the precision is part of the fingerprint."""
    kept = {"model": model.fingerprint, "max_length": model.max_length, "truncation": str(model.truncation)}
    return {**kept, **call, "lagotto": __version__}


def _blocks(items: Iterable[Any], size_of: Callable[[Any], int], most: int, characters: int) -> Iterator[list[Any]]:
    """Up to ``most`` items, fewer when they are long; the same cuts for the same items."""
    block: list[Any] = []
    size = 0
    for item in items:
        block.append(item)
        size += size_of(item)
        if len(block) == most or size >= characters:
            yield block
            block, size = [], 0
    if block:
        yield block
