"""HTML that is safe by type: `Html` is made here, and whatever comes from outside goes through `text`."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NewType

from lagotto.evaluation.report.words import Words, words

Html = NewType("Html", str)
"""Markup. Never made from a name, a text or any other outside value but by `text`."""

_VOID = frozenset({"br", "input", "link", "meta"})
# What XML and HTML can't hold, or what would vanish or act: controls but line feed and tab, halves of surrogate
# pairs, and non-characters.
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


def clean(value: object) -> str:
    """A text whose control characters can be seen instead of acting.

    >>> clean("a\\x1b[31m\\r\\nb\\x00")
    'a␛[31m\\nb␀'
    """
    return _UNSEEN.sub(_picture, str(value).replace("\r\n", "\n"))


def _picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def text(value: object) -> Html:
    """Any text, escaped for content and attributes."""
    return Html(html.escape(clean(value)))


def name(value: object) -> Html:
    """A name or another short text inside a line; its writing direction stays its own."""
    return element("bdi", text(value))


def element(tag: str, *children: Html, **attributes: str | int | bool | None) -> Html:
    """An element. ``class_`` is ``class``, underscores are hyphens; True stands without a value, False and None go."""
    written = "".join(_attribute(key, given) for key, given in attributes.items())
    if tag in _VOID:
        return Html(f"<{tag}{written}>")
    return Html(f"<{tag}{written}>{''.join(children)}</{tag}>")


def _attribute(key: str, given: str | int | bool | None) -> str:
    if given is None or given is False:
        return ""
    key = key.rstrip("_").replace("_", "-")
    return f" {key}" if given is True else f' {key}="{text(given)}"'


def join(parts: Iterable[Html]) -> Html:
    """Parts one after the other."""
    return Html("".join(parts))


def both(pair: Words) -> Html:
    """Words in both languages; the style sheet shows one of them. What is the same in both is a name."""
    if pair.en == pair.zh:
        return name(pair.en)
    return join((element("span", text(pair.en), lang="en"), element("span", text(pair.zh), lang="zh")))


def say(key: str, **values: object) -> Html:
    """What a key says, in both languages."""
    return both(words(key, **values))


def option(pair: Words, value: str = "") -> Html:
    """An option, whose words the page's script exchanges: an option holds no elements."""
    return element("option", text(pair.en), value=value, data_en=pair.en, data_zh=pair.zh)


def table(head: Sequence[Html], rows: Iterable[Html], *, labelled_by: str) -> Html:
    """A table that scrolls sideways within the page; head cells and rows are whole elements."""
    return _scrolling(element("thead", element("tr", *head)), element("tbody", *rows), labelled_by=labelled_by)


def grouped_table(head: Sequence[Html], rows: Iterable[tuple[Html, Html]], *, labelled_by: str) -> Html:
    """A table of (label, row), where rows that follow each other under one label stand below it."""
    bodies = []
    for label, members in groupby(rows, key=lambda row: row[0]):
        title = element("th", element("span", label), scope="rowgroup", colspan=len(head))
        bodies.append(element("tbody", element("tr", title, class_="label"), *(row for _, row in members)))
    return _scrolling(element("thead", element("tr", *head)), *bodies, labelled_by=labelled_by)


def _scrolling(*parts: Html, labelled_by: str) -> Html:
    # A box that scrolls must be reachable by keyboard, and then it needs a name.
    region = {"class_": "scroll", "role": "region", "aria_labelledby": labelled_by}
    return element("div", element("table", *parts), tabindex=0, **region)


def head(key: str, *, number: bool = False) -> Html:
    """The head cell of a column."""
    return element("th", say(key), scope="col", class_="number" if number else None)


def cell(*children: Html, class_: str | None = None) -> Html:
    """A cell."""
    return element("td", *children, class_=class_)


def number(written: str) -> Html:
    """A cell with a number."""
    return cell(text(written), class_="number")


def section(key: str, *children: Html) -> Html:
    """A part of the page with its heading; the key is its anchor."""
    heading = element("h2", say(key), id=f"{key}-title")
    return element("section", heading, *children, id=key, aria_labelledby=f"{key}-title")


def note(key: str) -> Html:
    """A sentence that explains."""
    return element("p", say(key), class_="note")


def fold(summary: Html, *children: Html, open: bool = False, **attributes: str | int | bool | None) -> Html:
    """Content that opens and closes without a script."""
    return element("details", element("summary", summary), *children, open=open, **attributes)
