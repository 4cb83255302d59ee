"""`Output`: the folder of a report. Finished cells are kept in it, so that an interrupted evaluation goes on."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

from lagotto import __version__
from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.core.paths import write_atomically
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.pipeline import System
from lagotto.evaluation.results import (
    Cost,
    Estimate,
    Histogram,
    Lengths,
    Report,
    Result,
    ScoreSpread,
    Stage,
)
from lagotto.evaluation.runs import as_arrays, file_name, read_run, write_qrels, write_run
from lagotto.models.loading import Options

logger = logging.getLogger(__name__)


def cell_key(
    system: System, models: Mapping[str, str], options: Options, data: RetrievalData, measures: Sequence[str]
) -> str:
    """What decides a cell's figures: pipeline, models' fingerprints, lengths, data, measures, version."""
    said = [
        [system.name, system.describe(), dict(models), options.max_length, options.truncation],
        [data.name, data.fingerprint, asdict(data.task)],
        [list(measures), __version__],
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=list).encode()).hexdigest()[:32]


class Output:
    """Files of a report::

        report.html  report.md  report.json
        runs/DATASET/SYSTEM.trec   qrels/DATASET.qrels   results/DATASET/SYSTEM.json

    One process at a time. Raises `ConfigError` while another writes there.
    """

    def __init__(self, folder: Path) -> None:
        from filelock import FileLock, Timeout

        from lagotto.evaluation.report.charts import charting_library

        charting_library()  # says now, and not after hours of work, that a report can't be drawn
        if folder.is_file():
            raise InvalidInputError(f"{folder} is a file; --out names a folder")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._lock = FileLock(folder / ".lock")
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            raise ConfigError(f"another evaluation is writing {folder}; name another folder or wait") from None

    def __enter__(self) -> Output:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._lock.release()  # its file stays: were it deleted, two processes could hold locks on two files

    def finished(self, key: str, system: str, data: RetrievalData) -> Result | None:
        """A cell of an earlier run with the same key, its ranking included; None without one that is whole."""
        path = self._result(system, data.name)
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
            if kept["key"] != key:
                return None
            found = self.run_path(system, data.name)
            if kept["run"] != _digest(found):
                raise InvalidInputError(f"{found} is not the run it was computed from")
            scored = read_run(found) if found.stat().st_size else {}  # a system may find nothing at all
            run = as_arrays(scored, tuple(data.queries), tuple(data.corpus.ids))
            return result_from_dict(kept["result"], run=run)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            logger.warning("%s is damaged (%s) and is computed again", path, error)
            return None

    def keep(self, key: str, result: Result, data: RetrievalData) -> None:
        """Write a cell: first its run, then the figures, which vouch for it."""
        path = self.run_path(result.system, result.dataset)
        assert result.run is not None  # every system on a retrieval set has one
        write_run(path, result.run, result.system)
        write_qrels(self.folder / "qrels" / f"{file_name(data.name)}.qrels", data.qrels)
        write_json(
            self._result(result.system, result.dataset),
            {"key": key, "run": _digest(path), "result": result.to_dict()},
        )

    def write(self, report: Report) -> None:
        """Write the report's three forms."""
        from lagotto.evaluation.report.html import to_html
        from lagotto.evaluation.report.markdown import to_markdown

        write_json(self.folder / "report.json", report.to_dict())
        write_atomically(self.folder / "report.md", to_markdown(report).encode())
        write_atomically(self.folder / "report.html", to_html(report).encode())

    def run_path(self, system: str, dataset: str) -> Path:
        """Where a system's run on a data set lies."""
        return self.folder / "runs" / file_name(dataset) / f"{file_name(system)}.trec"

    def _result(self, system: str, dataset: str) -> Path:
        return self.folder / "results" / file_name(dataset) / f"{file_name(system)}.json"


def check_files(systems: Sequence[str], datasets: Sequence[str]) -> None:
    """Raise `InvalidInputError` where two systems, or two data sets, would have one file."""
    for what, names in (("systems", systems), ("data sets", datasets)):
        files: dict[str, str] = {}
        for name in names:
            other = files.setdefault(file_name(name).casefold(), name)
            if other != name:
                raise InvalidInputError(f"{what} {other!r} and {name!r} would have the same file; rename one of them")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_json(path: Path, value: object) -> None:
    """Write JSON; numbers that JSON can't hold are an error."""
    text = json.dumps(value, ensure_ascii=False, indent=1, allow_nan=False)
    write_atomically(path, text.encode("utf-8", "backslashreplace"))


def result_from_dict(row: Mapping[str, Any], **more: Any) -> Result:
    """The opposite of `Result.to_dict`."""
    cost = dict(row["cost"])
    cost["stages"] = tuple(Stage(**stage) for stage in cost["stages"])
    scores = row["scores"]
    return Result(
        system=row["system"],
        dataset=row["dataset"],
        metrics={name: Estimate(**value) for name, value in row["metrics"].items()},
        per_query=row["per_query"],
        cost=Cost(**cost),
        lengths=tuple(Lengths(**{**item, "histogram": _histogram(item["histogram"])}) for item in row["lengths"]),
        scores=None
        if scores is None
        else ScoreSpread(
            _histogram(scores["relevant"]), _histogram(scores["other"]), scores["best_threshold"], scores["best_f1"]
        ),
        warnings=tuple(row["warnings"]),
        **more,
    )


def _histogram(row: Mapping[str, Any]) -> Histogram:
    return Histogram(tuple(row["edges"]), tuple(row["counts"]))
