"""The head of the page: what was compared on what, with what, what to be wary of, and who is best."""

from __future__ import annotations

from collections.abc import Iterator

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import Html, both, element, join, name, say, section, text
from lagotto.evaluation.report.rows import lead, warnings
from lagotto.evaluation.report.sections.scores import mark
from lagotto.evaluation.report.summary import Cell, Row, find_comparison, headline_rows, score_rows
from lagotto.evaluation.report.words import words_or
from lagotto.evaluation.results import Report


def headline(report: Report) -> Html:
    """Title, one sentence, the environment and all warnings."""
    facts = join(
        element("div", element("dt", both(words_or("env", key))), element("dd", text(value)))
        for key, value in report.environment.items()
    )
    return join(
        (
            element("h1", say("title")),
            element("p", both(lead(report)), class_="lead"),
            element("dl", facts, class_="facts") if report.environment else Html(""),
            _warnings(report),
        )
    )


def _warnings(report: Report) -> Html:
    found = warnings(report)
    if not found:
        return Html("")
    items = [
        element("li", element("strong", both(where)), text(": "), element("bdi", text(warning)))
        for where, warning in found
    ]
    title = element("h2", say("warnings", n=len(found)), id="warnings-title")
    return element("aside", title, element("ul", *items), class_="warnings", aria_labelledby="warnings-title")


def key_figures(report: Report) -> Html:
    """A card for every kind and measure: the best system, and how it stands against the baseline."""
    rows = score_rows(report)
    cards = [_card(report, row, rows) for row in headline_rows(rows)]
    return section("key", element("div", *cards, class_="cards") if cards else element("p", say("no.results")))


def _card(report: Report, row: Row, rows: tuple[Row, ...]) -> Html:
    place, best = _best(row)
    kind = words_or("kind", row.kind)
    if row.over > 1:
        title = say("key.mean", kind=kind, measure=row.measure, n=row.over)
    else:
        title = say("key.one", kind=kind, measure=row.measure, dataset=row.name)
    lines = [element("p", title, class_="over")]
    if best is None:
        return element("article", *lines, element("p", text(notation.NOTHING), class_="figure"), class_="card")
    system = report.systems[place].name
    label = say("key.best" if len(report.systems) > 1 else "key.only")
    lines.append(element("p", text(notation.value(best.value)), class_="figure"))
    lines.append(element("p", label, text(" "), element("strong", name(system)), class_="who"))
    baseline = row.cells[0]
    if len(report.systems) > 1 and place == 0:
        lines.append(element("p", say("key.baseline"), class_="against"))
    elif place > 0 and baseline is not None:
        difference = notation.signed(best.value - baseline.value)
        against = say("key.against", difference=difference, value=notation.value(baseline.value))
        sign = mark(best.change) if best.change else Html("")
        lines.append(element("p", sign, against, class_="against"))
    if row.over > 1:
        lines.extend(_tests(report, row, rows, system))
    return element("article", *lines, class_="card")


def _best(row: Row) -> tuple[int, Cell | None]:
    """The first of the best systems, and its cell."""
    there = [(place, cell) for place, cell in enumerate(row.cells) if cell is not None and cell.value == cell.value]
    return max(there, key=lambda item: item[1].value, default=(0, None))


def _tests(report: Report, row: Row, rows: tuple[Row, ...], system: str) -> Iterator[Html]:
    """On how many of the row's data sets the system is significantly better or worse."""
    parts = [part for part in rows if part.level in ("dataset", "member") and part.name in row.datasets]
    parts = [part for part in parts if part.measure == row.measure]
    found = [item for part in parts if (item := find_comparison(report, part, system)) is not None]
    if found:
        better = sum(item.significant and item.difference.value > 0 for item in found)
        worse = sum(item.significant and item.difference.value < 0 for item in found)
        yield element("p", say("key.tests", better=better, worse=worse, n=len(found)), class_="against")
