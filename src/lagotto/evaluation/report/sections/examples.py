"""Queries on which the systems differ: each system's hits side by side, and the relevant documents they missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import Html, element, fold, join, name, note, option, say, section, text
from lagotto.evaluation.report.summary import primary
from lagotto.evaluation.report.words import WORDS, Words
from lagotto.evaluation.results import Example, Hit, Report


def examples(report: Report) -> Html:
    """Every query that was kept, folded, and a form to choose among them, which the page's script brings to life."""
    found = [(dataset, example) for dataset, kept in report.examples.items() for example in kept]
    shown = [_example(report, *item, open=place == 0) for place, item in enumerate(found)]
    if not shown:
        return section("examples", element("p", say("no.examples")))
    return section("examples", note("examples.note"), _legend(), _form(report), element("div", *shown, id="queries"))


def winners(report: Report, example: Example) -> list[int]:
    """Places of the systems with the highest value; none where all systems are alike."""
    values = [example.values.get(system.name) for system in report.systems]
    known = [value for value in values if value is not None]
    if len(set(known)) < 2:
        return []
    return [place for place, value in enumerate(values) if value == max(known)]


def _legend() -> Html:
    marks = (("yes", "✓ 1", "mark.relevant"), ("no", "✗ 0", "mark.irrelevant"), ("open", "·", "mark.unjudged"))
    samples = [
        element("span", element("span", text(shape), class_=f"grade {kind}"), text(" "), say(key))
        for kind, shape, key in marks
    ]
    return element("p", *samples, class_="legend")


def _form(report: Report) -> Html:
    """Hidden until a script is there to act on it."""
    everything = option(WORDS["filter.all"])
    datasets = [option(Words(dataset, dataset), dataset) for dataset, kept in report.examples.items() if kept]
    systems = [option(Words(item.name, item.name), str(place)) for place, item in enumerate(report.systems)]
    return element(
        "form",
        _field("dataset", element("select", everything, *datasets, id="filter-dataset")),
        _field("winner", element("select", everything, *systems, id="filter-winner")),
        _field("text", element("input", type="search", id="filter-text", autocomplete="off", spellcheck="false")),
        element("button", say("filter.reset"), type="reset"),
        element("button", say("filter.open"), type="button", id="open-all"),
        element("button", say("filter.close"), type="button", id="close-all"),
        element("output", say("filter.shown"), text(" "), _count("shown"), text(" / "), _count("all")),
        id="filter",
        hidden=True,
    )


def _field(key: str, control: Html) -> Html:
    return element("p", element("label", say(f"filter.{key}"), for_=f"filter-{key}"), control)


def _count(of: str) -> Html:
    return element("b", data_count=of)


def _example(report: Report, dataset: str, example: Example, *, open: bool) -> Html:
    best = winners(report, example)
    values = [
        element(
            "span", name(system.name), text(" "), _value(example, system.name), class_="best" if place in best else ""
        )
        for place, system in enumerate(report.systems)
        if system.name in example.values
    ]
    measure = primary(report, dataset)
    about = element("span", name(dataset), text(" · "), name(example.query), text(f" · {measure}" if measure else ""))
    summary = join(
        (
            element("span", text(example.text), class_="query", dir="auto"),
            element("span", about, *values, class_="values"),
        )
    )
    columns = [
        _hits(system.name, example.hits[system.name]) for system in report.systems if system.name in example.hits
    ]
    return fold(
        summary,
        element("div", *columns, class_="columns"),
        _relevant(report, example),
        open=open,
        class_="example",
        data_dataset=dataset,
        data_winners=" ".join(map(str, best)),
    )


def _value(example: Example, system: str) -> Html:
    return element("b", text(notation.value(example.values[system])))


def _hits(system: str, hits: Sequence[Hit]) -> Html:
    title = element("h3", name(system))
    if not hits:
        return element("section", title, element("p", say("example.none")))
    return element("section", title, element("ol", *(_hit(hit) for hit in hits), class_="hits"))


def _hit(hit: Hit) -> Html:
    kind = grade_kind(hit.relevance)
    score = Html("") if hit.score is None else element("span", text(notation.value(hit.score)), class_="value")
    line = element("p", grade(hit.relevance), name(hit.document), score, class_="about")
    return element("li", line, element("p", text(hit.text), dir="auto", class_="text"), class_=kind)


def grade_kind(relevance: int | None) -> str:
    """``yes``, ``no`` or ``open`` for a judgement."""
    return "open" if relevance is None else "yes" if relevance > 0 else "no"


def grade(relevance: int | None) -> Html:
    """The mark of a judgement."""
    shape = "·" if relevance is None else f"✓ {relevance}" if relevance > 0 else f"✗ {relevance}"
    return element("span", text(shape), class_=f"grade {grade_kind(relevance)}")


def _relevant(report: Report, example: Example) -> Html:
    title = element("h3", say("example.relevant"), text(" "), element("small", say("example.missed.note")))
    if not example.relevant:
        return element("section", title, element("p", say("example.unlisted")), class_="relevant")
    items = [
        element(
            "li",
            element("p", grade(hit.relevance), name(hit.document), *_ranks(report, example, hit), class_="about"),
            element("p", text(hit.text), dir="auto", class_="text"),
        )
        for hit in example.relevant
    ]
    return element("section", title, element("ul", *items), class_="relevant")


def ranks(report: Report, example: Example, document: str) -> dict[str, int | None]:
    """System -> the document's rank among the hits that are shown; None where it is not among them."""
    found: dict[str, int | None] = {}
    for system in report.systems:
        if system.name in example.hits:
            ids = [hit.document for hit in example.hits[system.name]]
            found[system.name] = ids.index(document) + 1 if document in ids else None
    return found


def _ranks(report: Report, example: Example, hit: Hit) -> Iterator[Html]:
    found = ranks(report, example, hit.document)
    if all(rank is None for rank in found.values()):
        yield element("span", say("example.missed.all"), class_="rank missed")
        return
    for system, rank in found.items():
        place = say("example.missed") if rank is None else text(f"#{rank}")
        yield element("span", name(system), text(" "), place, class_="rank missed" if rank is None else "rank")
