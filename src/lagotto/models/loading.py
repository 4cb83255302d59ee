"""From a name to a model that can compute: find the files, understand them, start an engine."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, get_args

from lagotto.batch.long_texts import Truncation
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.architectures import LARGEST_NATIVE_DECODER, NATIVE_ARCHITECTURES, NATIVE_DECODERS, EngineName
from lagotto.cards.checkpoint import Checkpoint, check_listed, check_pooling, open_checkpoint
from lagotto.cards.schema import Pooling, Task
from lagotto.cards.sources import Places, locate
from lagotto.core.errors import (
    InvalidInputError,
    MissingDependencyError,
    UnsupportedModelError,
)
from lagotto.core.hardware import available_cpus
from lagotto.core.paths import cache_dir
from lagotto.engines.adapting import AdaptedEngine
from lagotto.engines.base import Device, Engine, check_precision
from lagotto.engines.devices import parse_devices
from lagotto.engines.low_bits import check_combination, check_weights, require_package
from lagotto.models.ending import with_end
from lagotto.models.finding import find_adapters, find_source

EngineChoice = Literal["auto", "openvino", "torch"]
"""What ``engine=`` takes: ``auto`` is openvino for BERT and XLM-RoBERTa on the CPU, torch for everything else."""


_EMBEDDERS_ALONE = ("pooling", "compat")


@dataclass(frozen=True, slots=True)
class Options:
    """How a model is found and run; the keyword arguments of `Embedder` and `Reranker`."""

    engine: EngineChoice = "auto"
    device: Device = "auto"
    precision: str = "auto"
    weights: str = "full"
    threads: int | None = None
    max_length: int | None = None
    truncation: Truncation = "right"
    revision: str | None = None
    card: str | None = None
    pooling: Pooling | None = None
    compat: bool = False
    adapter: str | Path | None = None
    adapters: Mapping[str, str | Path] | None = None
    cache_dir: str | Path | None = None
    models_dir: str | Path | None = None
    offline: bool = False
    hub: str | None = None
    hub_cache_dir: str | Path | None = None

    def for_reranker(self) -> dict[str, Any]:
        """The keyword arguments of `Reranker`: without those that only an embedder has.

        Raises `InvalidInputError` where one of those is given, which would be left out.
        """
        if self.pooling is not None:
            raise InvalidInputError(f"pooling is {self.pooling!r}, and a reranker has no vectors to pool; leave it out")
        if self.compat:
            raise InvalidInputError("compat is for queries of bge-en-icl; a reranker's is one of its ScoreOptions")
        return {name: value for name, value in asdict(self).items() if name not in _EMBEDDERS_ALONE}

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
    adapters: Mapping[str, str] = field(default_factory=dict)
    """Names of live adapters, and the fingerprint of what is computed with each."""

    def using(self, adapter: str | None) -> Loaded:
        """The same model with one of its live adapters at work; itself for None.

        Raises `InvalidInputError` for one it has not.
        """
        if adapter is None:
            return self
        if adapter not in self.adapters:
            known = ", ".join(self.adapters) or "none; open it with adapters={name: folder}"
            raise InvalidInputError(f"adapter is {adapter!r}; {self.checkpoint.name} has {known}", param="adapter")
        engine, fingerprint = AdaptedEngine(self.engine, adapter), self.adapters[adapter]
        return replace(self, engine=engine, fingerprint=fingerprint, adapters={})

    def limit(self, max_length: int | None) -> int:
        """The length to use for a call. Raises `InvalidInputError` for one the model does not allow."""
        return self.max_length if max_length is None else _check_length(max_length, self.checkpoint)

    def describe(self) -> str:
        """Length, engine, device, precision and threads, for a repr."""
        info = self.engine.info
        return f"{self.max_length} tokens, {info.name} {info.device} {info.arithmetic}, {info.threads} threads"


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
    devices = parse_devices(options.device)
    _check_engine(options.engine, devices)
    check_precision(options.precision)
    require_package(check_weights(options.weights))
    threads = _threads(options.threads)
    check_pooling(options.pooling)
    check_listed(os.fspath(name), task, options.card)
    places = options.places()
    source, adapter = find_source(name, options, places)
    live = find_adapters(options, places, adapter)
    understood = open_checkpoint(source, task, card=options.card, pooling=options.pooling, adapter=adapter)
    checkpoint = replace(understood, adapters=live)
    if options.compat and task == "embed":
        checkpoint = _compatible(checkpoint)
    limit = checkpoint.usual_length if options.max_length is None else _check_length(options.max_length, checkpoint)
    tokenizer = with_end(checkpoint, tokenizer_of(checkpoint))
    engine, fingerprint = _open_engine(checkpoint, options, devices, threads, places.cache)
    apart = f"torch {engine.info.arithmetic} live"  # near what the merged model gives, and not the same bits
    prints = {key: replace(checkpoint, adapter=one).fingerprint(apart, places.cache) for key, one in live}
    return Loaded(checkpoint, tokenizer, engine, limit, fingerprint, prints)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """A checkpoint's own tokenizer."""
    config = checkpoint.config
    return Tokenizer(
        checkpoint.folder / "tokenizer.json",
        config.pad_token_id,
        vocab_size=config.vocab_size,
        lowercase=checkpoint.lowercase,
    )


