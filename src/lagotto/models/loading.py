"""From a name to a model that can compute: find the files, understand them, start an engine."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lagotto.batch.long_texts import Truncation
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.checkpoint import Checkpoint, check_listed, check_pooling, open_checkpoint
from lagotto.cards.schema import Pooling, Task
from lagotto.cards.sources import Places, locate
from lagotto.core.errors import InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.core.hardware import available_cpus
from lagotto.core.paths import cache_dir
from lagotto.engines.base import Engine, check_precision


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is found and run; the keyword arguments of `Embedder` and `Reranker`."""

    device: str = "auto"
    precision: str = "auto"
    threads: int | None = None
    max_length: int | None = None
    truncation: Truncation = "right"
    revision: str | None = None
    card: str | None = None
    pooling: Pooling | None = None
    cache_dir: str | Path | None = None
    models_dir: str | Path | None = None
    offline: bool = False
    hub: str | None = None
    hub_cache_dir: str | Path | None = None

    def places(self) -> Places:
        """Where to look for models."""
        store = None if self.models_dir is None else Path(self.models_dir).expanduser()
        hub_cache = None if self.hub_cache_dir is None else Path(self.hub_cache_dir).expanduser()
        return Places(cache_dir(self.cache_dir), store, self.offline, self.hub or "", hub_cache)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to compute."""

    checkpoint: Checkpoint
    tokenizer: Tokenizer
    engine: Engine
    max_length: int
    fingerprint: str

    def limit(self, max_length: int | None) -> int:
        """The length to use for a call. Raises `InvalidInputError` for one the model does not allow."""
        return self.max_length if max_length is None else _check_length(max_length, self.checkpoint)

    def describe(self) -> str:
        """Length, engine, device, precision and threads, for a repr."""
        info = self.engine.info
        return f"{self.max_length} tokens, {info.name} {info.device} {info.precision}, {info.threads} threads"


def resolve(
    name: str | Path,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    models_dir: str | Path | None = None,
    offline: bool = False,
    hub: str | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """The folder of a model's files on this machine, fetched or converted if need be.

    Takes what `Embedder` takes: a folder, ``ORG/NAME[@REVISION]`` or ``starter:NAME``. Raises `ModelNotFoundError`.
    """
    options = Options(revision=revision, cache_dir=cache_dir, models_dir=models_dir, offline=offline, hub=hub)
    return locate(name, options.places(), revision, say).folder


def load(name: str | Path, task: Task, options: Options) -> Loaded:
    """Open a model for a task. Raises what `locate`, `open_checkpoint` and the engine raise."""
    if options.device not in ("auto", "cpu"):
        raise UnsupportedModelError(f"device {options.device!r} is not run by this version; 'cpu' (or 'auto') is")
    check_precision(options.precision)
    threads = _threads(options.threads)
    check_pooling(options.pooling)
    check_listed(os.fspath(name), task, options.card)
    places = options.places()
    source = locate(name, places, options.revision)
    checkpoint = open_checkpoint(source, task, card=options.card, pooling=options.pooling)
    limit = checkpoint.max_length if options.max_length is None else _check_length(options.max_length, checkpoint)
    tokenizer = tokenizer_of(checkpoint)
    engine, fingerprint = _open_engine(checkpoint, options.precision, threads, places.cache)
    return Loaded(checkpoint, tokenizer, engine, limit, fingerprint)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """A checkpoint's own tokenizer."""
    config = checkpoint.config
    return Tokenizer(
        checkpoint.folder / "tokenizer.json",
        config.pad_token_id,
        vocab_size=config.vocab_size,
        lowercase=checkpoint.lowercase,
    )


def _open_engine(checkpoint: Checkpoint, precision: str, threads: int, cache: Path) -> tuple[Engine, str]:
    """The one place that chooses an engine."""
    try:
        from lagotto.engines.openvino.engine import OpenVinoEngine, choose_precision
    except ImportError as error:
        raise MissingDependencyError(f"the CPU engine needs openvino ({error}): pip install openvino") from None
    chosen = choose_precision(precision, checkpoint)
    fingerprint = checkpoint.fingerprint(chosen, cache)
    return OpenVinoEngine(checkpoint, chosen, threads, cache, fingerprint), fingerprint


def _threads(asked: int | None) -> int:
    if asked is None:
        return available_cpus()
    if isinstance(asked, bool) or not isinstance(asked, int) or asked < 1:
        raise InvalidInputError(
            f"threads is {asked!r}; give a number of at least 1, or None for all this machine allows"
        )
    return asked


def _check_length(max_length: int, checkpoint: Checkpoint) -> int:
    allowed = checkpoint.max_length
    if isinstance(max_length, bool) or not isinstance(max_length, int) or not 1 <= max_length <= allowed:
        raise InvalidInputError(f"max_length is {max_length!r}; {checkpoint.name} allows 1 to {allowed} tokens")
    return max_length
