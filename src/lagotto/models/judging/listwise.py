"""Order documents window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lagotto.models.judging.asking import Asker, Shares
from lagotto.models.judging.orders import aggregate, shuffles
from lagotto.models.judging.strategies import Listwise
from lagotto.models.judging.wording import Wording


def ordered(
    asker: Asker,
    wording: Wording,
    strategy: Listwise,
    query: str,
    passages: Sequence[str],
    done: Callable[[int], None] | None,
) -> list[int]:
    """Numbers of the passages, the best first. A window to which no answer could be read keeps its order."""
    order = list(range(len(passages)))
    todo = windows(len(passages), strategy) * strategy.passes
    shares = Shares(done, len(passages), len(todo))
    for number, (start, end) in enumerate(todo):
        part = order[start:end]
        seed = f"{strategy.seed} {number}"
        found = _window(asker, wording, strategy, query, [passages[item] for item in part], seed)
        order[start:end] = [part[place] for place in found]
        shares.step()
    return order


def windows(count: int, strategy: Listwise) -> list[tuple[int, int]]:
    """(start, end) of the windows of one pass, from the end to the beginning; none for fewer than two passages.

    >>> windows(45, Listwise(window=20, step=10))
    [(25, 45), (15, 35), (5, 25), (0, 15)]
    """
    if count < 2:
        return []
    found, end = [], count
    while True:
        start = max(0, end - strategy.window)
        found.append((start, end))
        if start == 0:
            return found
        end -= strategy.step


def _window(
    asker: Asker, wording: Wording, strategy: Listwise, query: str, passages: Sequence[str], seed: str
) -> list[int]:
    count = len(passages)
    shown = [list(range(count))]
    if strategy.permutations > 1:
        shown = shuffles(count, strategy.permutations, seed)
    answers = asker.ask([wording.order(query, [passages[item] for item in view]) for view in shown])
    orders = []
    for view, answer in zip(shown, answers, strict=True):
        if answer.value is None:
            continue
        asker.count(answer.value)
        named = [view[place] for place in answer.value.named]
        orders.append(named + [item for item in range(count) if item not in set(named)])
    return aggregate(orders, strategy.aggregation) if orders else list(range(count))
