"""How sure a figure is: bootstrap intervals, paired randomisation tests, Holm's correction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.results import Estimate, Histogram, ScoreSpread

Vector = NDArray[np.float64]

RESAMPLES = 10_000
SLOW_RESAMPLES = 1_000
"""Resamplings of a statistic that has to be computed anew for each."""
_SEED = 20_250_101
_SPREAD_BINS = 40
_CHUNK = 4_000_000  # numbers drawn at a time


@dataclass(frozen=True, slots=True, eq=False)
class Means:
    """Per-query values; the statistic is their mean."""

    values: Vector

    @property
    def value(self) -> float:
        """The mean."""
        return float(self.values.mean())

    def bootstrap(self, seed: int = _SEED) -> Vector:
        """(RESAMPLES,) means of queries drawn with replacement (Efron 1979)."""
        rng = np.random.default_rng(seed)
        n = len(self.values)
        step = max(1, _CHUNK // n)
        parts = [
            self.values[rng.integers(n, size=(min(step, RESAMPLES - start), n))].mean(axis=1)
            for start in range(0, RESAMPLES, step)
        ]
        return np.concatenate(parts)


@dataclass(frozen=True, slots=True, eq=False)
class Paired:
    """Scores of pairs beside gold values; the statistic is a function of all of them (Spearman's rho, say)."""

    scores: Vector
    gold: Vector
    statistic: Callable[[Vector, Vector], float]

    @property
    def value(self) -> float:
        """The statistic of all pairs."""
        return self.statistic(self.scores, self.gold)

    def bootstrap(self) -> Vector:
        """(SLOW_RESAMPLES,) statistics of pairs drawn with replacement."""
        rng = np.random.default_rng(_SEED)
        n = len(self.scores)
        draws = (rng.integers(n, size=n) for _ in range(SLOW_RESAMPLES))
        return np.array([self.statistic(self.scores[rows], self.gold[rows]) for rows in draws])


Sample = Means | Paired


def estimate(sample: Sample) -> Estimate:
    """The statistic with its 95 % percentile bootstrap interval."""
    return interval(sample.value, sample.bootstrap())


def interval(value: float, draws: Vector) -> Estimate:
    """A value with the middle 95 % of what resampling gave."""
    finite = draws[np.isfinite(draws)]  # a draw of one class only has no average precision
    low, high = np.quantile(finite, (0.025, 0.975)) if len(finite) else (value, value)
    return Estimate(value, float(low), float(high))


@dataclass(frozen=True, slots=True)
class Outcome:
    """A system against a baseline."""

    difference: Estimate
    p_value: float
    wins: int
    losses: int
    ties: int


def compare(system: Sample, baseline: Sample) -> Outcome:
    """Two systems on the same queries or pairs, in the same order.

    The p-value is that of a two-sided paired randomisation test (Fisher 1935; Smucker, Allan and Carterette, CIKM
    2007): how often swapping the two systems' values at random gives a difference at least as large. It counts the
    observed assignment, so it is never 0. For a `Paired` statistic, ranks are swapped, since the scores of two models
    have no common scale.
    """
    if isinstance(system, Means) and isinstance(baseline, Means):
        return compare_means([system], [baseline])
    if isinstance(system, Paired) and isinstance(baseline, Paired) and len(system.scores) == len(baseline.scores):
        return _compare_paired(system, baseline)
    raise InvalidInputError("two systems are compared on the same queries or pairs, by the same measure")


def compare_means(
    system: Sequence[Means], baseline: Sequence[Means], weights: Sequence[float] | None = None
) -> Outcome:
    """The weighted mean over several data sets of each one's mean; all count the same by default, as in BEIR's average.

    Queries are drawn, and swapped, within their data set.
    """
    if any(len(a.values) != len(b.values) for a, b in zip(system, baseline, strict=True)):
        raise InvalidInputError("two systems are compared on the same queries")
    gaps = [a.values - b.values for a, b in zip(system, baseline, strict=True)]
    differences = [Means(gap) for gap in gaps]
    # Seeds of their own: with the same, queries at the same places of several data sets would be drawn together.
    parts = [item.bootstrap(_SEED + number) for number, item in enumerate(differences)]
    draws = np.average(parts, axis=0, weights=weights)
    observed = float(np.average([item.value for item in differences], weights=weights))
    rng = np.random.default_rng(_SEED)
    flipped = np.average([_flipped_means(gap, rng) for gap in gaps], axis=0, weights=weights)
    p_value = (1 + np.count_nonzero(np.abs(flipped) >= abs(observed) - 1e-12)) / (RESAMPLES + 1)
    every = np.concatenate(gaps)
    return Outcome(interval(observed, draws), float(p_value), *_outcomes(every))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number (Holm 1979), in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    corrected = [0.0] * len(p_values)
    largest = 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        corrected[place] = largest
    return corrected


def _flipped_means(gap: Vector, rng: np.random.Generator) -> Vector:
    """(RESAMPLES,) means of the differences with signs drawn at random."""
    n = len(gap)
    step = max(1, _CHUNK // n)
    parts = []
    for start in range(0, RESAMPLES, step):
        signs = rng.integers(0, 2, size=(min(step, RESAMPLES - start), n), dtype=np.int8)
        parts.append((signs * 2.0 - 1.0) @ gap / n)
    return np.concatenate(parts)


def _outcomes(gap: Vector) -> tuple[int, int, int]:
    wins, losses = int(np.count_nonzero(gap > 1e-12)), int(np.count_nonzero(gap < -1e-12))
    return wins, losses, len(gap) - wins - losses


def _compare_paired(system: Paired, baseline: Paired) -> Outcome:
    rng = np.random.default_rng(_SEED)
    n = len(system.scores)
    a, b = average_ranks(system.scores), average_ranks(baseline.scores)
    observed = system.value - baseline.value
    bar = abs(system.statistic(a, system.gold) - system.statistic(b, system.gold)) - 1e-12
    extreme = 0
    for _ in range(SLOW_RESAMPLES):
        swap = rng.integers(0, 2, size=n, dtype=np.int8).astype(bool)
        gap = system.statistic(np.where(swap, b, a), system.gold) - system.statistic(np.where(swap, a, b), system.gold)
        extreme += abs(gap) >= bar
    draws = system.bootstrap() - baseline.bootstrap()  # the same seed draws the same pairs for both
    return Outcome(interval(observed, draws), (1 + extreme) / (SLOW_RESAMPLES + 1), 0, 0, n)


def average_ranks(values: Vector) -> Vector:
    """Ranks from 1, equal values sharing the mean of theirs.

    >>> average_ranks(np.array([10.0, 20.0, 10.0])).tolist()
    [1.5, 3.0, 1.5]
    """
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    means: Vector = (ends - counts + 1 + ends) / 2
    return means[inverse]


def spearman(scores: Vector, gold: Vector) -> float:
    """Spearman's rank correlation; 0 where one side is constant."""
    return pearson(average_ranks(scores), average_ranks(gold))


def pearson(scores: Vector, gold: Vector) -> float:
    """Pearson's correlation; 0 where one side is constant."""
    a, b = scores - scores.mean(), gold - gold.mean()
    norm = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / norm if norm else 0.0


def average_precision(scores: Vector, labels: Vector) -> float:
    """Area under precision over recall, one step a distinct score (as scikit-learn has it); nan without positives.

    >>> round(average_precision(np.array([0.1, 0.4, 0.35, 0.8]), np.array([0.0, 0.0, 1.0, 1.0])), 4)
    0.8333
    """
    hits, taken = _cumulated(scores, labels)
    if not len(hits) or not hits[-1]:
        return float("nan")
    gained = np.diff(hits, prepend=0.0)
    return float((gained * hits / taken).sum() / hits[-1])


def best_f1(scores: Vector, labels: Vector) -> tuple[float, float]:
    """The best F1 of "at least this score means yes", and that score; (0, inf) without positives."""
    hits, taken = _cumulated(scores, labels)
    if not len(hits) or not hits[-1]:
        return 0.0, float("inf")
    f1 = 2 * hits / (taken + hits[-1])
    best = int(np.argmax(f1))
    return float(f1[best]), float(np.unique(scores)[::-1][best])


def spread(scores: Vector, labels: Vector) -> ScoreSpread:
    """How scores of relevant items (label above 0) and of the others lie, in bins over all of them."""
    edges = np.histogram_bin_edges(scores, bins=_SPREAD_BINS)
    relevant, other = (
        Histogram(tuple(edges.tolist()), tuple(np.histogram(scores[side], bins=edges)[0].tolist()))
        for side in (labels > 0, labels <= 0)
    )
    f1, threshold = best_f1(scores, labels)
    return ScoreSpread(relevant, other, threshold, f1)


def _cumulated(scores: Vector, labels: Vector) -> tuple[Vector, Vector]:
    """Positives, and all, with at least each distinct score, from the highest score down."""
    distinct, inverse = np.unique(-scores, return_inverse=True)
    hits = np.cumsum(np.bincount(inverse, labels, len(distinct)), dtype=np.float64)
    return hits, np.cumsum(np.bincount(inverse, minlength=len(distinct))).astype(np.float64)