def _open_engine(
    checkpoint: Checkpoint, options: Options, devices: tuple[str, ...], threads: int, cache: Path
) -> tuple[Engine, str]:
    """The one place that chooses an engine; gives it and the fingerprint of what it computes."""
    adapted = checkpoint.adapter is not None or bool(checkpoint.adapters)
    if adapted and options.engine == "openvino":
        raise UnsupportedModelError("engine 'openvino' takes no adapters; pass engine='torch'")
    if options.weights != "full" and options.engine == "openvino":
        raise UnsupportedModelError(
            f"engine 'openvino' keeps no weights in {options.weights}; pass engine='torch', or make an int8 folder by "
            "`lagotto quantize`"
        )
    engine = "torch" if adapted or options.weights != "full" else options.engine
    if _chosen(engine, checkpoint, devices) == "openvino":
        return _open_openvino(checkpoint, options.precision, threads, cache)
    if checkpoint.quantized is not None or options.precision == "int8":
        raise UnsupportedModelError(
            f"{checkpoint.name}: int8 weights are run on the CPU by engine 'openvino' alone, for BERT and XLM-RoBERTa"
        )
    if "dense" not in checkpoint.card.heads and checkpoint.card.task == "embed":
        raise UnsupportedModelError(
            f"{checkpoint.name}: SPLADE and ColBERT models are run on the CPU by engine 'openvino' alone, shaped as "
            "BERT and XLM-RoBERTa"
        )
    # The choice of a GPU is left to torch only where torch was asked for: nobody is moved off the CPU unawares.
    wanted = devices if options.engine == "torch" or devices != ("auto",) else ("cpu",)
    return _open_torch(checkpoint, options, wanted, threads, cache)


def _chosen(engine: EngineChoice, checkpoint: Checkpoint, devices: tuple[str, ...]) -> EngineName:
    if engine == "openvino" and not checkpoint.native:
        known = ", ".join((*NATIVE_ARCHITECTURES, *NATIVE_DECODERS))
        raise UnsupportedModelError(
            f"engine 'openvino' runs {known} (the last {len(NATIVE_DECODERS)} in their plain form); pass "
            f"engine='torch' for {checkpoint.name}, a {checkpoint.config.architecture}"
        )
    if engine != "auto":
        return engine
    small = checkpoint.decoder is None or checkpoint.decoder.parameters <= LARGEST_NATIVE_DECODER
    return "openvino" if checkpoint.native and small and devices in (("auto",), ("cpu",)) else "torch"


def _open_openvino(checkpoint: Checkpoint, precision: str, threads: int, cache: Path) -> tuple[Engine, str]:
    try:
        from lagotto.engines.openvino.engine import OpenVinoEngine, choose_precision
    except ImportError as error:
        raise MissingDependencyError(f"the CPU engine needs openvino ({error}): pip install openvino") from None
    if precision == "f16":
        raise UnsupportedModelError("precision 'f16' is not run by engine 'openvino'; pass 'bf16', or engine='torch'")
    chosen = choose_precision(precision, checkpoint)
    fingerprint = checkpoint.fingerprint(chosen, cache)
    return OpenVinoEngine(checkpoint, chosen, threads, cache, fingerprint), fingerprint


def _require_torch() -> None:
    """Raise `MissingDependencyError` unless the packages of the torch extra are installed. Imports nothing."""
    missing = [name for name in ("torch", "transformers") if find_spec(name) is None]
    if missing:
        raise MissingDependencyError(f'the torch engine needs {" and ".join(missing)}: pip install "lagotto[torch]"')


def _open_torch(
    checkpoint: Checkpoint, options: Options, devices: tuple[str, ...], threads: int, cache: Path
) -> tuple[Engine, str]:
    _require_torch()
    from lagotto.engines.torch.devices import choose_devices, choose_precision
    from lagotto.engines.torch.engine import open_engine

    places = choose_devices(devices)
    chosen, weights = choose_precision(options.precision, places[0]), check_weights(options.weights)
    for place in places:
        check_combination(weights, place, chosen)
    engine = open_engine(checkpoint, places, chosen, threads, weights)
    return engine, checkpoint.fingerprint(f"torch {engine.info.arithmetic}", cache)


def _check_engine(engine: str, devices: tuple[str, ...]) -> None:
    """Refuse what can be refused before gigabytes are fetched."""
    if engine not in get_args(EngineChoice):
        raise InvalidInputError(f"engine is {engine!r}; allowed are {', '.join(get_args(EngineChoice))}")
    if engine == "openvino" and devices not in (("auto",), ("cpu",)):
        raise UnsupportedModelError(
            f"engine 'openvino' computes on the CPU, device is {','.join(devices)!r}; pass engine='torch', or "
            "device='cpu'"
        )
    if engine == "torch" or devices not in (("auto",), ("cpu",)):
        _require_torch()


def _compatible(checkpoint: Checkpoint) -> Checkpoint:
    """Its queries put together as FlagEmbedding does it, which is another model to the fingerprint."""
    card = checkpoint.card
    if "example_format" not in card.options:
        raise InvalidInputError(
            f"compat is for bge-en-icl, whose long queries FlagEmbedding cuts otherwise; {checkpoint.name} has one way "
            "only, leave it out"
        )
    return replace(checkpoint, card=card.with_changes(options={**card.options, "joining": "round_trip"}))


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
        raise InvalidInputError(f"max_length is {max_length!r}; this model allows 1 to {allowed} tokens")
    return max_length
