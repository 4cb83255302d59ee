"""Charts are SVG that can stand in a page many times over: text stays text, colours are the page's, ids don't clash."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest

import lagotto
from lagotto.core.errors import MissingDependencyError
from lagotto.evaluation.report import charts
from lagotto.evaluation.report.charts import BYTES, INDEX, QUERIES, Point, shorten
from lagotto.evaluation.report.svg import PALETTE
from lagotto.evaluation.results import Estimate, Histogram, ScoreSpread

POINTS = (
    Point("bm25", 0, 900.0, 0.35, Estimate(0.35, 0.33, 0.37)),
    Point("混合 $x$ <b> & \x1b_y^", 1, 2.0, 0.52, Estimate(0.52, 0.5, 0.54)),
    Point("dense", 2, 30.0, 0.48),
)
HISTOGRAM = Histogram((0.0, 10.0, 20.0, 40.0), (3, 9, 1))
SPREAD = ScoreSpread(Histogram((0, 0.5, 1), (1, 3)), Histogram((0, 0.5, 1), (30, 10)), 0.5, 0.75)
SOURCES = str(Path(lagotto.__file__).parents[1])
SPACE = "{http://www.w3.org/2000/svg}"


def texts(svg, language=None):
    found = ElementTree.fromstring(svg).iter(f"{SPACE}text")
    return [item.text for item in found if language is None or item.get("lang") in (None, language)]


def ids(svg):
    return re.findall(r' id="([^"]+)"', svg)


def every_chart(prefix="p"):
    return [
        charts.quality_cost(POINTS, QUERIES, "ndcg@10", prefix=f"{prefix}1"),
        charts.score_spread(SPREAD, prefix=f"{prefix}2"),
        charts.lengths(HISTOGRAM, 32, prefix=f"{prefix}3"),
    ]


def test_the_same_values_give_the_same_string_whatever_the_users_settings():
    first = every_chart()
    with matplotlib.rc_context({"font.size": 30, "axes.facecolor": "red", "svg.fonttype": "path"}):
        assert every_chart() == first
        assert matplotlib.rcParams["font.size"] == 30


def test_pyplot_is_not_used():
    code = f"""
import sys
sys.path.insert(0, {SOURCES!r})
from lagotto.evaluation.report import charts
from lagotto.evaluation.results import Histogram
assert "matplotlib" not in sys.modules
charts.lengths(Histogram((0, 1), (1,)), 1, prefix="p")
assert "matplotlib.figure" in sys.modules
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_ids_of_charts_on_one_page_do_not_clash():
    svgs = every_chart("a") + every_chart("b")
    found = [one for svg in svgs for one in ids(svg)]
    assert found
    assert len(found) == len(set(found))
    for svg in svgs:
        referred = set(re.findall(r'href="#([^"]+)"', svg)) | set(re.findall(r"url\(#([^)]+)\)", svg))
        assert referred == set(ids(svg))


@pytest.mark.parametrize("number", range(3))
def test_nothing_acts_on_the_rest_of_the_page(number):
    svg = every_chart()[number]
    assert "style" not in svg
    assert "font-family" not in svg
    assert "<?xml" not in svg
    assert "metadata" not in svg
    assert re.findall(r"https?://[^\"]+", svg) == ["http://www.w3.org/2000/svg"]


def test_every_colour_is_a_variable_of_the_page():
    for svg in every_chart():
        colours = set(re.findall(r'(?:fill|stroke)="([^"]+)"', svg)) - {"none"}
        assert colours
        assert all(re.fullmatch(r"var\(--([a-z0-9]+), (#[0-9a-f]{6})\)", colour) for colour in colours), colours
        for name, value in re.findall(r"var\(--(\w+), (#\w+)\)", svg):
            assert PALETTE[name] == value


def test_names_stay_texts():
    shown = texts(every_chart()[0])
    assert "混合 $x$ <b> & ␛_y^" in shown
    assert {"bm25", "dense", "ndcg@10"} <= set(shown)


