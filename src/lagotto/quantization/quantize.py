"""`quantize`: from a model to a folder of int8 weights that was measured against it."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from lagotto import __version__
from lagotto.batch.sequences import Sequences
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.architectures import NATIVE_ARCHITECTURES
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.quantized import FORMAT, QUANTIZATION_FILE
from lagotto.cards.schema import Head, ModelCard, Task
from lagotto.cards.sources import locate
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.hardware import available_cpus, cpu_name
from lagotto.core.values import Embeddings
from lagotto.evaluation.datasets.open import Data, open_data
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.evaluate import evaluate
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, EncoderLeg, MultiVectorLeg, Rerank, SparseLeg, System
from lagotto.evaluation.progress import Silence, Terminal, Watcher
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options, tokenizer_of
from lagotto.models.opening import task_of
from lagotto.models.reranker import Reranker
from lagotto.quantization.convert import MAX_NOISE, Converted, convert
from lagotto.quantization.gate import Agreement, Limits, Quality, Values, compare_scores, compare_vectors, judge
from lagotto.quantization.texts import LEAST, Pair, Text, sample_pairs, sample_texts

SAMPLES = 256
"""Texts (or pairs) to calibrate on; as many again, if there are so many, to measure the agreement on."""
MAX_TOKENS = 512
"""Tokens of a text that are calibrated on: what goes into a layer hardly depends on where in a text a token stands."""
RERANK_TOP_K = 50
_NDCG = "ndcg@10"
_LEGS: dict[Head, type[EncoderLeg]] = {"dense": DenseLeg, "sparse": SparseLeg, "multi_vector": MultiVectorLeg}


@dataclass(frozen=True, slots=True)
class QuantizationReport:
    """What was made, and how near it is to its original. Also in the folder, as ``quantization.json``."""

    out: Path
    source: str
    """The model it was made from, as it was named."""
    fingerprint: str
    """Of the original in float32."""
    task: Task
    accepted: bool
    """It keeps within the limits."""
    forced: bool
    """It does not, and was wanted all the same."""
    verdict: str
    agreement: Agreement
    quality: tuple[Quality, ...]
    limits: Limits
    converted: Converted
    calibration: str
    samples: int

    @property
    def usable(self) -> bool:
        """Whether the folder can be opened."""
        return self.accepted or self.forced

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        plain = {"format": FORMAT, "precision": "int8", "lagotto": __version__, "cpu": cpu_name()}
        quality = [asdict(item) | {"loss": item.loss} for item in self.quality]
        return plain | asdict(replace(self, out=Path())) | {"out": str(self.out), "quality": quality}


def quantize(
    model: str | Path,
    calibrate: str | Path,
    out: str | Path,
    *,
    evaluate_on: str | Path | Data | Sequence[str | Path | Data] = (),
    samples: int = SAMPLES,
    max_noise: float = MAX_NOISE,
    limits: Limits | None = None,
    force: bool = False,
    options: Options | None = None,
    progress: bool = False,
) -> QuantizationReport:
    """Make the int8 twin of a model in the folder ``out``, for CPUs that multiply int8 in hardware.

    Weights and inputs of the encoder's linear layers become int8; norms, attention, embeddings, heads, and layers that
    would lose too much (``max_noise``), stay as they are. `Embedder` and `Reranker` open the folder like any other.

    - ``calibrate``: texts like those the model will read: a file (JSON Lines, CSV, TSV, Parquet) with ``text`` (and
      ``title``), or ``query`` and ``document``, as a reranker needs; or a retrieval data set's folder. ``samples`` are
      calibrated on, and as many others serve to compare int8 with float32.
    - ``evaluate_on``: labelled retrieval sets (folders, benchmark names) to measure nDCG@10 on, before and after;
      a reranker reorders BM25's best 50 there.
    - ``limits``: what int8 must keep. A folder that does not is written with its report, and can't be opened unless
      ``force`` said so; that is recorded.
    - ``options``: how the model is found and run (``precision`` is not asked for: float32 is compared with int8).

    Raises `InvalidInputError` for a folder that is not empty, too few texts, or a model that is int8 already;
    what opening the model raises; `MissingDependencyError` where ``evaluate_on`` is given without the extra ``eval``.
    """
    chosen, kept, watcher = options or Options(), limits or Limits(), _watcher(progress)
    _check(samples, max_noise)
    target = Path(out).expanduser()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(f"{target} is there already; name a new folder, or remove it first")
    task = task_of(model, chosen)
    sets = _labelled(evaluate_on, chosen, watcher)
    calibration = _Calibration(task, Path(calibrate).expanduser(), samples)
    source = locate(model, chosen.places(), chosen.revision)
    checkpoint = open_checkpoint(source, task, card=chosen.card, pooling=chosen.pooling)
    _check_model(checkpoint)
    tokenizer = tokenizer_of(checkpoint)
    sequences = calibration.sequences(tokenizer, checkpoint.card, min(checkpoint.max_length, MAX_TOKENS))
    inner = checkpoint.folder.relative_to(source.folder)
    threads = chosen.threads or available_cpus()
    with _partial(target) as folder:
        with watcher.stage("calibrate", len(sequences), "text") as done:
            threads = chosen.threads or available_cpus()
            made = convert(
                checkpoint, source.folder, sequences, folder, threads=threads, max_noise=max_noise, done=done
            )
        origin = {"card": None if source.row is None else source.row.name, "pooling": chosen.pooling} | (
            {"card": chosen.card} if chosen.card else {}
        )
        file = folder / inner / QUANTIZATION_FILE
        _write(file, origin | {"format": FORMAT, "precision": "int8", "accepted": True})  # so that the gate can open it
        watcher.say("comparing int8 with float32 on texts that were not calibrated on")
        agreement, fingerprint = calibration.compare(model, folder, chosen)
        quality = tuple(_quality(checkpoint.card, data, model, folder, chosen, watcher) for data in sets)
        accepted, verdict = judge(agreement, quality, kept)
        report = QuantizationReport(
            out=target,
            source=str(model),
            fingerprint=fingerprint,
            task=task,
            accepted=accepted,
            forced=force and not accepted,
            verdict=verdict,
            agreement=agreement,
            quality=quality,
            limits=kept,
            converted=made,
            calibration=str(calibrate),
            samples=len(sequences),
        )
        _write(file, origin | report.to_dict())
        folder.rename(target)
    return report


class _Calibration:
    """The texts (or pairs) of a call: some to calibrate on, others to compare by."""

    def __init__(self, task: Task, source: Path, samples: int) -> None:
        self._task = task
        found: list[Text] | list[Pair] = (sample_texts if task == "embed" else sample_pairs)(source, 2 * samples)
        own = min(samples, len(found) - LEAST // 2)
        self._used: Any = found[:own]
        self._others: Any = found[own:]

    def sequences(self, tokenizer: Tokenizer, card: ModelCard, limit: int) -> Sequences:
        """What to calibrate on, as the model reads it."""
        if self._task == "rerank":
            return tokenizer.encode_pairs(self._used, limit)
        sides = {"query": card.query, "document": card.document}
        return tokenizer.encode([sides[item.role].render(item.text) for item in self._used], limit)

    def compare(self, model: str | Path, int8: Path, options: Options) -> tuple[Agreement, str]:
        """How near the two are, and the original's fingerprint. One model is open at a time."""
        compute = self._vectors if self._task == "embed" else self._scores
        original, fingerprint = compute(model, replace(options, precision="f32"))
        found, _ = compute(int8, replace(options, precision="int8", revision=None))
        compared = compare_vectors if original.ndim == 2 else compare_scores
        return compared(original, found), fingerprint

    def _vectors(self, model: str | Path, options: Options) -> tuple[Values, str]:
        """(texts, dimension) dense vectors; of a model without them (pairs,) similarities of different texts."""
        queries = [item.text for item in self._others if item.role == "query"]
        documents = [item.text for item in self._others if item.role == "document"]
        with Embedder(model, **asdict(options)) as embedder:
            found = Embeddings.concatenate(
                [embedder.encode_queries(queries), embedder.encode_documents(documents)], embedder.engine.output
            )
            if "dense" in embedder.outputs:
                return found.dense, embedder.fingerprint
            return embedder.similarity(found, found)[np.triu_indices(len(found), 1)], embedder.fingerprint

    def _scores(self, model: str | Path, options: Options) -> tuple[Values, str]:
        keywords = asdict(options)
        del keywords["pooling"]
        with Reranker(model, **keywords) as ranker:
            return ranker.score(self._others).scores, ranker.fingerprint


