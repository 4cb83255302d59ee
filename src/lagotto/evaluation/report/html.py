"""The report as one HTML page that needs nothing else: style, script, charts and texts are in it.

Everything is there without JavaScript; the script adds the choosers and the filters, and follows the browser's
language. The page may load nothing and run nothing but its own script, whatever a document's text holds: its
Content-Security-Policy names the digests of its style and its script.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from string import Template

from lagotto.evaluation.report.markup import Html, element, join, say, text
from lagotto.evaluation.report.sections import about, comparisons, cost, distributions, examples, headline, scores
from lagotto.evaluation.report.words import WORDS
from lagotto.evaluation.results import Report

_PARTS: Mapping[str, Callable[[Report], Html]] = {
    "key": headline.key_figures,
    "scores": scores.scores,
    "comparisons": comparisons.comparisons,
    "cost": cost.quality_cost,
    "costs": cost.cost_tables,
    "examples": examples.examples,
    "spreads": distributions.spreads,
    "lengths": distributions.length_section,
    "systems": about.systems,
    "datasets": about.datasets,
}
"""Anchor and heading -> what makes the part."""


def to_html(report: Report) -> str:
    """The whole page. Raises `MissingDependencyError` without matplotlib, which draws the charts."""
    style, script = _packaged("page.css"), _packaged("page.js")
    policy = (
        f"default-src 'none'; style-src {_digest(style)}; script-src {_digest(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = {anchor: made for anchor, part in _PARTS.items() if (made := part(report))}
    # Values are not read again for places to fill, so a text that holds one does nothing.
    return Template(_packaged("page.html")).substitute(
        policy=policy,
        title=_title(report),
        style=style,
        script=script,
        skip=element("a", say("skip"), href="#key", class_="skip"),
        languages=_languages(),
        contents=_contents(parts),
        headline=headline.headline(report),
        parts=join(parts.values()),
        made=say("made"),
    )


def _packaged(name: str) -> str:
    return resources.files("lagotto.evaluation.report").joinpath(name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _title(report: Report) -> Html:
    title, names = WORDS["title"], ", ".join(system.name for system in report.systems)
    return element(
        "title", text(f"{title.en}: {names}"), data_en=f"{title.en}: {names}", data_zh=f"{title.zh}：{names}"
    )


def _languages() -> Html:
    """Two buttons of which one is pressed; the style sheet acts on them, so they work without the script."""
    buttons = [
        join(
            (
                element("input", type="radio", name="language", id=code, checked=code == "en"),
                element("label", text(own), for_=code),
            )
        )
        for code, own in (("en", "English"), ("zh", "中文"))
    ]
    legend = element("legend", say("language"), class_="unseen")
    return element("fieldset", legend, *buttons, class_="languages")


def _contents(anchors: Iterable[str]) -> Html:
    links = [element("li", element("a", say(anchor), href=f"#{anchor}")) for anchor in anchors]
    title = element("span", say("contents"), id="contents-title", class_="unseen")
    return element("nav", title, element("ul", *links), aria_labelledby="contents-title")
