"""The tables of measures: values by data set and system, means over groups and kinds, the best, what is significant."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lagotto.evaluation.comparison import mean_name
from lagotto.evaluation.results import Comparison, DatasetInfo, Estimate, Kind, Report, Result

Level = Literal["dataset", "member", "group", "mean"]
"""A data set, one that is averaged with others of its group, the mean of a group, the mean of a kind."""


@dataclass(frozen=True, slots=True)
class Cell:
    """A system's value in a row."""

    value: float
    estimate: Estimate | None
    """With its interval; None for a value without one: a mean over data sets, a score that mteb computed."""
    best: bool
    """No system of the row has a higher one, and some system has a lower one."""
    change: Literal["better", "worse", ""]
    """Significantly better or worse than the baseline, after Holm's correction."""


@dataclass(frozen=True, slots=True)
class Row:
    """One data set, or the mean of several."""

    name: str
    """The data set's, the group's or the kind's."""
    level: Level
    kind: Kind
    measure: str
    datasets: tuple[str, ...]
    """Those the row is of."""
    over: int
    """How many values its mean is of: a group counts as one. 1 for a data set."""
    cells: tuple[Cell | None, ...]
    """By system; None where nothing was measured, and for a mean that lacks a value."""


def measures(report: Report) -> tuple[str, ...]:
    """Every measure, the primary ones first."""
    first = [next(iter(result.metrics)) for result in report.results if result.metrics]
    rest = [name for result in report.results for name in result.metrics]
    return tuple(dict.fromkeys(first + rest))


def primary(report: Report, dataset: str) -> str | None:
    """The data set's primary measure; None where nothing was measured."""
    found = (next(iter(r.metrics)) for r in report.results if r.dataset == dataset and r.metrics)
    return next(found, None)


def score_rows(report: Report, measure: str | None = None) -> tuple[Row, ...]:
    """The rows of a measure's table, or of the table where each data set stands with its primary measure."""
    blocks: dict[tuple[Kind, str], list[DatasetInfo]] = {}
    for dataset in report.datasets:
        chosen = measure or primary(report, dataset.name)
        if chosen is not None and any(_estimates(report, dataset.name, chosen)):
            blocks.setdefault((dataset.kind, chosen), []).append(dataset)
    kinds = list(dict.fromkeys(kind for kind, _ in blocks))
    ordered = sorted(blocks.items(), key=lambda item: kinds.index(item[0][0]))
    return tuple(row for (kind, name), datasets in ordered for row in _block(report, kind, name, datasets))


def views(report: Report) -> tuple[tuple[str | None, tuple[Row, ...]], ...]:
    """(measure, rows) of every table that says something new: None for that of primary measures, which comes first."""
    main = score_rows(report)
    tables: list[tuple[str | None, tuple[Row, ...]]] = [(None, main)]
    for measure in measures(report):
        rows = score_rows(report, measure)
        if not set(rows) <= set(main):
            tables.append((measure, rows))
    return tuple(tables)


def headline_rows(rows: Iterable[Row]) -> tuple[Row, ...]:
    """The row that sums up each kind and measure: its mean, or its only data set or group."""
    last = {(row.kind, row.measure): row for row in rows if row.level != "member"}
    return tuple(last.values())


def find_comparison(report: Report, row: Row, system: str) -> Comparison | None:
    """The comparison of a system with the baseline on a row.

    The comparison of means is over all data sets that have the measure, of whatever kind. It is of the row where the
    numbers of data sets agree: a system with a mean was measured on all of the row, so there can't be others then.
    """
    name = mean_name(row.over) if row.level == "mean" else row.name
    for item in report.comparisons:
        if (item.dataset, item.measure, item.system) == (name, row.measure, system):
            return item
    return None


def results_of(report: Report, system: str, datasets: Iterable[str]) -> tuple[Result, ...]:
    """A system's results on some data sets, as far as they are there."""
    wanted = set(datasets)
    return tuple(result for result in report.results if result.system == system and result.dataset in wanted)


def _block(report: Report, kind: Kind, measure: str, datasets: Sequence[DatasetInfo]) -> Iterator[Row]:
    """The rows of one kind and measure: data sets and groups as they come, then the mean of all."""
    units: list[Sequence[float | None]] = []
    for members in _units(datasets):
        level: Level = "member" if len(members) > 1 else "dataset"
        names = tuple(member.name for member in members)
        estimates = [_estimates(report, name, measure) for name in names]
        values = [[None if item is None else item.value for item in row] for row in estimates]
        if len(members) > 1:
            group = Row(str(members[0].group), "group", kind, measure, names, len(names), ())
            yield _filled(report, group, _means(values))
        for name, known, found in zip(names, values, estimates, strict=True):
            yield _filled(report, Row(name, level, kind, measure, (name,), 1, ()), known, found)
        units.append(_means(values))
    if len(units) > 1:
        everything = tuple(dataset.name for dataset in datasets)
        yield _filled(report, Row(kind, "mean", kind, measure, everything, len(units), ()), _means(units))


def _units(datasets: Sequence[DatasetInfo]) -> list[list[DatasetInfo]]:
    """Data sets that are averaged as one, in the order of the first of each."""
    units: dict[tuple[bool, str], list[DatasetInfo]] = {}
    for dataset in datasets:
        key = (True, dataset.name) if dataset.group is None else (False, dataset.group)
        units.setdefault(key, []).append(dataset)
    return list(units.values())


def _means(values: Sequence[Sequence[float | None]]) -> list[float | None]:
    """By system; a system that lacks one of the values has no mean, since it would be of something else."""
    columns = [[x for x in column if x is not None] for column in zip(*values, strict=True)]
    return [sum(column) / len(column) if len(column) == len(values) else None for column in columns]


def _estimates(report: Report, dataset: str, measure: str) -> list[Estimate | None]:
    found = {r.system: r.metrics[measure] for r in report.results if r.dataset == dataset and measure in r.metrics}
    return [found.get(system.name) for system in report.systems]


def _filled(report: Report, row: Row, values: Sequence[float | None], estimates: Sequence[Estimate | None] = ()) -> Row:
    """The row with its cells."""
    known = [number for number in values if number is not None and not math.isnan(number)]
    top = max(known) if len(set(known)) > 1 else None
    cells: list[Cell | None] = []
    for place, (system, number) in enumerate(zip(report.systems, values, strict=True)):
        if number is None:
            cells.append(None)
            continue
        estimate = estimates[place] if estimates else None
        if estimate is not None and estimate.low == estimate.high:
            estimate = None
        cells.append(Cell(number, estimate, number == top, _change(find_comparison(report, row, system.name))))
    return replace(row, cells=tuple(cells))


def _change(item: Comparison | None) -> Literal["better", "worse", ""]:
    if item is None or not item.significant:
        return ""
    return "better" if item.difference.value > 0 else "worse"
