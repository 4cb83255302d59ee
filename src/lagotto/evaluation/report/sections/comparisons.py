"""Each system against the baseline: difference, significance, wins and losses."""

from __future__ import annotations

from collections.abc import Sequence

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import (
    Html,
    both,
    cell,
    element,
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
from lagotto.evaluation.report.rows import by_measure, compared_on
from lagotto.evaluation.report.sections.choices import choices
from lagotto.evaluation.report.sections.scores import mark
from lagotto.evaluation.report.words import Words
from lagotto.evaluation.results import Comparison, Report

_HALF = 60
"""Half the width of the little picture of an interval."""


def comparisons(report: Report) -> Html:
    """A table for each measure; nothing for a system alone."""
    if len(report.systems) < 2:
        return Html("")
    if not report.comparisons:
        return section("comparisons", element("p", say("not.compared")))
    tables = [(Words(measure, measure), _table(report, chosen)) for measure, chosen in by_measure(report)]
    return section("comparisons", note("comparisons.note"), choices("compared", tables))


def _table(report: Report, items: Sequence[Comparison]) -> Html:
    reach = max(abs(bound) for item in items for bound in (item.difference.low, item.difference.high, 1e-9))
    rows = [(both(compared_on(report, item)), _row(item, reach)) for item in items]
    columns = [
        head("column.system"),
        head("column.difference", number=True),
        cell(),  # above the pictures of the intervals
        head("column.p", number=True),
        head("column.holm", number=True),
        head("column.wins", number=True),
        head("column.ties", number=True),
        head("column.losses", number=True),
    ]
    return grouped_table(columns, rows, labelled_by="comparisons-title")


def _row(item: Comparison, reach: float) -> Html:
    change = "better" if item.difference.value > 0 else "worse"
    difference = join(
        (
            mark(change) if item.significant else Html(""),
            element("span", text(notation.signed(item.difference.value))),
            element("small", text(notation.interval(item.difference))),
        )
    )
    return element(
        "tr",
        element("th", name(item.system), scope="row"),
        cell(difference, class_="number"),
        cell(_picture(item, reach), class_="picture"),
        number(notation.probability(item.p_value)),
        number(notation.probability(item.p_holm)),
        number(notation.count(item.wins)),
        number(notation.count(item.ties)),
        number(notation.count(item.losses)),
    )


def _picture(item: Comparison, reach: float) -> Html:
    """The interval as a bar around its value, with a line at 0; what it shows is also in the cell before."""
    low, middle, high = (
        _HALF + round(_HALF * 0.94 * bound / reach, 1)
        for bound in (item.difference.low, item.difference.value, item.difference.high)
    )
    kind = ("better" if item.difference.value > 0 else "worse") if item.significant else "even"
    return element(
        "svg",
        element("path", d=f"M{_HALF} 1V17", class_="zero"),
        element("path", d=f"M{low} 9H{high}", class_="bar"),
        element("circle", cx=str(middle), cy=9, r="3.5"),
        viewBox=f"0 0 {2 * _HALF} 18",
        class_=f"interval {kind}",
        aria_hidden="true",
    )
