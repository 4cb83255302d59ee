"""The quality gate: what is measured, and what passes."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.quantization.gate import Agreement, Limits, Quality, compare_scores, compare_vectors, judge

RANDOM = np.random.default_rng(0)
VECTORS = RANDOM.standard_normal((40, 8)).astype(np.float32)


def agreement(cosine: float | None = 0.999, spearman: float = 0.995) -> Agreement:
    return Agreement(10, None if cosine is None else {"mean": cosine}, 0.9, spearman)


def test_equal_vectors_agree_whatever_their_length() -> None:
    found = compare_vectors(VECTORS, 3 * VECTORS)
    assert found.items == 40
    assert found.cosine is not None
    assert set(found.cosine) == {"mean", "min", "p1", "p10", "p50"}
    assert all(value == pytest.approx(1) for value in found.cosine.values())
    assert (found.pearson, found.spearman) == (pytest.approx(1), pytest.approx(1))


def test_one_bad_text_is_seen_in_the_least_cosine() -> None:
    other = VECTORS.copy()
    other[7] = -other[7]
    cosine = compare_vectors(VECTORS, other).cosine
    assert cosine is not None
    assert cosine["min"] == pytest.approx(-1)
    assert cosine["p50"] == pytest.approx(1)
    assert cosine["mean"] == pytest.approx(1 - 2 / 40)


def test_many_vectors_are_compared_within_reason() -> None:
    many = np.tile(VECTORS, (100, 1))
    assert compare_vectors(many, many).items == 4000


def test_scores_agree_by_their_order() -> None:
    scores = np.array([0.1, 0.2, 0.9, 3.0], np.float32)
    found = compare_scores(scores, scores**3)
    assert found.cosine is None
    assert found.spearman == pytest.approx(1)
    assert found.pearson < 1


@pytest.mark.parametrize(
    ("found", "quality", "passes", "says"),
    [
        (agreement(0.998), [], True, "mean cosine 0.99800; nDCG@10 not measured"),
        (agreement(0.9979), [], False, "mean cosine 0.99790 is below 0.998"),
        (agreement(float("nan")), [], False, "mean cosine nan is below 0.998"),
        (agreement(0.999, spearman=0.5), [], True, "mean cosine"),
        (agreement(None, 0.99), [], True, "rank correlation 0.99000; nDCG@10 not measured"),
        (agreement(None, 0.98), [], False, "rank correlation 0.98000 is below 0.99"),
        (agreement(), [Quality("mine", 0.5, 0.4951)], True, r"nDCG@10 0.5000 -> 0.4951 on mine"),
        (
            agreement(),
            [Quality("mine", 0.5, 0.6), Quality("b", 0.5, 0.49)],
            False,
            r"on b fell by 1.00 points \(at most",
        ),
    ],
)
def test_verdicts(found: Agreement, quality: list[Quality], passes: bool, says: str) -> None:
    accepted, verdict = judge(found, quality, Limits())
    assert accepted is passes
    assert re.search(says, verdict)


def test_every_fault_is_named() -> None:
    _, verdict = judge(agreement(0.9), [Quality("mine", 0.5, 0.4)], Limits())
    assert verdict == "mean cosine 0.90000 is below 0.998; nDCG@10 on mine fell by 10.00 points (at most 0.5)"


@pytest.mark.parametrize(
    ("name", "value"),
    [("mean_cosine", 1.1), ("mean_cosine", float("nan")), ("rank_correlation", -2), ("ndcg_loss", -1)],
)
def test_limits_that_mean_nothing_are_refused(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"{name} is .*; allowed are"):
        Limits(**{name: value})
