"""How a language model is asked for an order: `Pointwise`, `Pairwise` or `Listwise`, as data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, get_args

from lagotto.core.errors import InvalidInputError
from lagotto.models.inputs import check_count

Judgement = Literal["grade", "yes_no", "logprobs"]
Aggregation = Literal["borda", "reciprocal_rank"]
StrategyName = Literal["pointwise", "pairwise", "listwise"]


@dataclass(frozen=True, slots=True)
class Pointwise:
    """One question a document: how relevant is it? Calls: one a document, side by side.

    ``judgement``: ``"grade"`` asks for a whole number from 0 to 10, ``"yes_no"`` for yes or no. ``"logprobs"`` asks for
    yes or no too, and takes the log-odds of the answer's first token, which tells documents apart that all deserve a
    yes; the endpoint has to give ``logprobs``.
    """

    name: ClassVar[StrategyName] = "pointwise"
    judgement: Judgement = "grade"

    def __post_init__(self) -> None:
        _check_choice("judgement", self.judgement, get_args(Judgement))


@dataclass(frozen=True, slots=True)
class Pairwise:
    """One question for two documents: which is more relevant? All pairs are compared, and a document's wins counted.

    ``both_orders`` asks every pair twice, with the passages exchanged, as pairwise ranking prompting does (Qin et al.
    2023, "Large Language Models are Effective Text Rankers with Pairwise Ranking Prompting", arXiv:2306.17563): a model
    that answers by place instead of by content then gives each of both half a win. Calls: n (n - 1), or half of it;
    more than ``max_calls`` are refused.
    """

    name: ClassVar[StrategyName] = "pairwise"
    both_orders: bool = True
    max_calls: int = 1000

    def __post_init__(self) -> None:
        if not isinstance(self.both_orders, bool):
            raise InvalidInputError(f"both_orders is {self.both_orders!r}; give True or False")
        _check_integer("max_calls", self.max_calls, 1)


@dataclass(frozen=True, slots=True)
class Listwise:
    """One question for a window of documents: in which order? The window slides from the end to the beginning.

    RankGPT's way (Sun et al. 2023, "Is ChatGPT Good at Search? Investigating Large Language Models as Re-Ranking
    Agents", arXiv:2304.09542): ``window`` documents are ordered, the window moves on by ``step`` towards the beginning,
    and takes the ``window - step`` best along. One pass brings at most so many documents to the front from anywhere;
    ``passes`` repeats it.

    ``permutations`` over 1 controls for the order in which passages are shown: each window is asked that often, in
    seeded shuffles, and the orders are aggregated, after permutation self-consistency (Tang et al. 2023, "Found in the
    Middle: Permutation Self-Consistency Improves Listwise Ranking in Large Language Models", arXiv:2310.07712). Every
    second shuffle is the reverse of the one before it, so that with an even number a document stands as often early as
    late. ``aggregation``: ``"borda"`` is the mean place, ``"reciprocal_rank"`` the mean of 1 / place. (The paper seeks
    the order nearest to all by Kendall's distance, and shuffles the whole list; here a window keeps what earlier
    windows found.)

    Calls: about passes x permutations x n / step; those of one window run side by side.
    """

    name: ClassVar[StrategyName] = "listwise"
    window: int = 20
    step: int = 10
    passes: int = 1
    permutations: int = 1
    aggregation: Aggregation = "borda"
    seed: int = 0

    def __post_init__(self) -> None:
        _check_integer("window", self.window, 2)
        _check_integer("passes", self.passes, 1)
        _check_integer("permutations", self.permutations, 1)
        _check_integer("seed", self.seed, 0)
        _check_integer("step", self.step, 1)
        if self.step >= self.window:
            raise InvalidInputError(
                f"step is {self.step} with a window of {self.window}; it must be smaller, or no document could move on "
                "from one window to the next"
            )
        _check_choice("aggregation", self.aggregation, get_args(Aggregation))


Strategy = Pointwise | Pairwise | Listwise

_KINDS: dict[str, type[Strategy]] = {kind.name: kind for kind in (Pointwise, Pairwise, Listwise)}


def make_strategy(name: str, options: Mapping[str, Any]) -> Strategy:
    """The strategy of a name, with those options that are not None.

    Raises `InvalidInputError` for a name that does not exist, and for an option that is another strategy's.
    """
    _check_choice("strategy", name, tuple(_KINDS))
    kind = _KINDS[name]
    said = {key: value for key, value in options.items() if value is not None}
    known = [field.name for field in fields(kind)]
    if unknown := sorted(set(said) - set(known)):
        raise InvalidInputError(f"{unknown[0]} is not for strategy {name!r}, which takes {', '.join(known)}")
    return kind(**said)


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInputError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")


def _check_integer(name: str, value: int | None, least: int) -> None:
    if value is None:
        raise InvalidInputError(f"{name} is None; give an integer of at least {least}")
    check_count(name, value, least)
