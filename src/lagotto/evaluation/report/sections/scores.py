"""The tables of measures, data sets by systems, one for each measure."""

from __future__ import annotations

import re

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import (
    Html,
    both,
    cell,
    element,
    fold,
    head,
    join,
    name,
    note,
    say,
    section,
    table,
    text,
)
from lagotto.evaluation.report.rows import row_label
from lagotto.evaluation.report.sections.choices import choices
from lagotto.evaluation.report.summary import Cell, Row, measures, views
from lagotto.evaluation.report.words import WORDS, Words
from lagotto.evaluation.results import Report

_MARKS = {"better": "▲", "worse": "▼"}
_BASE = re.compile(r"(?:cosine_)?([a-z0-9_]+?)(?:[(@].*|_at_\d+)?")
"""The name of a measure without level and cutoff; mteb writes ``cosine_spearman`` and ``ndcg_at_10``."""


def scores(report: Report) -> Html:
    """Every measure's table, that of primary measures first."""
    tables = [
        (WORDS["scores.primary"] if measure is None else Words(measure, measure), score_table(report, rows))
        for measure, rows in views(report)
        if rows
    ]
    if not tables:
        return section("scores", element("p", say("no.results")))
    return section("scores", _legend(report), choices("measure", tables), _glossary(report))


def score_table(report: Report, rows: tuple[Row, ...]) -> Html:
    """Rows with a column for each system."""
    columns = [head("column.dataset"), head("column.measure")]
    for place, system in enumerate(report.systems):
        role = element("small", say("row.baseline")) if place == 0 and len(report.systems) > 1 else Html("")
        columns.append(element("th", name(system.name), role, scope="col", class_="number"))
    return table(columns, [_row(row) for row in rows], labelled_by="scores-title")


def _row(row: Row) -> Html:
    label = element("th", both(row_label(row)), scope="row")
    cells = [_cell(item) for item in row.cells]
    return element("tr", label, cell(name(row.measure), class_="measure"), *cells, class_=row.level)


def _cell(item: Cell | None) -> Html:
    if item is None:
        return cell(text(notation.NOTHING), class_="number none")
    value = text(notation.value(item.value))
    parts = [element("strong", value) if item.best else element("span", value)]
    if item.change:
        parts.insert(0, mark(item.change))
    if item.estimate is not None:
        parts.append(element("small", text(notation.interval(item.estimate))))
    return cell(*parts, class_="number best" if item.best else "number")


def mark(change: str) -> Html:
    """The mark of a significant change; its words are for those who do not see it."""
    shape = element("span", text(_MARKS[change]), aria_hidden="true")
    return element("span", shape, element("span", say(f"mark.{change}"), class_="unseen"), class_=f"mark {change}")


def _legend(report: Report) -> Html:
    if len(report.systems) < 2:
        return note("scores.note")
    shown = [element("span", element("b", text("0.5"), class_="sample"), text(" "), say("mark.best"))]
    for change, shape in _MARKS.items():
        sample = element("span", text(shape), class_=f"mark {change}", aria_hidden="true")
        shown.append(element("span", sample, text(" "), say(f"mark.{change}")))
    return join((element("p", *shown, class_="legend"), note("mark.note"), note("scores.note")))


def _glossary(report: Report) -> Html:
    """What the measures of this report mean, as far as they are known."""
    bases = dict.fromkeys(found[1] for measure in measures(report) if (found := _BASE.fullmatch(measure)))
    entries = [
        element("div", element("dt", name(base)), element("dd", say(f"measure.{base}")))
        for base in bases
        if f"measure.{base}" in WORDS
    ]
    return fold(say("glossary"), element("dl", *entries, class_="glossary")) if entries else Html("")
