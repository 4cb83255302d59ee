"""Statistics against scipy and scikit-learn, against simulations, and against what must be so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation import statistics
from lagotto.evaluation.results import Estimate
from lagotto.evaluation.statistics import (
    RESAMPLES,
    SLOW_RESAMPLES,
    Means,
    Paired,
    average_precision,
    average_ranks,
    best_f1,
    compare,
    compare_means,
    estimate,
    holm,
    interval,
    pearson,
    spearman,
)

NUMBERS = st.sampled_from([-2.0, -0.5, 0.0, 0.1, 0.25, 1.0, 3.0])  # few, so that many tie


@st.composite
def pairs(draw, second=NUMBERS, least=2):
    n = draw(st.integers(least, 25))
    values = [draw(arrays.arrays(np.float64, n, elements=elements)) for elements in (NUMBERS, second)]
    return values[0], values[1]


def numbers(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@given(pairs())
def test_spearman_and_pearson_are_scipys(case):
    a, b = case
    for ours, theirs in ((spearman, scipy.stats.spearmanr), (pearson, scipy.stats.pearsonr)):
        if np.ptp(a) and np.ptp(b):
            assert ours(a, b) == pytest.approx(float(theirs(a, b).statistic), abs=1e-9)
        else:
            assert ours(a, b) == pytest.approx(0.0, abs=1e-9)


@given(pairs())
def test_ranks_are_scipys(case):
    np.testing.assert_array_equal(average_ranks(case[0]), scipy.stats.rankdata(case[0]))


@given(pairs(second=st.sampled_from([0.0, 1.0]), least=1))
def test_average_precision_is_scikit_learns(case):
    scores, labels = case
    found = average_precision(scores, labels)
    if labels.any():
        assert found == pytest.approx(sklearn.metrics.average_precision_score(labels, scores), abs=1e-9)
    else:
        assert math.isnan(found)


@given(pairs(second=st.sampled_from([0.0, 1.0]), least=1))
def test_the_best_f1_of_every_threshold(case):
    scores, labels = case
    value, threshold = best_f1(scores, labels)
    by_threshold = {
        float(bar): sklearn.metrics.f1_score(labels, scores >= bar, zero_division=0.0) for bar in np.unique(scores)
    }
    if not labels.any():
        assert (value, threshold) == (0.0, math.inf)
        return
    assert value == pytest.approx(max(by_threshold.values()))
    assert value == pytest.approx(by_threshold[threshold])


def test_nothing_has_no_average_precision():
    assert math.isnan(average_precision(np.array([]), np.array([])))
    assert best_f1(np.array([]), np.array([])) == (0.0, math.inf)


def test_intervals_cover_the_mean_as_often_as_they_say(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 1000)
    found = [estimate(Means(row)) for row in 0.5 + numbers(1, 400, 60)]
    assert 0.92 <= np.mean([item.low <= 0.5 <= item.high for item in found]) <= 0.975
    assert all(item.low <= item.value <= item.high for item in found)


def test_the_interval_of_a_mean_has_the_width_of_theory():
    values = numbers(2, 400)
    found = estimate(Means(values))
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.05)


def test_the_interval_of_a_correlation_has_the_width_of_theory():
    a = numbers(3, 300)
    b = 0.6 * a + 0.8 * numbers(4, 300)
    found = estimate(Paired(a, b, pearson))
    theory = np.tanh(np.arctanh(found.value) + np.array([-1, 1]) * 1.96 / math.sqrt(297))
    assert (found.low, found.high) == pytest.approx(tuple(theory), abs=0.03)


def test_resampling_in_parts_draws_the_same(monkeypatch):
    values = numbers(5, 30)
    whole = Means(values).bootstrap()
    monkeypatch.setattr(statistics, "_CHUNK", 1000)
    np.testing.assert_array_equal(Means(values).bootstrap(), whole)
    monkeypatch.setattr(statistics, "_CHUNK", 7)  # less than one resampling
    assert len(Means(values).bootstrap()) == RESAMPLES


def test_one_query_and_equal_queries_have_intervals_of_no_width():
    for values in ([0.5], [0.25] * 7):
        found = estimate(Means(np.array(values)))
        assert (found.value, found.low, found.high) == (values[0],) * 3


def test_draws_without_a_value_are_left_out_of_an_interval():
    assert interval(0.5, np.array([math.nan, 0.4, 0.4, math.nan])) == Estimate(0.5, 0.4, 0.4)
    assert interval(0.5, np.array([math.nan])) == Estimate(0.5, 0.5, 0.5)


def test_average_precision_with_one_positive_has_an_interval():
    labels = np.array([1.0] + [0.0] * 9)
    found = estimate(Paired(-np.arange(10.0), labels, average_precision))
    assert found == Estimate(1.0, 1.0, 1.0)


def test_everything_comes_out_the_same_twice():
    a, b = Means(numbers(6, 50)), Means(numbers(7, 50))
    c, d = (Paired(numbers(seed, 20), numbers(9, 20), spearman) for seed in (8, 10))
    for sample in (a, c):
        assert estimate(sample) == estimate(sample)
        assert len(sample.bootstrap()) == (RESAMPLES if sample is a else SLOW_RESAMPLES)
    assert compare(a, b) == compare(a, b)
    assert compare(c, d) == compare(c, d)


def test_p_values_are_those_of_scipys_permutation_test():
    for seed, shift in ((1, 0.0), (2, 0.3), (3, 0.6)):
        gap = numbers(seed, 12) + shift
        exact = scipy.stats.permutation_test(
            (gap, np.zeros(12)), lambda a, b, axis: (a - b).mean(axis=axis), permutation_type="samples", vectorized=True
        )
        found = compare(Means(gap), Means(np.zeros(12)))
        assert found.p_value == pytest.approx(exact.pvalue, abs=0.02)


def test_p_values_of_correlations_are_those_of_scipys_permutation_test():
    gold = numbers(20, 10)
    a, b = gold + 0.5 * numbers(21, 10), gold + 1.5 * numbers(22, 10)
    ranks = [scipy.stats.rankdata(x) for x in (a, b)]

    def gap(x, y):
        return spearman(x, gold) - spearman(y, gold)

    exact = scipy.stats.permutation_test(ranks, gap, permutation_type="samples", n_resamples=2000, vectorized=False)
    found = compare(Paired(a, gold, spearman), Paired(b, gold, spearman))
    assert found.p_value == pytest.approx(exact.pvalue, abs=0.05)


def test_p_values_are_uniform_where_nothing_differs(monkeypatch):
    monkeypatch.setattr(statistics, "RESAMPLES", 999)
    p_values = [compare(Means(a), Means(b)).p_value for a, b in numbers(11, 400, 2, 30)]
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
    assert np.mean(np.array(p_values) < 0.05) <= 0.08


def test_p_values_of_correlations_are_uniform_where_nothing_differs(monkeypatch):
    monkeypatch.setattr(statistics, "SLOW_RESAMPLES", 99)
    p_values = []
    for seed in range(150):
        gold, noise, other = numbers(seed, 3, 30)
        # One model on another scale: only its ranks may count.
        samples = Paired(gold + noise, gold, pearson), Paired(np.exp(3 * (gold + other)), gold, pearson)
        p_values.append(compare(*samples).p_value)
    assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01


def test_a_clear_difference_is_as_sure_as_the_resamplings_allow():
    worse = numbers(13, 100)
    found = compare(Means(worse + 1 + 0.1 * numbers(14, 100)), Means(worse))
    assert found.p_value == 1 / (RESAMPLES + 1)
    assert found.difference.value == pytest.approx(1, abs=0.05)
    assert 0 < found.difference.low < found.difference.high
    assert (found.wins, found.losses, found.ties) == (100, 0, 0)


def test_a_clear_difference_of_correlations():
    gold = numbers(15, 200)
    found = compare(Paired(gold, gold, spearman), Paired(numbers(16, 200), gold, spearman))
    assert found.p_value == 1 / (SLOW_RESAMPLES + 1)
    assert found.difference.low > 0.5
    assert (found.wins, found.losses, found.ties) == (0, 0, 200)


def test_nothing_differs_from_itself():
    for sample in (Means(numbers(17, 40)), Paired(numbers(18, 40), numbers(19, 40), spearman)):
        found = compare(sample, sample)
        assert found.difference == Estimate(0, 0, 0)
        assert found.p_value == 1.0
        assert (found.wins, found.losses, found.ties) == (0, 0, 40)


def test_swapping_the_two_turns_the_sign():
    a, b = Means(numbers(23, 25)), Means(numbers(24, 25))
    one, other = compare(a, b), compare(b, a)
    assert one.difference.value == -other.difference.value
    bounds = (-other.difference.high, -other.difference.low)
    assert (one.difference.low, one.difference.high) == pytest.approx(bounds)
    assert one.p_value == other.p_value
    assert (one.wins, one.losses) == (other.losses, other.wins)


def test_queries_that_differ_by_rounding_are_ties():
    found = compare(Means(np.array([0.1 + 0.2, 1.0, 0.0])), Means(np.array([0.3, 0.5, 0.5])))
    assert (found.wins, found.losses, found.ties) == (1, 1, 1)
    assert found.p_value == 1.0


def test_only_alike_samples_are_compared():
    means, paired = Means(np.ones(3)), Paired(np.ones(3), np.ones(3), pearson)
    shorter = Paired(np.ones(2), np.ones(2), pearson)
    for pair in ((means, paired), (paired, means), (paired, shorter)):
        with pytest.raises(InvalidInputError, match="compared on the same queries or pairs, by the same measure"):
            compare(*pair)
    with pytest.raises(InvalidInputError, match="compared on the same queries"):
        compare(means, Means(np.ones(4)))


def test_the_mean_over_data_sets_is_the_weighted_mean():
    sizes, weights = (10, 50, 7), (1, 0.5, 0.5)
    systems = [Means(numbers(30 + n, n)) for n in sizes]
    baseline = [Means(numbers(60 + n, n)) for n in sizes]
    gaps = [a.value - b.value for a, b in zip(systems, baseline, strict=True)]
    assert compare_means(systems, baseline).difference.value == pytest.approx(np.mean(gaps))
    weighted = compare_means(systems, baseline, weights)
    assert weighted.difference.value == pytest.approx(np.average(gaps, weights=weights))
    assert weighted.wins + weighted.losses == 67
    first, alone = compare_means(systems, baseline, (1, 0, 0)), compare(systems[0], baseline[0])
    assert (first.difference, first.p_value) == (alone.difference, alone.p_value)


def test_queries_of_different_data_sets_are_drawn_independently():
    """Sorted alike, as data sets may be; the interval of the mean of nine must be a third as wide."""
    gap = np.sort(numbers(25, 80))
    one, nine = (compare_means([Means(gap)] * n, [Means(np.zeros(80))] * n).difference for n in (1, 9))
    assert nine.value == pytest.approx(one.value)
    assert (nine.high - nine.low) / (one.high - one.low) == pytest.approx(1 / 3, rel=0.1)


def test_a_small_difference_is_surer_over_many_data_sets():
    systems = [Means(0.2 + numbers(100 + n, 40)) for n in range(12)]
    baseline = [Means(np.zeros(40)) for _ in systems]
    together = compare_means(systems, baseline).p_value
    assert together < 0.01 < min(compare(a, b).p_value for a, b in list(zip(systems, baseline, strict=True))[:3])


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_steps_down(p_values):
    found = holm(p_values)
    ordered, largest, expected = sorted(enumerate(p_values), key=lambda item: item[1]), 0.0, {}
    for rank, (place, p_value) in enumerate(ordered):
        largest = max(largest, p_value * (len(p_values) - rank))
        expected[place] = min(1.0, largest)
    assert found == pytest.approx([expected[place] for place in range(len(p_values))])
    assert all(corrected >= p_value for corrected, p_value in zip(found, p_values, strict=True))
    assert sorted(found) == [found[place] for place, _ in ordered]


def test_holm_by_hand():
    assert holm([]) == []
    assert holm([0.04]) == [0.04]
    assert holm([0.04, 0.01, 0.03, 0.005]) == pytest.approx([0.06, 0.03, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.01, 0.01]) == pytest.approx([0.02, 0.02])
