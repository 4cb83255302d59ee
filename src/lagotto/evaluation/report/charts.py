"""Charts as SVG, drawn by matplotlib without pyplot: quality against cost, scores, lengths.

Texts stay texts, so the reader's own fonts draw them, Chinese included. The same values give the same string.
"""

from __future__ import annotations

import io
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Lock
from typing import Any, NamedTuple

from lagotto.core.errors import MissingDependencyError
from lagotto.evaluation.report import notation
from lagotto.evaluation.report.markup import clean
from lagotto.evaluation.report.svg import PALETTE, finish
from lagotto.evaluation.report.words import Words, words
from lagotto.evaluation.results import Estimate, Histogram, ScoreSpread

_MARKERS = "osD^vPX*"
_COLOURS = 8
_FONT = 10
_LABEL_COLUMNS = 26

_Box = tuple[float, float, float, float]
"""Left, bottom, right, top in pixels."""


class _Spot(NamedTuple):
    """Where a label may stand."""

    x: float
    y: float
    side: str
    """Which part of the label is at x: left, center or right."""


@dataclass(frozen=True, slots=True)
class Point:
    """A system in a chart of quality against cost."""

    name: str
    place: int
    """The system's place in the report, which gives its colour and marker."""
    cost: float
    """0 for a system that takes none: it is drawn as a line across."""
    quality: float
    interval: Estimate | None = None


@dataclass(frozen=True, slots=True)
class Axis:
    """What a cost axis shows."""

    label: Words
    written: Callable[[float], str]
    """How its numbers are written."""


def _plain(number: float) -> str:
    return f"{number:,.4g}" if number < 1000 else f"{number:,.0f}"


def _short_size(number: float) -> str:
    digits, _, unit = notation.size(number).partition(" ")
    return f"{float(digits):g} {unit}"


QUERIES = Axis(words("chart.queries"), _plain)
INDEX = Axis(words("chart.index"), _plain)
BYTES = Axis(words("chart.bytes"), _short_size)


def quality_cost(points: Sequence[Point], axis: Axis, measure: str, *, prefix: str) -> str:
    """Quality against one cost, a labelled point a system. ``prefix`` keeps its ids apart from other charts'."""
    with _figure(360, 250, prefix) as figure:
        axes = _axes(figure, (0.13, 0.17, 0.83, 0.72))
        placed = [point for point in points if point.cost > 0]
        costs = [point.cost for point in placed]
        logarithmic = max(costs) / min(costs) >= 5
        if logarithmic:
            axes.set_xscale("log")
        axes.set_xlim(*_cost_limits(costs, logarithmic))
        axes.set_ylim(*_quality_limits(points))
        _write_numbers(axes, axis, logarithmic)
        for point in points:
            _draw(axes, point)
        _label(axes, points)
        axes.set_xlabel(axis.label.en, loc="right")
        axes.set_title(clean(measure), loc="left", fontsize=_FONT, parse_math=False)
        return _svg(figure, prefix, axis.label)


def score_spread(spread: ScoreSpread, *, prefix: str) -> str:
    """Scores of relevant and of other hits, each as a share of its own, with the best threshold."""
    labels = [words("chart.relevant"), words("chart.other"), words("chart.score"), words("chart.share")]
    with _figure(300, 170, prefix) as figure:
        axes = _axes(figure, (0.15, 0.22, 0.82, 0.66))
        for histogram, colour, label, fill in (
            (spread.other, "muted", labels[1], False),
            (spread.relevant, "s1", labels[0], True),
        ):
            total = sum(histogram.counts) or 1
            shares = [count / total for count in histogram.counts]
            axes.stairs(shares, histogram.edges, color=PALETTE[colour], fill=fill, alpha=0.45 if fill else 1)
            axes.plot([], [], color=PALETTE[colour], linewidth=5 if fill else 1.5, label=label.en)
        if spread.relevant.edges[0] <= spread.best_threshold <= spread.relevant.edges[-1]:
            axes.axvline(spread.best_threshold, color=PALETTE["ink"], linestyle="--", linewidth=1)
        axes.set_ylim(bottom=0)
        axes.set_xlabel(labels[2].en, loc="right")
        axes.set_title(labels[3].en, loc="left", fontsize=_FONT)
        _legend(axes)
        return _svg(figure, prefix, *labels)


