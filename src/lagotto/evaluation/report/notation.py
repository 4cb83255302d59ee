"""How numbers are written: the same in every language, in the page and in Markdown."""

from __future__ import annotations

import math

from lagotto.evaluation.results import Estimate

NOTHING = "–"
"""Written where there is no value."""


def value(number: float, digits: int = 4) -> str:
    """A measure's value.

    >>> value(0.53214), value(-0.02), value(float("nan"))
    ('0.5321', '−0.0200', 'n/a')
    """
    if math.isnan(number):
        return "n/a"
    return f"{number:.{digits if abs(number) < 10 else 2}f}".replace("-", "−")


def signed(number: float) -> str:
    """A difference, with its sign.

    >>> signed(0.0123), signed(-0.0123)
    ('+0.0123', '−0.0123')
    """
    return ("+" if number >= 0 else "") + value(number)


def interval(estimate: Estimate) -> str:
    """The 95 % interval.

    >>> interval(Estimate(0.5, 0.4512, 0.5488))
    '[0.451, 0.549]'
    """
    return f"[{value(estimate.low, 3)}, {value(estimate.high, 3)}]"


def probability(number: float) -> str:
    """A p value; one that is not told apart from 0 by four digits is written as smaller.

    >>> probability(0.01234), probability(0.00001)
    ('0.0123', '< 0.0001')
    """
    return "< 0.0001" if number < 0.00005 else value(number)


def count(number: int) -> str:
    """A whole number.

    >>> count(1234567)
    '1,234,567'
    """
    return f"{number:,}".replace("-", "−")


def rate(number: float) -> str:
    """Something a second, to three digits; nothing was measured at 0.

    >>> rate(1234.5), rate(56.78), rate(0.01234), rate(0)
    ('1,234', '56.8', '0.0123', '–')
    """
    if number <= 0:
        return NOTHING
    if number >= 1000:
        return f"{number:,.0f}"
    number = float(f"{number:.2e}")  # 0.9999 is 1.00
    digits = max(0, 2 - math.floor(math.log10(number)))
    return f"{number:.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds, or larger units where there are many.

    >>> duration(0.0123), duration(59.25), duration(200), duration(7500), duration(0)
    ('12.3 ms', '59.2 s', '3 min 20 s', '2 h 05 min', '–')
    """
    if seconds <= 0:
        return NOTHING
    if seconds < 0.9995:
        return f"{rate(seconds * 1000)} ms"
    if seconds < 120:
        return f"{rate(seconds)} s"
    if seconds < 7200:
        return f"{round(seconds) // 60} min {round(seconds) % 60:02d} s"
    return f"{round(seconds / 60) // 60} h {round(seconds / 60) % 60:02d} min"


def size(number: float) -> str:
    """Bytes, in steps of a thousand.

    >>> size(1536), size(512), size(0)
    ('1.54 kB', '512 B', '–')
    """
    for unit in ("B", "kB", "MB", "GB"):
        if number < 999.5:
            return f"{rate(number)} {unit}" if number > 0 else NOTHING
        number /= 1000
    return f"{rate(number)} TB"
