"""What was evaluated, and on what: data sets, pipelines in full, and the models' fingerprints."""

from __future__ import annotations

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import (
    Html,
    both,
    cell,
    element,
    fold,
    head,
    name,
    number,
    section,
    table,
    text,
)
from lagotto.evaluation.report.rows import pipeline
from lagotto.evaluation.report.words import words_or
from lagotto.evaluation.results import DatasetInfo, Report, SystemInfo


def datasets(report: Report) -> Html:
    """Every data set with its sizes, its source and its fingerprint."""
    columns = [
        head("column.dataset"),
        head("column.kind"),
        head("column.language"),
        head("column.split"),
        head("column.documents", number=True),
        head("column.queries", number=True),
        head("column.judgements", number=True),
        head("column.group"),
        head("column.source"),
        head("column.fingerprint"),
    ]
    rows = [_dataset(dataset) for dataset in report.datasets]
    return section("datasets", table(columns, rows, labelled_by="datasets-title"))


def _dataset(dataset: DatasetInfo) -> Html:
    return element(
        "tr",
        element("th", name(dataset.name), scope="row"),
        cell(both(words_or("kind", dataset.kind))),
        cell(name(dataset.language or notation.NOTHING)),
        cell(name(dataset.split)),
        number(notation.count(dataset.documents)),
        number(notation.count(dataset.queries)),
        number(notation.count(dataset.judgements)),
        cell(name(dataset.group or notation.NOTHING)),
        cell(name(dataset.source or notation.NOTHING)),
        cell(element("code", text(dataset.fingerprint))),
    )


def systems(report: Report) -> Html:
    """Every system's pipeline and its models."""
    return section("systems", *(_system(system) for system in report.systems))


def _system(system: SystemInfo) -> Html:
    parts = [element("pre", element("code", text(pipeline(system.description))), tabindex=0)]
    if system.models:
        rows = [
            element("tr", element("th", name(model), scope="row"), cell(element("code", text(fingerprint))))
            for model, fingerprint in system.models.items()
        ]
        columns = [head("column.model"), head("column.fingerprint")]
        parts.append(table(columns, rows, labelled_by="systems-title"))
    return fold(name(system.name), *parts)
