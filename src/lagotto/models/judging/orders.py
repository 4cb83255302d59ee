"""Orders of a few things: shuffles to show them in, and one order made of many."""

from __future__ import annotations

import random
from collections.abc import Sequence

from lagotto.models.judging.strategies import Aggregation


def shuffles(count: int, number: int, seed: str) -> list[list[int]]:
    """So many orders of ``count`` things, the same for the same seed; every second is the reverse of the one before.

    >>> shuffles(4, 2, "any")[0] == shuffles(4, 2, "any")[1][::-1]
    True
    """
    source = random.Random(seed)
    found: list[list[int]] = []
    while len(found) < number:
        order = list(range(count))
        source.shuffle(order)
        found += [order, order[::-1]]
    return found[:number]


def aggregate(orders: Sequence[Sequence[int]], method: Aggregation) -> list[int]:
    """One order from several of the same things 0..n-1: by mean place (Borda), or mean of 1 / place; ties by number.

    >>> aggregate([[0, 1, 2], [1, 0, 2], [1, 2, 0]], "borda")
    [1, 0, 2]
    """
    points = [0.0] * len(orders[0])
    for order in orders:
        for place, item in enumerate(order, 1):
            points[item] += -float(place) if method == "borda" else 1 / place
    return sorted(range(len(points)), key=lambda item: (-points[item], item))
