"""A benchmark's folder: found, or fetched and exported."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.evaluation.benchmarks.export import CORPUS, Say, export
from lagotto.evaluation.benchmarks.loaders import open_source
from lagotto.evaluation.benchmarks.registry import Benchmark, all_names, expand
from lagotto.evaluation.benchmarks.sources import UnreachableError
from lagotto.evaluation.datasets.retrieval import is_retrieval_folder

STORE_VARIABLE = "LAGOTTO_BENCHMARKS"
"""Names a folder of exported benchmarks, which is looked at first."""
FETCH = "lagotto eval benchmarks --fetch"
"""The command that prepares a benchmark where there is a connection."""


def prepare(benchmark: Benchmark, *, cache: Path, offline: bool = False, say: Say | None = None) -> Path:
    """The benchmark's folder, for ``read_retrieval(folder, benchmark.split)``.

    Looked for in ``$LAGOTTO_BENCHMARKS/NAME``, then in ``cache/benchmarks/NAME``; if it is in neither, it is fetched
    and exported into the latter. ``offline``, or ``HF_HUB_OFFLINE=1``, forbids connections. ``say`` is told how it
    goes. Raises `InvalidInputError` that says how to bring a benchmark that can't be fetched, `ConfigError` for a bad
    ``$LAGOTTO_BENCHMARKS``, `MissingDependencyError` without the ``benchmarks`` extra.
    """
    root = cache / "benchmarks"
    places = [place / benchmark.name for place in (_store(), root) if place]
    for folder in places:
        if is_retrieval_folder(folder):
            return folder
    target = places[-1]
    try:
        source = open_source(benchmark, offline or _hub_is_offline())
        export(benchmark, source, target, say or _silent, same_corpus=_same_corpus(benchmark, root))
    except UnreachableError as error:
        raise InvalidInputError(_missing(benchmark, places, error)) from error
    return target


def _store() -> Path | None:
    """The operator's folder of exported benchmarks."""
    chosen = os.environ.get(STORE_VARIABLE)
    if not chosen:
        return None
    folder = Path(chosen).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"{STORE_VARIABLE}={chosen} is not a folder; name one that holds exported benchmarks")
    return folder


def _hub_is_offline() -> bool:
    from huggingface_hub import constants

    return bool(constants.HF_HUB_OFFLINE)


def _silent(_: str) -> None:
    """Nobody listens."""


def _same_corpus(benchmark: Benchmark, root: Path) -> Path | None:
    """The corpus file of an exported benchmark with the same corpus."""
    if not benchmark.corpus:
        return None
    alike = (row for name in all_names() for row in expand(name) if row.corpus == benchmark.corpus)
    files = (root / row.name / CORPUS for row in alike)
    return next((file for file in files if file.is_file()), None)


def _missing(benchmark: Benchmark, places: Sequence[Path], error: UnreachableError) -> str:
    kept = "" if os.environ.get(STORE_VARIABLE) else f" (${STORE_VARIABLE} is not set)"
    return (
        f"benchmark {benchmark.name} is not on this machine, and {error.reason}. Looked in "
        f"{' and '.join(map(str, places))}{kept}. It comes from {error.source}. Where there is a connection, run "
        f"`{FETCH} {benchmark.name}` and copy the folder it names to {places[-1]} here, or to {benchmark.name} in the "
        f"folder that ${STORE_VARIABLE} names"
    )
