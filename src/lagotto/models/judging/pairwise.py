"""Compare documents in pairs, and count wins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

from lagotto.core.errors import InvalidInputError
from lagotto.models.judging.asking import Asker, Shares
from lagotto.models.judging.strategies import Pairwise
from lagotto.models.judging.wording import Wording


def wins(
    asker: Asker,
    wording: Wording,
    strategy: Pairwise,
    query: str,
    passages: Sequence[str],
    done: Callable[[int], None] | None,
) -> list[float]:
    """The share of its comparisons that each passage wins, 0..1; one that could not be read is half a win for both.

    A passage that is alone has 1. Raises `InvalidInputError` where more calls were needed than are allowed.
    """
    pairs = list(combinations(range(len(passages)), 2))
    shown = [*pairs, *((b, a) for a, b in pairs)] if strategy.both_orders else pairs
    if len(shown) > strategy.max_calls:
        raise InvalidInputError(
            f"{len(passages)} documents need {len(shown)} comparisons, max_calls is {strategy.max_calls}; give fewer "
            "documents, raise it, or use another strategy"
        )
    shares = Shares(done, len(passages), len(shown))
    if not shown:
        return [1.0] * len(passages)
    answers = asker.ask([wording.compare(query, passages[a], passages[b]) for a, b in shown], shares.step)
    points = [0.0] * len(passages)
    for (a, b), answer in zip(shown, answers, strict=True):
        won = {"A": 1.0, "B": 0.0, None: 0.5}[answer.value]
        points[a] += won
        points[b] += 1 - won
    each = (len(passages) - 1) * (2 if strategy.both_orders else 1)
    return [value / each for value in points]
