"""`evaluate` on tasks of mteb."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.open import MtebTask
from lagotto.evaluation.pipeline import System
from lagotto.evaluation.results import Cost, DatasetInfo, Estimate, Result
from support.strict_json import strict_json


@pytest.fixture
def mteb(monkeypatch):
    """mteb replaced by a list of what it was asked."""
    asked: list[tuple[str, str, Any]] = []

    def run_task(name: str, model: Embedder | Reranker, *, folder: Path | None, **options: Any) -> Result:
        asked.append((name, type(model).__mro__[1].__name__, folder if folder is None else folder.name))
        if options:
            asked.append(options)
        return Result(model.name, name, {"cosine_spearman": Estimate(0.5, 0.5, 0.5)}, {}, Cost())

    monkeypatch.setattr("lagotto.evaluation.mteb.run.run_task", run_task)
    monkeypatch.setattr(
        "lagotto.evaluation.mteb.tasks.dataset_info", lambda name: DatasetInfo(name, "mteb", "test", 0, 0, 0, "f")
    )
    return asked


def test_a_task_of_mteb_is_run_by_mteb(go, data, tiny_bert, tmp_path, mteb):
    task = MtebTask("mteb/STS12")
    report = go([task, data], model=tiny_bert, dimensions=[8], bm25=True, out=tmp_path / "out")
    assert mteb == [
        *(("mteb/STS12", "Embedder", "mteb"), {"dimensions": None}),
        *(("mteb/STS12", "Embedder", "mteb"), {"dimensions": 8}),
    ]
    assert [result.system for result in report.results if result.dataset == task.name] == [
        "tiny-bert",
        "tiny-bert [8d]",
    ]
    assert report.datasets[0].kind == "mteb"
    assert strict_json((tmp_path / "out/report.json").read_bytes())["results"][0]["dataset"] == "mteb/STS12"


def test_mteb_runs_a_reranker_that_stands_alone(go, tiny_bert, tiny_reranker, mteb):
    report = go(MtebTask("mteb/R"), reranker=tiny_reranker)
    assert mteb == [("mteb/R", "Reranker", None)]
    assert report.results[0].system == "tiny-reranker"
    mteb.clear()
    go(MtebTask("mteb/R"), model=tiny_bert, reranker=tiny_reranker)
    assert [item[1] for item in mteb if isinstance(item, tuple)] == ["Embedder"]


@pytest.mark.parametrize(
    "change", [{"quantization": "int8"}, {"query_prompt": "x"}, {"document_prompt": ""}, {"query_instruction": "x"}]
)
def test_mteb_is_not_asked_for_what_it_would_not_do(go, dense, mteb, change):
    systems = [System("plain", (dense,)), System("changed", (replace(dense, **change),))]
    report = go(MtebTask("mteb/STS12"), pipeline=systems)
    assert [result.system for result in report.results] == ["plain"]
    with pytest.raises(InvalidInputError, match="can do 'mteb/STS12'"):
        go(MtebTask("mteb/STS12"), pipeline=systems[1:])
