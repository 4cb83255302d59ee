"""The batch planner: which sequences share a batch. Pure integers, no tensors."""

from __future__ import annotations

from collections.abc import Sequence

_SHARE = 0.75
"""A sequence may be padded to another's length when it has at least this share of it,"""
_NEAR = 12
"""or lacks no more than so many tokens: for short texts a fuller batch is worth more than its padding."""
MAX_ROWS = 1024
"""Sequences a batch may have, however short."""


def similar(shortest: int, longest: int) -> bool:
    """Whether sequences of these lengths should share a batch.

    >>> similar(80, 100), similar(60, 100), similar(5, 16)
    (True, False, True)
    """
    return shortest >= _SHARE * longest or longest - shortest <= _NEAR


def plan(lengths: Sequence[int], budget: int, max_rows: int = MAX_ROWS) -> list[list[int]]:
    """Group sequences so that little padding is computed; returns lists of indexes, longest sequences first.

    Sequences are taken in order of falling length, as many similar ones as fit ``budget`` padded tokens (rows x
    longest) and ``max_rows``; one that exceeds the budget by itself gets a batch of its own. Every index comes exactly
    once, and equal lengths keep their order, so a plan depends on nothing but the lengths.

    >>> plan([3, 9, 2, 8], budget=16)
    [[1], [3, 0], [2]]
    >>> plan([50, 100, 90], budget=1000)
    [[1, 2], [0]]
    """
    if budget < 1 or max_rows < 1:
        raise ValueError(f"budget {budget} and max_rows {max_rows} must be at least 1")
    batches: list[list[int]] = []
    longest = 0
    for index in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        length = max(1, lengths[index])
        room = batches and len(batches[-1]) < min(max_rows, budget // longest)
        if room and similar(length, longest):
            batches[-1].append(index)
        else:
            batches.append([index])
            longest = length
    return batches
