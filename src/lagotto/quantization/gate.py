"""The quality gate: how far an int8 model is from its original, and whether that is near enough."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.statistics import pearson, spearman

Values = NDArray[np.float32]
_MOST = 1_000
"""Texts whose similarities are compared, each with each: half a million pairs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What an int8 model must keep."""

    mean_cosine: float = 0.998
    """Least mean cosine between its vectors and the original's (embedders)."""
    rank_correlation: float = 0.99
    """Least Spearman correlation between its scores and the original's (rerankers, SPLADE, ColBERT)."""
    ndcg_loss: float = 0.5
    """Most points of nDCG@10 (on the scale of 0 to 100) it may lose on any labelled set."""

    def __post_init__(self) -> None:
        for name in ("mean_cosine", "rank_correlation"):
            if not -1 <= getattr(self, name) <= 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)!r}; allowed are -1 to 1")
        if not 0 <= self.ndcg_loss <= 100:
            raise InvalidInputError(f"ndcg_loss is {self.ndcg_loss!r}; allowed are 0 to 100 points")


@dataclass(frozen=True, slots=True)
class Agreement:
    """int8 against float32 on texts (or pairs) that were not calibrated on."""

    items: int
    """Texts, or pairs."""
    cosine: Mapping[str, float] | None
    """Of vectors of the same text: ``mean``, ``min``, ``p1``, ``p10``, ``p50``. None without dense vectors."""
    pearson: float
    """Of similarities between different texts (or of scores of pairs)."""
    spearman: float


@dataclass(frozen=True, slots=True)
class Quality:
    """nDCG@10 on a labelled set, on the scale of 0 to 1."""

    dataset: str
    original: float
    int8: float

    @property
    def loss(self) -> float:
        """Points lost, of 100; negative where int8 is better."""
        return 100 * (self.original - self.int8)


def compare_vectors(original: Values, int8: Values) -> Agreement:
    """Agreement of (texts, dimension) vectors."""
    a, b = normalize(original), normalize(int8)
    cosines = (a * b).sum(axis=1)
    quantiles = np.quantile(cosines, [0.01, 0.1, 0.5])
    spread = {"mean": float(cosines.mean()), "min": float(cosines.min())}
    spread |= {name: float(value) for name, value in zip(("p1", "p10", "p50"), quantiles, strict=True)}
    a, b = a[:_MOST], b[:_MOST]
    others = np.triu_indices(len(a), 1)
    return Agreement(len(original), spread, *_correlations((a @ a.T)[others], (b @ b.T)[others]))


def compare_scores(original: Values, int8: Values) -> Agreement:
    """Agreement of (pairs,) scores."""
    return Agreement(len(original), None, *_correlations(original, int8))


def judge(agreement: Agreement, quality: Sequence[Quality], limits: Limits) -> tuple[bool, str]:
    """Whether the model may be used, and why, in a sentence."""
    faults, found = [], []
    if agreement.cosine is not None:
        mean = agreement.cosine["mean"]
        found.append(f"mean cosine {mean:.5f}")
        if not mean >= limits.mean_cosine:
            faults.append(f"mean cosine {mean:.5f} is below {limits.mean_cosine:g}")
    else:
        found.append(f"rank correlation {agreement.spearman:.5f}")
        if not agreement.spearman >= limits.rank_correlation:
            faults.append(f"rank correlation {agreement.spearman:.5f} is below {limits.rank_correlation:g}")
    for item in quality:
        found.append(f"nDCG@10 {item.original:.4f} -> {item.int8:.4f} on {item.dataset}")
        if not item.loss <= limits.ndcg_loss:
            faults.append(f"nDCG@10 on {item.dataset} fell by {item.loss:.2f} points (at most {limits.ndcg_loss:g})")
    if not quality:
        found.append("nDCG@10 not measured")
    return not faults, "; ".join(faults or found)


def _correlations(a: Values, b: Values) -> tuple[float, float]:
    """Pearson's and Spearman's."""
    x, y = a.astype(np.float64), b.astype(np.float64)
    return pearson(x, y), spearman(x, y)