def test_both_languages():
    svg = every_chart()[0]
    assert QUERIES.label.en in texts(svg, "en")
    assert QUERIES.label.zh not in texts(svg, "en")
    assert QUERIES.label.zh in texts(svg, "zh")
    spread = every_chart()[1]
    assert {"relevant", "other", "score", "share"} <= set(texts(spread, "en"))
    assert {"相关", "其他", "得分", "占比"} <= set(texts(spread, "zh"))
    assert {"词元数", "文本数", "上限"} <= set(texts(every_chart()[2], "zh"))


def test_wide_costs_are_on_a_logarithmic_axis():
    assert {"1", "10", "100", "1,000"} & set(texts(charts.quality_cost(POINTS, QUERIES, "m", prefix="p"))) >= {
        "10",
        "100",
    }
    near = [replace(point, cost=100.0 + place) for place, point in enumerate(POINTS)]
    assert "0" in texts(charts.quality_cost(near, QUERIES, "m", prefix="p"))


def test_a_system_without_the_cost_is_a_dashed_line():
    points = [replace(POINTS[0], cost=0), *POINTS[1:]]
    svg = charts.quality_cost(points, BYTES, "m", prefix="p")
    assert "stroke-dasharray" in svg
    assert "stroke-dasharray" not in charts.quality_cost(POINTS, BYTES, "m", prefix="p")
    assert "bm25" in texts(svg)


def test_numbers_of_the_axes():
    sizes = texts(
        charts.quality_cost([replace(p, cost=1000.0 * (p.place + 1)) for p in POINTS], BYTES, "m", prefix="p")
    )
    assert {"0", "800 B", "1.6 kB"} <= set(sizes)
    assert "seconds to index (left is better)" in texts(charts.quality_cost(POINTS, INDEX, "m", prefix="p"))


def test_labels_do_not_cover_each_other():
    crowd = [Point(f"system {n}", n, 10.0, 0.5 + n / 1000) for n in range(6)]
    root = ElementTree.fromstring(charts.quality_cost([*crowd, POINTS[0]], QUERIES, "m", prefix="p"))
    labels = [item for item in root.iter(f"{SPACE}text") if (item.text or "").startswith("system")]
    places = {(item.get("text-anchor"), item.get("x"), item.get("y")) for item in labels}
    assert len(labels) == len(places) == 6


def test_more_systems_than_colours_are_told_apart_by_markers():
    many = [Point(f"s{n}", n, 1.0 + n, n / 20) for n in range(16)]
    svg = charts.quality_cost(many, QUERIES, "m", prefix="p")
    root = ElementTree.fromstring(svg)
    shapes = {item.get("id"): item.get("d") for item in root.iter(f"{SPACE}path") if item.get("id")}
    uses = [(item.get("fill"), shapes[item.get("href")[1:]]) for item in root.iter(f"{SPACE}use")]
    assert len(uses) == len(set(uses)) == 16


def test_the_threshold_and_the_limit_are_drawn_where_they_are_in_sight():
    assert "stroke-dasharray" in charts.score_spread(SPREAD, prefix="p")
    assert "stroke-dasharray" not in charts.score_spread(replace(SPREAD, best_threshold=7.0), prefix="p")
    assert "上限" in texts(charts.lengths(HISTOGRAM, 40, prefix="p"))
    assert "上限" not in texts(charts.lengths(HISTOGRAM, 8192, prefix="p"))


def test_counts_of_nothing():
    nothing = Histogram((0, 1), (0,))
    charts.score_spread(ScoreSpread(nothing, nothing, 0.5, 0.0), prefix="p")
    charts.lengths(nothing, 1, prefix="p")


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("bm25", "bm25"),
        ("bge-small-en-v1.5 with bge-reranker-base", "bge-small-en…reranker-base"),
        ("a\nb\x00", "a b␀"),
    ],
)
def test_shorten(name, shown):
    assert shorten(name) == shown


def test_without_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingDependencyError, match=r"lagotto\[eval\]"):
        charts.lengths(HISTOGRAM, 32, prefix="p")
