"""Quality against cost as charts, and all costs as tables."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from lagotto.evaluation.report import charts
from lagotto.evaluation.report.costs import CostRow, cost_on
from lagotto.evaluation.report.markup import (
    Html,
    both,
    element,
    fold,
    grouped_table,
    head,
    join,
    name,
    note,
    number,
    say,
    section,
    text,
)
from lagotto.evaluation.report.rows import cost_cells, measured, row_label, stage_rows
from lagotto.evaluation.report.summary import Row, score_rows
from lagotto.evaluation.results import Report, Result


def quality_cost(report: Report) -> Html:
    """Charts for each mean and data set but the members of a group; those of a kind's mean are open."""
    blocks: list[Html] = []
    seen: set[tuple[str, str]] = set()
    rows = [row for row in score_rows(report) if row.level != "member"]
    # A kind's mean is what most readers want, so it comes before the data sets it is of.
    for place, row in enumerate(sorted(rows, key=lambda row: _order(row, rows))):
        figures = list(_figures(report, row, f"qc{place}"))
        if figures:
            first = (row.kind, row.measure) not in seen
            seen.add((row.kind, row.measure))
            summary = join((both(row_label(row)), text(" · "), name(row.measure)))
            blocks.append(fold(summary, element("div", *figures, class_="figures"), open=first))
    return section("cost", *([note("cost.note"), *blocks] if blocks else [element("p", say("no.cost"))]))


def _order(row: Row, rows: Sequence[Row]) -> tuple[int, bool]:
    block = next(place for place, other in enumerate(rows) if (other.kind, other.measure) == (row.kind, row.measure))
    return block, row.level != "mean"


def _figures(report: Report, row: Row, prefix: str) -> Iterator[Html]:
    costs = [cost_on(report, system.name, row.datasets) for system in report.systems]
    for place, (axis, values) in enumerate(
        (
            (charts.QUERIES, [cost.queries_per_second for cost in costs]),
            (charts.INDEX, [cost.index_seconds for cost in costs]),
            (charts.BYTES, [cost.document_bytes for cost in costs]),
        )
    ):
        own = f"{prefix}-{place}"
        points = list(_points(report, row, costs, values))
        if axis is charts.QUERIES:  # 0 is unknown here, not none
            points = [point for point in points if point.cost > 0]
        if any(point.cost > 0 for point in points):
            picture = Html(charts.quality_cost(points, axis, row.measure, prefix=own))
            yield element("figure", picture, element("figcaption", both(axis.label), id=f"{own}-caption"))


def _points(report: Report, row: Row, costs: Sequence[CostRow], values: Sequence[float]) -> Iterator[charts.Point]:
    for place, (system, found) in enumerate(zip(report.systems, row.cells, strict=True)):
        # A system whose work was not measured has no place in the chart; one that took nothing has.
        if found is not None and math.isfinite(found.value) and costs[place].items:
            yield charts.Point(system.name, place, values[place], found.value, found.estimate)


def cost_tables(report: Report) -> Html:
    """Costs of each system on each data set, and what each stage took."""
    results = measured(report)
    if not results:
        return Html("")
    columns = [
        head("column.system"),
        head("column.index", number=True),
        head("column.documents.rate", number=True),
        head("column.queries.rate", number=True),
        head("column.memory.models", number=True),
        head("column.memory.working", number=True),
        head("column.memory.peak", number=True),
        head("column.bytes", number=True),
        head("column.bytes.all", number=True),
        head("column.cached", number=True),
    ]
    rows = [(name(result.dataset), _cost_row(report, result)) for result in results]
    costs = grouped_table(columns, rows, labelled_by="costs-title")
    return section("costs", note("costs.note"), costs, fold(say("stages"), _stages(results)))


def _cost_row(report: Report, result: Result) -> Html:
    return element(
        "tr",
        element("th", name(result.system), scope="row"),
        *(number(written) for written in cost_cells(report, result)),
    )


def _stages(results: Sequence[Result]) -> Html:
    columns = [
        head("column.stage"),
        head("column.seconds", number=True),
        head("column.items", number=True),
        head("column.items.rate", number=True),
        head("column.tokens", number=True),
        head("column.tokens.rate", number=True),
        head("column.cached", number=True),
    ]
    rows = [
        (
            join((name(result.dataset), text(" · "), name(result.system))),
            element("tr", element("th", both(stage), scope="row"), *(number(written) for written in numbers)),
        )
        for result, stage, numbers in stage_rows(results)
    ]
    return grouped_table(columns, rows, labelled_by="costs-title")
