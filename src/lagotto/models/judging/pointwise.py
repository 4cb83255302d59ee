"""Judge documents one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lagotto.models.judging.answers import HIGHEST_GRADE, LEAST_LOG_ODDS
from lagotto.models.judging.asking import Answer, Asker
from lagotto.models.judging.strategies import Judgement, Pointwise
from lagotto.models.judging.wording import Wording


def judged(
    asker: Asker,
    wording: Wording,
    strategy: Pointwise,
    pairs: Sequence[tuple[str, str]],
    done: Callable[[int], None] | None,
) -> list[Answer[float]]:
    """The judgement of each (query, passage) pair: grade 0..10, 0 or 1, or log-odds; None where none could be read."""
    questions = [wording.judge(query, passage, strategy.judgement) for query, passage in pairs]
    return asker.ask(questions, None if done is None else lambda: done(1))


def lowest(judgement: Judgement) -> float:
    """What stands for a judgement that could not be read."""
    return LEAST_LOG_ODDS if judgement == "logprobs" else 0.0


def highest(judgement: Judgement) -> float:
    """What is divided by to bring a judgement that is no log-odds to 0..1."""
    return float(HIGHEST_GRADE) if judgement == "grade" else 1.0
