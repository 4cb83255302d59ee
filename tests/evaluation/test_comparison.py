"""Systems against a baseline: what is compared, how it is averaged, and that it is corrected."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.comparison import compare_runs, compare_systems, corrected
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.results import Comparison, DatasetInfo, Estimate
from lagotto.evaluation.statistics import Means, Paired, compare, compare_means, holm, spearman


def info(name, group=None):
    return DatasetInfo(name, "retrieval", "test", 10, 5, 5, "", group=group)


def means(seed, n=20):
    return Means(np.random.default_rng(seed).random(n))


def paired(seed):
    rows = np.random.default_rng(seed).random((2, 15))
    return Paired(rows[0], np.arange(15.0), spearman)


def by(found):
    return {(item.system, item.dataset, item.measure): item for item in found}


def test_every_system_against_the_baseline_on_every_data_set():
    sets = [info("x"), info("y")]
    samples = {
        (system, data.name): {"ndcg@10": means(i + 10 * j), "map": means(i + 10 * j + 100)}
        for i, system in enumerate(("base", "a", "b"))
        for j, data in enumerate(sets)
    }
    found = by(compare_systems("base", ["a", "base", "b"], sets, samples))
    wanted = {(s, d, m) for s in "ab" for d in ("x", "y", "mean of 2 data sets") for m in ("ndcg@10", "map")}
    assert set(found) == wanted
    item = found["a", "x", "map"]
    test = compare(samples["a", "x"]["map"], samples["base", "x"]["map"])
    assert (item.baseline, item.difference, item.p_value) == ("base", test.difference, test.p_value)
    assert (item.wins, item.losses, item.ties) == (test.wins, test.losses, test.ties)
    average = found["a", "mean of 2 data sets", "map"].difference.value
    assert average == pytest.approx(np.mean([found["a", name, "map"].difference.value for name in "xy"]))


def test_p_values_are_corrected_over_all_comparisons_of_a_measure():
    sets = [info("x"), info("y")]
    samples = {(s, d): {"ndcg@10": means(hash_of(s, d)), "map": means(hash_of(d, s))} for s in "pqrs" for d in "xy"}
    found = compare_systems("p", list("pqrs"), sets, samples)
    for measure in ("ndcg@10", "map"):
        mine = [item for item in found if item.measure == measure]
        assert len(mine) == 9
        assert [item.p_holm for item in mine] == holm([item.p_value for item in mine])
        assert any(item.p_holm > item.p_value for item in mine)


def hash_of(*names):
    return sum(ord(name) * 31**place for place, name in enumerate(names))


def test_a_group_counts_as_one_data_set_in_the_mean():
    sets = [info("android", "cqadupstack"), info("gis", "cqadupstack"), info("scifact")]
    sizes = {"android": 5, "gis": 8, "scifact": 11}
    samples = {(s, d): {"map": means(hash_of(s, d[0]), n)} for s in "ab" for d, n in sizes.items()}
    found = by(compare_systems("a", ["a", "b"], sets, samples))
    gaps = {d: samples["b", d]["map"].value - samples["a", d]["map"].value for d in sizes}
    expected = ((gaps["android"] + gaps["gis"]) / 2 + gaps["scifact"]) / 2
    item = found["b", "mean of 2 data sets", "map"]
    assert item.difference.value == pytest.approx(expected)
    test = compare_means(
        [samples["b", d]["map"] for d in sizes], [samples["a", d]["map"] for d in sizes], [0.5, 0.5, 1]
    )
    assert item.p_value == test.p_value
    assert item.wins + item.losses + item.ties == sum(sizes.values())


def test_the_mean_of_a_group_is_compared_under_its_name():
    sets = [info("x", "forums"), info("y", "forums")]
    samples = {(system, data.name): {"map": means(hash_of(system, data.name))} for system in "ab" for data in sets}
    found = by(compare_systems("a", ["a", "b"], sets, samples))
    assert [dataset for _, dataset, _ in found] == ["x", "y", "forums"]
    parts = [[samples[system, data.name]["map"] for data in sets] for system in "ba"]
    assert found["b", "forums", "map"].difference == compare_means(*parts).difference


def test_a_group_has_weight_only_for_the_parts_that_were_measured():
    sets = [info("android", "cqa"), info("gis", "cqa"), info("scifact")]
    measured = [("android", "map"), ("scifact", "map"), ("gis", "ndcg@10")]
    samples = {(s, d): {m: means(hash_of(s, d[0]))} for s in "ab" for d, m in measured}
    found = by(compare_systems("a", ["a", "b"], sets, samples))
    gaps = [found["b", d, "map"].difference.value for d in ("android", "scifact")]
    assert found["b", "mean of 2 data sets", "map"].difference.value == pytest.approx(np.mean(gaps))
    assert ("b", "mean of 2 data sets", "ndcg@10") not in found


def test_what_only_one_of_the_two_measured_is_left_out():
    samples = {
        ("base", "x"): {"map": means(1)},
        ("a", "x"): {"map": means(2), "mrr@10": means(3)},
        ("a", "y"): {"map": means(4)},
        ("b", "y"): {"map": means(5)},
    }
    found = by(compare_systems("base", ["base", "a", "b", "c"], [info("x"), info("y")], samples))
    assert set(found) == {("a", "x", "map")}


def test_correlations_are_compared_and_not_averaged():
    samples = {(s, d): {"spearman": paired(hash_of(s, d))} for s in "ab" for d in "xy"}
    found = by(compare_systems("a", ["a", "b"], [info("x"), info("y")], samples))
    assert set(found) == {("b", "x", "spearman"), ("b", "y", "spearman")}
    test = compare(samples["b", "x"]["spearman"], samples["a", "x"]["spearman"])
    assert found["b", "x", "spearman"].difference == test.difference


def test_a_baseline_alone_has_nothing_to_be_compared_with():
    assert compare_systems("a", ["a"], [info("x")], {("a", "x"): {"map": means(1)}}) == ()


def test_significance_is_after_correction():
    def item(p, measure="map"):
        return Comparison("x", measure, "a", "b", Estimate(0, 0, 0), p, 0.0, 1, 2, 3)

    found = corrected([item(0.02), item(0.04), item(0.03, "mrr")])
    assert [one.p_holm for one in found] == [0.04, 0.04, 0.03]
    assert [one.significant for one in found] == [True] * 3
    assert not corrected([item(0.03), item(0.03)])[0].significant
    assert found[0].wins == 1
    assert corrected([]) == ()


QRELS = {f"q{i}": {"good": 1, "bad": 0} for i in range(30)}
BEST = {query: {"good": 2.0, "bad": 1.0} for query in QRELS}
WORST = {query: {"good": 1.0, "bad": 2.0} for query in QRELS}
NAMES = ("mrr@10", "recall@1")


def test_runs_against_the_first():
    measures = [parse_measure(name) for name in NAMES]
    averages, found = compare_runs({"worst": WORST, "best": BEST}, QRELS, measures, "mine")
    assert averages == {
        "worst": {"mrr@10": 0.5, "recall@1": 0.0},
        "best": {"mrr@10": 1.0, "recall@1": 1.0},
    }
    assert [(item.baseline, item.system, item.dataset, item.measure) for item in found] == [
        ("worst", "best", "mine", name) for name in NAMES
    ]
    assert found[0].difference == Estimate(0.5, 0.5, 0.5)
    assert (found[0].wins, found[0].losses, found[0].ties) == (30, 0, 0)
    assert all(item.significant for item in found)


def test_queries_that_a_run_lacks_count_as_0_for_it():
    part = {query: BEST[query] for query in list(QRELS)[:10]}
    averages, found = compare_runs({"best": BEST, "part": part}, QRELS, [parse_measure("mrr@10")], "x")
    assert averages["part"]["mrr@10"] == pytest.approx(1 / 3)
    assert (found[0].wins, found[0].losses, found[0].ties) == (0, 20, 10)


def test_the_order_of_a_runs_queries_changes_nothing():
    backwards = dict(reversed(WORST.items()))
    measures = [parse_measure("ndcg@10")]
    one = compare_runs({"a": BEST, "b": WORST}, QRELS, measures, "x")
    assert one == compare_runs({"a": BEST, "b": backwards}, QRELS, measures, "x")


def test_runs_that_can_not_be_compared():
    measures = [parse_measure("map")]
    for runs in ({}, {"one": BEST}):
        with pytest.raises(InvalidInputError, match=f"{len(runs)} run was given; a comparison needs two or more"):
            compare_runs(runs, QRELS, measures, "x")
    with pytest.raises(InvalidInputError, match="run 'other' has no query that is judged; run and judgements do not"):
        compare_runs({"best": BEST, "other": {"x": {"good": 1.0}}}, QRELS, measures, "x")
    with pytest.raises(InvalidInputError, match="scores must be finite"):
        compare_runs({"best": BEST, "nan": {"q0": {"good": float("nan")}}}, QRELS, measures, "x")
