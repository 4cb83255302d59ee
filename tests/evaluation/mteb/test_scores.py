"""mteb's scores as metrics."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lagotto.evaluation.mteb.scores import metric_name, metrics_of
from lagotto.evaluation.results import Estimate


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("ndcg_at_10", "ndcg@10"),
        ("recall_at_1000", "recall@1000"),
        ("cosine_spearman", "cosine_spearman"),
        ("max_ap", "max_ap"),
    ],
)
def test_names(theirs: str, ours: str) -> None:
    assert metric_name(theirs) == ours


def test_subsets_are_averaged_and_what_is_no_number_left_out(mteb: Any, tasks: SimpleNamespace) -> None:
    from mteb.results import TaskResult

    def part(score: float, **more: Any) -> dict[str, Any]:
        return {"pearson": 0.5, "cosine_spearman": score, "main_score": score, "nauc_x": 1.0, "list": [1.0]} | more

    task = tasks.languages()
    scores = {"test": {"en": part(0.1234567, only=1.0), "fr": part(0.3, pearson=0.7), "de": part(0.9)}}
    result = TaskResult.from_task_results(task, scores, 1.0)
    # The German part was not asked for; it may be in a file that others filled.
    assert metrics_of(result, task) == {
        "cosine_spearman": Estimate(0.211728, 0.211728, 0.211728),
        "pearson": Estimate(0.6, 0.6, 0.6),
    }
    assert list(metrics_of(result, task))[0] == "cosine_spearman"


def test_a_score_that_is_not_finite_is_left_out(mteb: Any, tasks: SimpleNamespace) -> None:
    from mteb.results import TaskResult

    scores = {"test": {"default": {"cosine_spearman": 0.5, "main_score": 0.5, "pearson": float("nan")}}}
    task = tasks.sts()
    assert list(metrics_of(TaskResult.from_task_results(task, scores, 1.0), task)) == ["cosine_spearman"]