def _check(samples: int, max_noise: float) -> None:
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < LEAST:
        raise InvalidInputError(f"samples is {samples!r}; give a number of at least {LEAST}")
    if not 0 <= max_noise <= 1:
        raise InvalidInputError(f"max_noise is {max_noise!r}; allowed are 0 (nothing is int8) to 1")


def _check_model(checkpoint: Checkpoint) -> None:
    """Raise `InvalidInputError` for int8 weights, `UnsupportedModelError` for what int8 is not made of."""
    name = checkpoint.name
    if checkpoint.quantized is not None:
        raise InvalidInputError(f"{name} holds int8 weights already; name the model it was made from")
    if checkpoint.config.architecture not in NATIVE_ARCHITECTURES:
        raise UnsupportedModelError(
            f"{name}: int8 is made of {' and '.join(NATIVE_ARCHITECTURES)} encoders, not of "
            f"{checkpoint.config.architecture!r}"
        )


def _labelled(
    names: str | Path | Data | Sequence[str | Path | Data], options: Options, watcher: Watcher
) -> tuple[RetrievalData, ...]:
    listed = [names] if isinstance(names, str | Path | Data) else list(names)
    if not listed:
        return ()
    sets = open_data(listed, cache=options.cache_dir, offline=options.offline, say=watcher.say)
    found = []
    for data in sets:
        if not isinstance(data, RetrievalData) or not data.qrels:
            raise InvalidInputError(
                f"{data.name} has no judgements of retrieval; nDCG@10 needs a labelled retrieval set"
            )
        found.append(data)
    return tuple(found)


def _quality(
    card: ModelCard, data: RetrievalData, model: str | Path, int8: Path, options: Options, watcher: Watcher
) -> Quality:
    """nDCG@10 of both on a labelled set."""
    systems = [
        _system(card, "original", str(model), "f32", options),
        _system(card, "int8", str(int8), "int8", replace(options, revision=None)),
    ]
    report = evaluate(
        data, pipeline=systems, measures=[_NDCG], options=options, progress=not isinstance(watcher, Silence)
    )
    values = report.values(_NDCG)
    return Quality(data.name, values["original", data.name], values["int8", data.name])


def _system(card: ModelCard, name: str, model: str, precision: str, options: Options) -> System:
    told: dict[str, Any] = {"precision": precision, "revision": options.revision, "card": options.card}
    if card.task == "embed":
        return System(name, (_LEGS[card.heads[0]](model, pooling=options.pooling, **told),), top_k=100)
    return System(name, (Bm25Leg(),), rerank=Rerank(model, RERANK_TOP_K, **told), top_k=100)


def _watcher(progress: bool) -> Watcher:
    return Terminal() if progress else Silence()


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A folder beside the target that is gone afterwards, whatever happened, unless it became the target."""
    folder = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
    folder.mkdir(parents=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