def lengths(histogram: Histogram, limit: int, *, prefix: str) -> str:
    """How long texts were in tokens, with the limit."""
    labels = [words("chart.tokens"), words("chart.texts"), words("chart.limit")]
    with _figure(300, 170, prefix) as figure:
        axes = _axes(figure, (0.15, 0.22, 0.82, 0.66))
        axes.stairs(histogram.counts, histogram.edges, color=PALETTE["s1"], fill=True, alpha=0.45)
        if limit <= histogram.edges[-1] * 1.05:
            axes.axvline(limit, color=PALETTE["ink"], linestyle="--", linewidth=1, label=labels[2].en)
            _legend(axes)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(_ticker().MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(lambda number, _: notation.count(round(number)))
        axes.set_xlabel(labels[0].en, loc="right")
        axes.set_title(labels[1].en, loc="left", fontsize=_FONT)
        return _svg(figure, prefix, *labels)


def charting_library() -> Any:
    """``matplotlib``. Raises `MissingDependencyError` without it."""
    try:
        import matplotlib
    except ImportError:
        raise MissingDependencyError('charts need matplotlib: pip install "lagotto[eval]"') from None
    return matplotlib


_DRAWING = Lock()  # matplotlib's settings are the process's


@contextmanager
def _figure(width: int, height: int, prefix: str) -> Iterator[Any]:
    """An empty figure of so many points, under matplotlib's own settings and ours, whatever the user's file says."""
    matplotlib = charting_library()
    from matplotlib.figure import Figure

    ours = {
        "svg.fonttype": "none",
        "svg.hashsalt": prefix,
        "font.size": _FONT,
        "figure.facecolor": "none",
        "axes.facecolor": "none",
        "axes.edgecolor": PALETTE["muted"],
        "axes.labelcolor": PALETTE["ink"],
        "text.color": PALETTE["ink"],
        "xtick.color": PALETTE["muted"],
        "ytick.color": PALETTE["muted"],
        "grid.color": PALETTE["grid"],
    }
    with _DRAWING, matplotlib.rc_context(), warnings.catch_warnings():
        # Widths are measured in matplotlib's own font, which lacks Chinese; the browser has it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(ours)
        yield Figure(figsize=(width / 72, height / 72), dpi=72)


def _axes(figure: Any, box: tuple[float, float, float, float]) -> Any:
    axes = figure.add_axes(box)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(which="both", length=0)
    axes.grid(axis="y", linewidth=0.8)
    axes.set_axisbelow(True)
    return axes


def _svg(figure: Any, prefix: str, *labels: Words) -> str:
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    written = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(written, metadata=nothing)
    return finish(written.getvalue(), prefix, {label.en: label.zh for label in labels})


def _ticker() -> Any:
    from matplotlib import ticker

    return ticker


def _legend(axes: Any) -> None:
    axes.legend(
        frameon=False, fontsize=_FONT - 1, handlelength=1.2, loc="lower right", ncols=2, bbox_to_anchor=(1, 0.97)
    )


def _cost_limits(costs: Sequence[float], logarithmic: bool) -> tuple[float, float]:
    """Room on both sides for points and labels."""
    low, high = min(costs), max(costs)
    if logarithmic:
        room = (high / low) ** 0.12
        return low / room, high * room
    return 0, high * 1.2


def _quality_limits(points: Sequence[Point]) -> tuple[float, float]:
    low = min(point.interval.low if point.interval else point.quality for point in points)
    high = max(point.interval.high if point.interval else point.quality for point in points)
    room = max((high - low) * 0.12, 0.01)
    return low - room, high + room


def _write_numbers(axes: Any, axis: Axis, logarithmic: bool) -> None:
    ticker = _ticker()
    low, high = axes.get_xlim()
    if logarithmic:
        # Few decades need numbers between them, many would be crowded by them.
        between = (1.0, 2.0, 5.0) if high / low < 60 else (1.0, 3.0) if high / low < 1000 else (1.0,)
        axes.xaxis.set_major_locator(ticker.LogLocator(subs=between, numticks=20))
        axes.xaxis.set_minor_locator(ticker.NullLocator())
    else:
        axes.xaxis.set_major_locator(ticker.MaxNLocator(5))
    axes.xaxis.set_major_formatter(lambda number, _: axis.written(number) if number > 0 else "0")
    axes.yaxis.set_major_locator(ticker.MaxNLocator(5))


def _colour(place: int) -> str:
    return PALETTE[f"s{place % _COLOURS}"]


def _draw(axes: Any, point: Point) -> None:
    colour = _colour(point.place)
    if point.cost <= 0:
        axes.axhline(point.quality, color=colour, linestyle="--", linewidth=1)
        return
    if point.interval:
        axes.plot([point.cost] * 2, [point.interval.low, point.interval.high], color=colour, linewidth=1, alpha=0.6)
    # Colours repeat after eight systems; the markers then move on by one.
    marker = _MARKERS[(point.place + point.place // _COLOURS) % len(_MARKERS)]
    axes.plot([point.cost], [point.quality], marker=marker, markersize=7, color=colour, linestyle="none")


def _label(axes: Any, points: Sequence[Point]) -> None:
    """Names beside their points, where they cover neither other names nor points nor intervals."""
    taken = [box for point in points if point.cost > 0 for box in _covered(axes, point)]
    for point in sorted(points, key=lambda item: _pixels(axes, item)):
        choices = [(spot, _box(spot, _width(point.name))) for spot in _spots(axes, point)]
        frame = axes.get_window_extent()
        inside = [item for item in choices if item[1][0] >= frame.x0 - 30 and item[1][2] <= frame.x1 + 12] or choices
        spot, box = min(inside, key=lambda item: sum(_overlap(item[1], other) for other in taken))
        taken.append(box)
        at = axes.transData.inverted().transform((spot.x, spot.y))
        style = {"ha": spot.side, "va": "center_baseline", "color": _colour(point.place), "parse_math": False}
        axes.text(*at, shorten(point.name), **style)


def _spots(axes: Any, point: Point) -> list[_Spot]:
    """Places for a point's name, the best first."""
    x, y = _pixels(axes, point)
    if point.cost <= 0:
        frame = axes.get_window_extent()
        return [_Spot(frame.x0 + 2, y + 7, "left"), _Spot(frame.x1, y + 7, "right"), _Spot(frame.x0 + 2, y - 8, "left")]
    spots = [_Spot(x + 8, y, "left"), _Spot(x - 8, y, "right"), _Spot(x, y + 13, "center"), _Spot(x, y - 13, "center")]
    for step in (12, -12, 24, -24):
        spots += [_Spot(x + 8, y + step, "left"), _Spot(x - 8, y + step, "right")]
    return spots


def _box(spot: _Spot, wide: float) -> _Box:
    left = spot.x - {"left": 0.0, "center": wide / 2, "right": wide}[spot.side]
    return left, spot.y - 6, left + wide, spot.y + 6


def _covered(axes: Any, point: Point) -> Iterator[_Box]:
    x, y = _pixels(axes, point)
    yield x - 5, y - 5, x + 5, y + 5
    if point.interval:
        low, high = axes.transData.transform([(point.cost, point.interval.low), (point.cost, point.interval.high)])
        yield low[0] - 1, low[1], high[0] + 1, high[1]


def _pixels(axes: Any, point: Point) -> tuple[float, float]:
    x = point.cost if point.cost > 0 else axes.get_xlim()[0]
    across, up = axes.transData.transform((x, point.quality))
    return float(across), float(up)


def _overlap(one: _Box, other: _Box) -> float:
    across = min(one[2], other[2]) - max(one[0], other[0])
    up = min(one[3], other[3]) - max(one[1], other[1])
    return max(across, 0) * max(up, 0)


def shorten(name: str) -> str:
    """A name for a label: its beginning and its end where it is long, since either may tell it apart.

    >>> shorten("bge-small-en-v1.5 with bge-reranker-base")
    'bge-small-en…reranker-base'
    """
    plain = " ".join(clean(name).split())
    if len(plain) <= _LABEL_COLUMNS:
        return plain
    half = _LABEL_COLUMNS // 2
    return f"{plain[: half - 1]}…{plain[-half:]}"


def _width(name: str) -> float:
    """Roughly how wide a label is: browsers' fonts differ, Chinese characters are twice as wide as others."""
    wide = sum(unicodedata.east_asian_width(character) in "WF" for character in shorten(name))
    return _FONT * (wide + 0.56 * (len(shorten(name)) - wide))
