"""`quantize`: from a model to a folder of int8 weights that was measured against it."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from lagotto.cards.architectures import NATIVE_ARCHITECTURES
from lagotto.cards.card_file import is_card_file
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.quantized import FORMAT, QUANTIZATION_FILE, UNMEASURED
from lagotto.cards.registry import find_card
from lagotto.cards.sources import Source, locate
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.core.hardware import INT8_INSTRUCTIONS, available_cpus, supports_int8
from lagotto.evaluation.progress import Silence, Terminal, Watcher
from lagotto.models.loading import Options, tokenizer_of
from lagotto.models.opening import task_of
from lagotto.quantization.calibration import Calibration, read_calibration
from lagotto.quantization.convert import MAX_NOISE, Converted, convert
from lagotto.quantization.gate import Limits, judge
from lagotto.quantization.labelled import DataNames, measure, open_labelled
from lagotto.quantization.report import QuantizationReport, write_report
from lagotto.quantization.texts import LEAST

SAMPLES = 256
"""Texts (or pairs) to calibrate on; as many again, if there are so many, to measure the agreement on."""
MAX_TOKENS = 512
"""Tokens of a text that are calibrated on: what goes into a layer hardly depends on where in a text a token stands."""


def quantize(
    model: str | Path,
    calibrate: str | Path,
    out: str | Path,
    *,
    evaluate_on: DataNames = (),
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
      ``title``), or ``query`` and ``document``, as a reranker needs; a text file of one text a line; or a retrieval
      data set's folder. ``samples`` are calibrated on, and as many others serve to compare int8 with float32.
    - ``evaluate_on``: labelled retrieval sets (folders, benchmark names) to measure nDCG@10 on, before and after;
      a reranker reorders BM25's best 50 there.
    - ``limits``: what int8 must keep. A folder that does not is written with its report, and can't be opened unless
      ``force`` said so; that is recorded, and logged whenever the folder is opened.
    - ``options``: how the model is found and run. Its precision stays ``"auto"``: float32 is compared with int8.

    The same model, texts and processor give the same bytes. Nothing is left of a call that fails or is interrupted.

    Raises `InvalidInputError` for a folder that is not empty or lies inside the model's, too few texts, or a model that
    is int8 already; `UnsupportedModelError` for a CPU without int8 instructions; what opening the model raises;
    `MissingDependencyError` where ``evaluate_on`` is given without the extra ``eval``.
    """
    chosen, kept = options or Options(), limits or Limits()
    watcher: Watcher = Terminal() if progress else Silence()
    _check(samples, max_noise, chosen)
    target = _new_folder(Path(out))
    task = task_of(model, chosen)
    source = locate(model, chosen.places(), chosen.revision)
    checkpoint = open_checkpoint(source, task, card=chosen.card, pooling=chosen.pooling)
    _check_source(checkpoint, source, target)
    calibration = read_calibration(task, Path(calibrate).expanduser(), samples)
    sets = open_labelled(evaluate_on, chosen, watcher)
    exact, rough = replace(chosen, precision="f32"), replace(chosen, precision="int8", revision=None)
    with _partial(target) as folder:
        watcher.say("computing in float32 what int8 will be compared with")
        original, fingerprint = calibration.values(model, exact)
        if not np.isfinite(original).all():
            raise CheckpointError(f"{checkpoint.name} gives numbers that are not finite, in float32")
        made, sequences = _converted(checkpoint, source, calibration, folder, max_noise, chosen, watcher)
        listed = source.row is not None and find_card(source.row.name)  # a starter model may have a card of its own
        card = chosen.card or (listed.name if listed else None)
        origin = {"card": card, "pooling": chosen.pooling, "format": FORMAT, "precision": "int8"}
        file = folder / checkpoint.folder.relative_to(source.folder) / QUANTIZATION_FILE
        # Forced, so that the gate can open it, and not accepted: that must never be read where nothing was measured.
        write_report(file, origin | {"accepted": False, "forced": True, "verdict": UNMEASURED})
        watcher.say("comparing int8 with float32 on texts that were not calibrated on")
        agreement = calibration.compare(original, calibration.values(folder, rough)[0])
        quality = tuple(measure(checkpoint.card, data, model, folder, chosen, watcher) for data in sets)
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
            samples=sequences,
        )
        write_report(file, origin | report.to_dict())
        if target.is_dir():
            target.rmdir()  # it is empty; not every system renames a folder over another
        folder.rename(target)
    return report


def _converted(
    checkpoint: Checkpoint,
    source: Source,
    calibration: Calibration,
    folder: Path,
    max_noise: float,
    options: Options,
    watcher: Watcher,
) -> tuple[Converted, int]:
    """What was written to the folder, and how many sequences were calibrated on."""
    limit = min(options.max_length or checkpoint.max_length, MAX_TOKENS)
    sequences = calibration.sequences(tokenizer_of(checkpoint), checkpoint.card, limit)
    threads = options.threads or available_cpus()
    with watcher.stage("calibrating", len(sequences), "text") as done:
        made = convert(checkpoint, source.folder, sequences, folder, threads, max_noise, done)
    return made, len(sequences)


def _check(samples: int, max_noise: float, options: Options) -> None:
    if isinstance(samples, bool) or not isinstance(samples, int) or samples < LEAST:
        raise InvalidInputError(f"samples is {samples!r}; give a number of at least {LEAST}")
    if not 0 <= max_noise <= 1:
        raise InvalidInputError(f"max_noise is {max_noise!r}; allowed are 0 (nothing is int8) to 1")
    if options.card is not None and is_card_file(options.card):
        raise InvalidInputError(f"card is the file {options.card!r}; an int8 folder can't name it, give a listed one")
    said = options.precision, options.device, options.engine, options.weights
    if said[0] != "auto" or said[1] not in ("auto", "cpu") or said[2] == "torch" or said[3] != "full":
        raise InvalidInputError(
            f"options say precision, device, engine and weights {said}; int8 is made and compared with float32 on "
            "the CPU by OpenVINO, so leave them as they are by default"
        )
    if not supports_int8():
        raise UnsupportedModelError(
            f"this CPU has none of the instructions that multiply int8 without overflow ({INT8_INSTRUCTIONS}), so int8 "
            "can be neither measured nor used here; `lagotto doctor` says what a machine has"
        )


def _new_folder(out: Path) -> Path:
    """Where to write, as an absolute path."""
    target = out.expanduser().resolve()
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidInputError(f"{out} is there already; name a new folder, or remove it first")
    return target


def _check_source(checkpoint: Checkpoint, source: Source, target: Path) -> None:
    if checkpoint.quantized is not None:
        raise InvalidInputError(f"{checkpoint.name} holds int8 weights already; name the model it was made from")
    if checkpoint.config.architecture not in NATIVE_ARCHITECTURES:
        raise UnsupportedModelError(
            f"{checkpoint.name}: int8 is made of {' and '.join(NATIVE_ARCHITECTURES)} encoders, not of "
            f"{checkpoint.config.architecture!r}"
        )
    if target.is_relative_to(source.folder.resolve()):
        raise InvalidInputError(f"{target} lies inside the model's own folder; name another")


@contextmanager
def _partial(target: Path) -> Iterator[Path]:
    """A folder beside the target that is gone afterwards, whatever happened, unless it became the target."""
    parents = [folder for folder in target.parents if not folder.exists()]
    folder = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}")
    try:
        folder.mkdir(parents=True)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for parent in parents:
            with suppress(OSError):  # it is not empty: the target is in it
                parent.rmdir()
