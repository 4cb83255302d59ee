"""What the report's tables hold, written out: the page and the Markdown say the same."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lagotto.evaluation.comparison import mean_name
from lagotto.evaluation.report import notation
from lagotto.evaluation.report.costs import cost_of
from lagotto.evaluation.report.summary import Row, measures
from lagotto.evaluation.report.words import Words, words, words_or
from lagotto.evaluation.results import Comparison, Lengths, Report, Result


def lead(report: Report) -> Words:
    """What was compared on what, in a sentence."""
    names, count = [system.name for system in report.systems], len(report.datasets)
    datasets = words("lead.dataset") if count == 1 else words("lead.datasets", n=count)
    if len(names) == 1:
        return words("lead.one", system=names[0], datasets=datasets)
    baseline = names[0] if names else notation.NOTHING
    return words("lead.many", systems=len(names), datasets=datasets, baseline=baseline)


def warnings(report: Report) -> list[tuple[Words, str]]:
    """(data sets, and systems on data sets; warning) of every warning in the report, each once."""
    found: dict[str, list[Words]] = {}
    for dataset in report.datasets:
        for warning in dataset.warnings:
            found.setdefault(warning, []).append(Words(dataset.name, dataset.name))
    for result in report.results:
        for warning in result.warnings:
            where = words("warning.result", system=result.system, dataset=result.dataset)
            found.setdefault(warning, []).append(where)
    return [(_listed(places), warning) for warning, places in found.items()]


def _listed(places: Sequence[Words]) -> Words:
    return Words(", ".join(place.en for place in places), "、".join(place.zh for place in places))


def row_label(row: Row) -> Words:
    """The name of a data set, or what the mean is of."""
    if row.level == "mean":
        return words("row.mean", n=row.over, kind=words_or("kind", row.kind))
    return words("row.group", name=row.name, n=row.over) if row.level == "group" else Words(row.name, row.name)


def by_measure(report: Report) -> list[tuple[str, list[Comparison]]]:
    """The comparisons of each measure, the primary measures first."""
    names = dict.fromkeys((*measures(report), *(item.measure for item in report.comparisons)))
    found = ((measure, [item for item in report.comparisons if item.measure == measure]) for measure in names)
    return [(measure, items) for measure, items in found if items]


def compared_on(report: Report, item: Comparison) -> Words:
    """The data set, or how many the mean is of."""
    names = [dataset.name for dataset in report.datasets]
    means = {mean_name(over): over for over in range(2, len(names) + 1)}
    if item.dataset in means and item.dataset not in names:
        return words("compared.mean", n=means[item.dataset])
    return Words(item.dataset, item.dataset)


def measured(report: Report) -> list[Result]:
    """The results whose costs were measured, data set by data set."""
    names = [dataset.name for dataset in report.datasets]
    return sorted((result for result in report.results if result.cost.stages), key=lambda r: names.index(r.dataset))


def cost_cells(report: Report, result: Result) -> tuple[str, ...]:
    """The numbers of a result in the table of costs."""
    cost = cost_of(report, [result])
    return (
        notation.duration(cost.index_seconds),
        notation.rate(cost.documents_per_second),
        notation.rate(cost.queries_per_second),
        notation.size(cost.memory_models),
        notation.size(cost.memory_working),
        notation.size(cost.memory_peak),
        notation.size(cost.document_bytes),
        notation.size(cost.corpus_bytes),
        f"{cost.cached / cost.items:.0%}" if cost.items else notation.NOTHING,
    )


def stage_rows(results: Sequence[Result]) -> Iterator[tuple[Result, Words, tuple[str, ...]]]:
    """Result, stage, and the stage's numbers."""
    for result in results:
        for stage in result.cost.stages:
            numbers = (
                notation.duration(stage.seconds),
                notation.count(stage.items),
                notation.rate(stage.items_per_second),
                notation.count(stage.tokens) if stage.tokens else notation.NOTHING,
                notation.rate(stage.tokens_per_second),
                notation.count(stage.cached),
            )
            yield result, _begun("stage", stage.name, ": "), numbers


def lengths_on(report: Report, dataset: str) -> list[Lengths]:
    """The lengths on a data set; those of a model that several systems use are there once."""
    found = (item for result in report.results if result.dataset == dataset for item in result.lengths)
    return list(dict.fromkeys(found))


def lengths_of(item: Lengths) -> Words:
    """Which texts, of which model."""
    return _begun("texts", item.what, ", ")


def _begun(family: str, text: str, mark: str) -> Words:
    """A text of which only what stands before the mark is a word of ours; the rest is a name."""
    first, found, rest = text.partition(mark)
    begun = words_or(family, first)
    return Words(begun.en + found + rest, begun.zh + found + rest)


def length_cells(item: Lengths) -> tuple[str, ...]:
    """The numbers of a row of the table of lengths."""
    share = f" ({item.truncated / item.texts:.1%})" if item.texts and item.truncated else ""
    return (
        notation.count(item.texts),
        f"{item.mean:,.1f}",
        notation.count(item.longest),
        notation.count(item.limit),
        notation.count(item.truncated) + share,
    )


def pipeline(description: Mapping[str, Any]) -> str:
    """A system's description as JSON; whatever JSON has no word for (a path, say) stands as its text."""
    return json.dumps(dict(description), ensure_ascii=False, indent=2, default=str)
