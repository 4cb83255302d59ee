"""Make matplotlib's SVG fit to stand inside a page: its colours and fonts, no clashing ids, no style attributes.

A page with a strict Content-Security-Policy allows no style attributes, so they become presentation attributes; ids
count for the whole page, so those nothing refers to go and the rest get the chart's prefix; colours of `PALETTE`
become CSS variables, which the page sets for light and for dark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

PALETTE: Mapping[str, str] = {
    "ink": "#1d2329",
    "muted": "#5b6670",
    "grid": "#dfe3e7",
    "s0": "#24292f",
    "s1": "#0b62b8",
    "s2": "#b54708",
    "s3": "#0f7b5f",
    "s4": "#8a3ffc",
    "s5": "#b42368",
    "s6": "#7a6a00",
    "s7": "#4b6a88",
}
"""Variable -> its colour on light paper."""

_XLINK = "{http://www.w3.org/1999/xlink}href"
_PATH_NUMBER = re.compile(r"-?\d+\.\d+")
_KEPT = frozenset(
    {
        "fill", "fill-opacity", "font-size", "font-weight", "opacity", "stroke", "stroke-dasharray", "stroke-linejoin",
        "stroke-opacity", "stroke-width", "text-anchor",
    }
)  # fmt: skip
"""Style properties that are kept; fonts are the page's."""


def finish(svg: str, prefix: str, translations: Mapping[str, str]) -> str:
    """An SVG of matplotlib for a page, named by the element whose id is ``PREFIX-caption``.

    Texts that have a translation are there twice, marked with ``lang``.
    """
    root = ElementTree.fromstring(svg)
    _drop_preamble(root)
    size = root.get("viewBox", "")
    referred = set(_references(root))
    for item in root.iter():
        item.tag = item.tag.rpartition("}")[2]
        item.text = (item.text or "").strip("\n ") if item.tag != "text" else item.text
        item.tail = None
        _unstyle(item)
        _name_apart(item, referred, prefix)
        _round(item)
    _translate(root, translations)
    root.attrib = {
        "xmlns": "http://www.w3.org/2000/svg",
        "viewBox": size,
        "class": "chart",
        "role": "img",
        "aria-labelledby": f"{prefix}-caption",
    }
    return ElementTree.tostring(root, encoding="unicode")


def _drop_preamble(root: Element) -> None:
    """The creator's metadata, a style rule that would hold for the whole page, and the empty background."""
    for parent in list(root.iter()):
        for child in list(parent):
            name = child.tag.rpartition("}")[2]
            styled = name == "defs" and all(inner.tag.endswith("}style") for inner in child)
            unseen = name == "path" and child.get("style") == "fill: none"
            if name == "metadata" or styled or unseen:
                parent.remove(child)


def _references(root: Element) -> Iterable[str]:
    for item in root.iter():
        for name, value in item.attrib.items():
            if name == _XLINK:
                yield value.removeprefix("#")
            elif match := re.search(r"url\(#([^)]+)\)", value):
                yield match[1]


def _unstyle(item: Element) -> None:
    variables = {colour: name for name, colour in PALETTE.items()}
    for part in item.attrib.pop("style", "").split(";"):
        key, _, value = (piece.strip() for piece in part.partition(":"))
        if key in _KEPT:
            item.set(key, f"var(--{variables[value]}, {value})" if value in variables else value)


def _name_apart(item: Element, referred: set[str], prefix: str) -> None:
    if (own := item.attrib.pop("id", None)) in referred:
        item.set("id", f"{prefix}-{own}")
    if target := item.attrib.pop(_XLINK, None):
        item.set("href", f"#{prefix}-{target.removeprefix('#')}")
    for name, value in item.attrib.items():
        if "url(#" in value:
            item.set(name, value.replace("url(#", f"url(#{prefix}-"))


def _round(item: Element) -> None:
    """Two digits behind the point are finer than any screen, at half the size."""
    for name in ("d", "x", "y", "transform", "width", "height"):
        if given := item.get(name):
            item.set(name, " ".join(_PATH_NUMBER.sub(lambda match: f"{float(match[0]):.5g}", given).split()))
    if item.get("transform", "").startswith("rotate(-0 "):
        del item.attrib["transform"]


def _translate(root: Element, translations: Mapping[str, str]) -> None:
    for parent in list(root.iter()):
        for place, child in reversed(list(enumerate(parent))):
            if child.tag == "text" and (chinese := translations.get(child.text or "")):
                twin = Element("text", {**child.attrib, "lang": "zh"})
                twin.text = chinese
                child.set("lang", "en")
                parent.insert(place + 1, twin)
