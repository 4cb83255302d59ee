"""Tables of measures: means over groups and kinds, the best, what is significant."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lagotto.evaluation.report.costs import cost_on
from lagotto.evaluation.report.rows import warnings
from lagotto.evaluation.report.summary import (
    find_comparison,
    headline_rows,
    mean_name,
    measures,
    primary,
    score_rows,
    views,
)
from lagotto.evaluation.results import Cost, DatasetInfo, Estimate, Report, Result, Stage, SystemInfo


def make(values, *, groups=(), kinds=(), measure="ndcg@10", comparisons=(), documents=10):
    """A report from (system, data set) -> value."""
    systems = dict.fromkeys(system for system, _ in values)
    datasets = list(dict.fromkeys(dataset for _, dataset in values))
    groups, kinds = dict(groups), dict(kinds)
    return Report(
        systems=tuple(SystemInfo(name, {}) for name in systems),
        datasets=tuple(
            DatasetInfo(name, kinds.get(name, "retrieval"), "test", documents, 5, 5, "00", group=groups.get(name))
            for name in datasets
        ),
        results=tuple(
            Result(system, dataset, {measure: Estimate(value, value, value)}, {}, Cost())
            for (system, dataset), value in values.items()
        ),
        comparisons=comparisons,
    )


def values_of(row):
    return [None if cell is None else pytest.approx(cell.value) for cell in row.cells]


def test_a_group_counts_as_one_data_set_in_the_mean_of_its_kind():
    report = make(
        {("a", "x"): 0.2, ("a", "f1"): 0.4, ("a", "f2"): 0.6, ("a", "f3"): 0.8},
        groups={f"f{n}": "forums" for n in (1, 2, 3)},
    )
    rows = score_rows(report)
    assert [(row.name, row.level, row.over) for row in rows] == [
        ("x", "dataset", 1),
        ("forums", "group", 3),
        ("f1", "member", 1),
        ("f2", "member", 1),
        ("f3", "member", 1),
        ("retrieval", "mean", 2),
    ]
    assert values_of(rows[1]) == [0.6]
    assert values_of(rows[-1]) == [pytest.approx((0.2 + 0.6) / 2)]
    assert rows[-1].datasets == ("x", "f1", "f2", "f3")


def test_one_data_set_of_a_kind_or_group_has_no_mean():
    report = make({("a", "x"): 0.2, ("a", "y"): 0.4}, groups={"x": "alone"}, kinds={"y": "sts"})
    assert [row.level for row in score_rows(report)] == ["dataset", "dataset"]


def test_a_system_that_lacks_a_value_has_no_mean():
    rows = score_rows(make({("a", "x"): 0.2, ("a", "y"): 0.4, ("b", "x"): 0.3}))
    assert [values_of(row) for row in rows] == [[0.2, 0.3], [0.4, None], [pytest.approx(0.3), None]]


def test_means_are_of_one_measure_and_kind():
    report = make({("a", "x"): 0.2, ("a", "y"): 0.4, ("a", "s"): 0.9}, kinds={"s": "sts"})
    other = make({("a", "z"): 0.8}, measure="recall@100")
    both = replace(report, datasets=report.datasets + other.datasets, results=report.results + other.results)
    rows = score_rows(both)
    assert [(row.name, row.measure) for row in rows] == [
        ("x", "ndcg@10"),
        ("y", "ndcg@10"),
        ("retrieval", "ndcg@10"),
        ("z", "recall@100"),
        ("s", "ndcg@10"),
    ]
    assert [row.name for row in headline_rows(rows)] == ["retrieval", "z", "s"]


def test_the_best_is_marked_and_ties_are_all_best():
    report = make(
        {("a", "x"): 0.2, ("b", "x"): 0.5, ("c", "x"): 0.5, ("a", "y"): 0.1, ("b", "y"): 0.1, ("c", "y"): 0.1}
    )
    best = [[cell.best for cell in row.cells] for row in score_rows(report)]
    assert best == [[False, True, True], [False, False, False], [False, True, True]]


def test_what_is_no_number_is_never_best():
    row = score_rows(make({("a", "x"): math.nan, ("b", "x"): 0.1, ("c", "x"): 0.2}))[0]
    assert [cell.best for cell in row.cells] == [False, False, True]


def test_significant_changes_are_marked_after_correction_only(report):
    row = score_rows(report)[0]
    assert [cell.change for cell in row.cells] == ["", "worse", "better", "better"]
    item = find_comparison(report, row, report.systems[1].name)
    uncorrected = replace(item, p_value=0.01, p_holm=0.2)
    less = replace(report, comparisons=(uncorrected,))
    assert [cell.change for cell in score_rows(less)[0].cells] == ["", "", "", ""]


def test_the_comparison_of_means_is_found_where_it_is_of_the_same_data_sets(report):
    rows = {row.name: row for row in score_rows(report)}
    best = report.systems[3].name
    assert rows["retrieval"].cells[3].change == "better"
    assert find_comparison(report, rows["retrieval"], best).dataset == mean_name(2) == "mean of 2 data sets"
    assert find_comparison(report, rows["retrieval"], report.systems[1].name) is None
    of_more = tuple(
        replace(item, dataset="mean of 3 data sets") if item.dataset == mean_name(2) else item
        for item in report.comparisons
    )
    changed = {row.name: row for row in score_rows(replace(report, comparisons=of_more))}
    assert changed["retrieval"].cells[3].change == ""
    assert rows["cqadupstack"].cells[3].change == ""


def test_values_that_mteb_gives_without_an_interval_have_none():
    assert [cell.estimate for cell in score_rows(make({("a", "x"): 0.2}))[0].cells] == [None]


def test_measures_and_views(report):
    assert measures(report)[:3] == ("ndcg@10", "spearman", "ap")
    assert primary(report, "STS-B") == "spearman"
    shown = views(report)
    assert [measure for measure, _ in shown] == [None, "recall@100", "map@100", "mrr@10", "pearson", "f1"]
    assert all(row.measure == "f1" for row in shown[-1][1])


def test_nothing_measured():
    empty = Report((), (), ())
    assert score_rows(empty) == ()
    assert views(empty) == ((None, ()),)
    assert primary(empty, "x") is None


def test_costs_over_data_sets_add_up():
    report = make({("a", "x"): 0.2, ("a", "y"): 0.4}, documents=100)
    costs = (
        Cost((Stage("index: embed", 2, 100, 500), Stage("queries", 1, 10, cached=5)), 8, 100, 300, 350),
        Cost((Stage("index: embed", 8, 100), Stage("search", 3, 10), Stage("rerank", 6, 500)), 24, 100, 200, 500),
    )
    results = tuple(replace(result, cost=cost) for result, cost in zip(report.results, costs, strict=True))
    found = cost_on(replace(report, results=results), "a", ["x", "y"])
    assert found.index_seconds == 10
    assert found.documents_per_second == 20
    assert found.queries_per_second == pytest.approx(20 / 10)
    assert (found.memory_models, found.memory_working, found.memory_peak) == (200, 300, 500)
    assert (found.document_bytes, found.corpus_bytes) == (16, 3200)
    assert (found.cached, found.items) == (5, 720)


def test_costs_that_were_not_measured_are_0():
    found = cost_on(make({("a", "x"): 0.2}), "a", ["x"])
    assert set(vars_of(found).values()) == {0}


def vars_of(row):
    return {name: getattr(row, name) for name in row.__slots__}


def test_warnings_that_say_the_same_stand_once(report):
    twice = replace(
        report,
        results=tuple(replace(result, warnings=("slow",)) for result in report.results[:2]),
        datasets=report.datasets,
    )
    (where, warning), (places, slow) = warnings(twice)
    assert where.en == "cqadupstack-中文论坛"
    assert "d|17" in warning
    assert slow == "slow"
    assert places.en == "bm25 on nfcorpus, bge-small-en-v1.5 on nfcorpus"
    assert places.zh == "bm25（nfcorpus）、bge-small-en-v1.5（nfcorpus）"
