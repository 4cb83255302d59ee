"""The batch planner: which sequences share a batch. Pure integers, no tensors."""

from __future__ import annotations

from collections.abc import Sequence


def plan(lengths: Sequence[int], budget: int, max_rows: int = 1024) -> list[list[int]]:
    """Group sequences so that little padding is computed; returns lists of indexes, longest sequences first.

    Sequences are taken in order of falling length, as many as fit ``budget`` padded tokens (rows x longest) and
    ``max_rows``; one that exceeds the budget by itself gets a batch of its own. Every index comes exactly once, and
    equal lengths keep their order, so a plan depends on nothing but the lengths.

    >>> plan([3, 9, 2, 8], budget=16)
    [[1], [3, 0], [2]]
    """
    if budget < 1 or max_rows < 1:
        raise ValueError(f"budget {budget} and max_rows {max_rows} must be at least 1")
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    batches: list[list[int]] = []
    at = 0
    while at < len(order):
        longest = max(1, lengths[order[at]])
        rows = max(1, min(max_rows, budget // longest))
        batches.append(order[at : at + rows])
        at += rows
    return batches
