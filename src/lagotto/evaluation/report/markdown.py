"""The report as Markdown: the page's tables, and the largest wins and losses."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import clean
from lagotto.evaluation.report.rows import (
    by_measure,
    compared_on,
    cost_cells,
    lead,
    length_cells,
    lengths_of,
    lengths_on,
    measured,
    pipeline,
    row_label,
    stage_rows,
    warnings,
)
from lagotto.evaluation.report.summary import Cell, Row, views
from lagotto.evaluation.report.words import WORDS, words, words_or
from lagotto.evaluation.results import Comparison, Example, Report

_LARGEST = 3
"""Wins and losses of each system that are listed."""
_ACTIVE = re.compile(r"([\\`*\[\]<>|~&])|(?<!\w)_|_(?!\w)")
"""What Markdown acts on inside a line. An underscore within a word is a letter like others."""


def to_markdown(report: Report) -> str:
    """The whole report, in English."""
    parts = [
        f"# {WORDS['title'].en}",
        line(lead(report).en),
        *_facts(report),
        *_scores(report),
        *_comparisons(report),
        *_costs(report),
        *_examples(report),
        *_distributions(report),
        *_about(report),
    ]
    return "\n\n".join(parts) + "\n"


def line(value: object) -> str:
    """Any text on one line, with nothing in it that Markdown acts on.

    >>> line("a|b\\n<img> *c* snake_case")
    'a\\\\|b \\\\<img\\\\> \\\\*c\\\\* snake_case'
    """
    return _ACTIVE.sub(lambda match: "\\" + match[0], " ".join(clean(value).split()))


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], text_columns: int) -> str:
    """A table whose first columns are texts, and the rest numbers. Cells are written already."""
    rule = ["---" if place < text_columns else "---:" for place in range(len(head))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))


def _title(key: str) -> str:
    return f"## {WORDS[key].en}"


def _heads(*keys: str) -> list[str]:
    return [WORDS[f"column.{key}"].en for key in keys]


def _facts(report: Report) -> Iterator[str]:
    if report.environment:
        yield "\n".join(
            f"- {line(words_or('env', key).en)}: {line(value)}" for key, value in report.environment.items()
        )
    if found := [f"- **{line(where.en)}**: {line(warning)}" for where, warning in warnings(report)]:
        yield f"## {words('warnings', n=len(found)).en}"
        yield "\n".join(found)


def _scores(report: Report) -> Iterator[str]:
    yield _title("scores")
    systems = [line(system.name) for system in report.systems]
    for measure, rows in views(report):
        if not rows:
            yield WORDS["no.results"].en
            continue
        yield f"### {WORDS['scores.primary'].en if measure is None else line(measure)}"
        cells = [[_label(row), line(row.measure), *map(_cell, row.cells)] for row in rows]
        yield _table(_heads("dataset", "measure") + systems, cells, 2)
    if len(systems) > 1:
        marks = f"**Bold**: {WORDS['mark.best'].en}. ▲ {WORDS['mark.better'].en}. ▼ {WORDS['mark.worse'].en}."
        yield f"{marks} {WORDS['mark.note'].en}"
    yield WORDS["scores.note"].en


def _label(row: Row) -> str:
    label = line(row_label(row).en)
    return f"**{label}**" if row.level in ("mean", "group") else label


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return notation.NOTHING
    value = notation.value(cell.value)
    mark = {"better": "▲ ", "worse": "▼ ", "": ""}[cell.change]
    interval = f" {line(notation.interval(cell.estimate))}" if cell.estimate else ""
    return f"{mark}**{value}**{interval}" if cell.best else f"{mark}{value}{interval}"


def _comparisons(report: Report) -> Iterator[str]:
    if len(report.systems) < 2:
        return
    yield _title("comparisons")
    if not report.comparisons:
        yield WORDS["not.compared"].en
        return
    for measure, items in by_measure(report):
        yield f"### {line(measure)}"
        head = _heads("dataset", "system", "difference", "p", "holm", "wins", "ties", "losses")
        yield _table(head, [_compared(report, item) for item in items], 2)
    yield WORDS["comparisons.note"].en


def _compared(report: Report, item: Comparison) -> list[str]:
    mark = ("▲ " if item.difference.value > 0 else "▼ ") if item.significant else ""
    return [
        line(compared_on(report, item).en),
        line(item.system),
        f"{mark}{notation.signed(item.difference.value)} {line(notation.interval(item.difference))}",
        line(notation.probability(item.p_value)),
        line(notation.probability(item.p_holm)),
        *map(notation.count, (item.wins, item.ties, item.losses)),
    ]


def _costs(report: Report) -> Iterator[str]:
    results = measured(report)
    if not results:
        return
    yield _title("costs")
    numbers = ("index", "documents.rate", "queries.rate", "memory.models", "memory.working", "memory.peak")
    rows = [[line(r.dataset), line(r.system), *cost_cells(report, r)] for r in results]
    yield _table(_heads("dataset", "system", *numbers, "bytes", "bytes.all", "cached"), rows, 2)
    yield WORDS["costs.note"].en
    yield f"### {WORDS['stages'].en}"
    found = stage_rows(results)
    stages = [[line(r.dataset), line(r.system), line(stage.en), *numbers] for r, stage, numbers in found]
    keys = ("dataset", "system", "stage", "seconds", "items", "items.rate", "tokens", "tokens.rate", "cached")
    yield _table(_heads(*keys), stages, 3)


def _examples(report: Report) -> Iterator[str]:
    rows = [row for system in report.systems[1:] for row in _largest(report, system.name)]
    if rows:
        yield "## Largest wins and losses against the baseline"
        head = [*_heads("system", "dataset"), "Query", "Baseline", "Value", *_heads("difference")]
        yield _table(head, rows, 3)


def _largest(report: Report, system: str) -> Iterator[list[str]]:
    """The queries with the largest differences in either direction, wins first."""
    baseline = report.systems[0].name
    found: list[tuple[float, str, Example]] = [
        (example.values[system] - example.values[baseline], dataset, example)
        for dataset, kept in report.examples.items()
        for example in kept
        if system in example.values and baseline in example.values
    ]
    found.sort(key=lambda item: -item[0])
    wins = [item for item in found if item[0] > 0][:_LARGEST]
    losses = [item for item in found if item[0] < 0][-_LARGEST:]
    for difference, dataset, example in wins + losses:
        values = (notation.value(example.values[name]) for name in (baseline, system))
        yield [line(system), line(dataset), line(example.text), *values, notation.signed(difference)]


def _distributions(report: Report) -> Iterator[str]:
    thresholds = [
        [line(r.dataset), line(r.system), notation.value(r.scores.best_threshold), notation.value(r.scores.best_f1)]
        for r in report.results
        if r.scores is not None
    ]
    if thresholds:
        yield "## Best thresholds"
        yield _table([*_heads("dataset", "system"), "Threshold", "F1"], thresholds, 2)
    rows = [
        [line(dataset.name), line(lengths_of(item).en), *length_cells(item)]
        for dataset in report.datasets
        for item in lengths_on(report, dataset.name)
    ]
    if rows:
        yield _title("lengths")
        yield _table(_heads("dataset", "what", "texts", "mean", "longest", "limit", "truncated"), rows, 2)


def _about(report: Report) -> Iterator[str]:
    yield _title("systems")
    for system in report.systems:
        yield f"### {line(system.name)}"
        yield _fenced(clean(pipeline(system.description)))
        if system.models:
            rows = [[line(model), line(fingerprint)] for model, fingerprint in system.models.items()]
            yield _table(_heads("model", "fingerprint"), rows, 2)
    yield _title("datasets")
    keys = (
        "dataset",
        "kind",
        "language",
        "split",
        "group",
        "source",
        "fingerprint",
        "documents",
        "queries",
        "judgements",
    )
    rows = [
        [
            *map(line, (d.name, words_or("kind", d.kind).en, d.language or notation.NOTHING, d.split)),
            *map(line, (d.group or notation.NOTHING, d.source or notation.NOTHING, d.fingerprint)),
            *map(notation.count, (d.documents, d.queries, d.judgements)),
        ]
        for d in report.datasets
    ]
    yield _table(_heads(*keys), rows, 7)


def _fenced(code: str) -> str:
    """A block of code behind a fence longer than any run of backticks in it."""
    longest = max((len(run) for run in re.findall("`+", code)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}json\n{code}\n{fence}"
