"""How scores and lengths lie: a small chart for each system or model, and the numbers that matter beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lagotto.evaluation.report import charts, notation
from lagotto.evaluation.report.markup import (
    Html,
    both,
    cell,
    element,
    fold,
    head,
    name,
    note,
    number,
    say,
    section,
    table,
    text,
)
from lagotto.evaluation.report.rows import length_cells, lengths_of, lengths_on
from lagotto.evaluation.results import Lengths, Report


def spreads(report: Report) -> Html:
    """Scores of relevant and of other hits, system by system; the first data set is open."""
    blocks: list[Html] = []
    for place, dataset in enumerate(report.datasets):
        figures = list(_spread_figures(report, dataset.name, f"sc{place}"))
        if figures:
            inside = element("div", *figures, class_="figures small")
            blocks.append(fold(name(dataset.name), inside, open=not blocks))
    return section("spreads", *([note("spreads.note"), *blocks] if blocks else [element("p", say("no.distributions"))]))


def _spread_figures(report: Report, dataset: str, prefix: str) -> Iterator[Html]:
    for place, result in enumerate(result for result in report.results if result.dataset == dataset):
        if result.scores is None:
            continue
        own = f"{prefix}-{place}"
        best = say(
            "spread.best",
            threshold=notation.value(result.scores.best_threshold),
            f1=notation.value(result.scores.best_f1, 3),
        )
        caption = element("figcaption", element("strong", name(result.system)), best, id=f"{own}-caption")
        yield element("figure", caption, Html(charts.score_spread(result.scores, prefix=own)))


def length_section(report: Report) -> Html:
    """How long texts were for each model, and how many lost a part; the first data set is open."""
    blocks: list[Html] = []
    for place, dataset in enumerate(report.datasets):
        found = lengths_on(report, dataset.name)
        if found:
            figures = element("div", *_length_figures(found, f"le{place}"), class_="figures small")
            blocks.append(fold(name(dataset.name), _length_table(found), figures, open=not blocks))
    return section("lengths", *([note("lengths.note"), *blocks] if blocks else [element("p", say("no.distributions"))]))


def _length_figures(found: Sequence[Lengths], prefix: str) -> Iterator[Html]:
    for place, item in enumerate(found):
        own = f"{prefix}-{place}"
        caption = element("figcaption", element("strong", both(lengths_of(item))), id=f"{own}-caption")
        yield element("figure", caption, Html(charts.lengths(item.histogram, item.limit, prefix=own)))


def _length_table(found: Sequence[Lengths]) -> Html:
    columns = [head("column.what")]
    keys = ("column.texts", "column.mean", "column.longest", "column.limit", "column.truncated")
    columns.extend(head(key, number=True) for key in keys)
    rows = []
    for item in found:
        cells = [number(written) for written in length_cells(item)]
        if item.truncated:
            cells[-1] = cell(element("strong", text(length_cells(item)[-1])), class_="number")
        rows.append(element("tr", element("th", both(lengths_of(item)), scope="row"), *cells))
    return table(columns, rows, labelled_by="lengths-title")
