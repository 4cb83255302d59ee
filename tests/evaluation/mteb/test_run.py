"""Running a task: the result, the folder it is kept in, and what can go wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lagotto import Embedder, Reranker
from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.evaluation.mteb.run import evaluate_task, run_task


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_a_result_holds_what_mteb_found(
    embedder: Embedder, tasks: SimpleNamespace, capfd: pytest.CaptureFixture[str]
) -> None:
    result = evaluate_task(tasks.retrieval(), embedder, folder=None)
    assert (result.system, result.dataset) == (embedder.name, "mteb/LocalRetrieval")
    assert next(iter(result.metrics)) == "ndcg@10"
    assert {"map@100", "recall@5", "mrr@10"} <= set(result.metrics)
    main = result.metrics["ndcg@10"]
    assert 0.1 < main.value <= 1
    assert main.low == main.high == main.value
    assert (result.per_query, result.run, result.warnings) == ({}, None, ())
    (stage,) = result.cost.stages
    assert (stage.name, stage.items, stage.cached) == ("evaluate", 135, 0)
    assert stage.seconds > 0
    assert stage.tokens > 135
    json.dumps(result.to_dict())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "main"),
    [
        ("sts", "cosine_spearman"),
        ("pairs", "max_ap"),
        ("bitext", "f1"),
        ("classification", "accuracy"),
        ("clustering", "v_measure"),
        ("reranking", "map@1000"),
        ("languages", "cosine_spearman"),
    ],
)
def test_every_kind_of_task(kind: str, main: str, embedder: Embedder, tasks: SimpleNamespace) -> None:
    result = evaluate_task(getattr(tasks, kind)(), embedder, folder=None)
    assert next(iter(result.metrics)) == main
    assert 0 < result.metrics[main].value <= 1


def test_a_reranker(ranker: Reranker, tasks: SimpleNamespace) -> None:
    result = evaluate_task(tasks.reranking(), ranker, folder=None, max_windows=1)
    assert next(iter(result.metrics)) == "map@1000"
    assert result.cost.stages[0].items == 15 * 8


def test_what_is_finished_is_read_from_the_folder(
    embedder: Embedder, tasks: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = evaluate_task(tasks.sts(), embedder, folder=tmp_path)
    name = f"results/local__tiny-bert/{embedder.fingerprint}"
    assert files(tmp_path) == [f"{name}/{file}" for file in ("LocalSTS.json", "model_meta.json", "run_settings.jsonl")]
    with monkeypatch.context() as patch:
        patch.setattr(tasks.sts, "load_data", lambda self, **_: pytest.fail("the data are not needed"))
        second = evaluate_task(tasks.sts(), embedder, folder=tmp_path)
    assert second.metrics == first.metrics
    assert second.cost.stages[0].seconds == first.cost.stages[0].seconds
    assert second.cost.stages[0].tokens == 0
    evaluate_task(tasks.sts(), embedder, folder=tmp_path, dimensions=8)
    assert f"{name}/experiments/dimensions_8/LocalSTS.json" in files(tmp_path)


def test_what_is_missing_in_the_folder_is_computed(embedder: Embedder, tasks: SimpleNamespace, tmp_path: Path) -> None:
    french = tasks.languages().filter_languages(["fra"])
    part = evaluate_task(french, embedder, folder=tmp_path)
    whole = evaluate_task(tasks.languages(), embedder, folder=tmp_path)
    again = evaluate_task(tasks.languages().filter_languages(["fra"]), embedder, folder=tmp_path)
    assert again.metrics == part.metrics
    english = evaluate_task(tasks.languages().filter_languages(["eng"]), embedder, folder=tmp_path)
    values = [result.metrics["cosine_spearman"].value for result in (part, english, whole)]
    assert values[2] == pytest.approx((values[0] + values[1]) / 2, abs=1e-6)


def test_a_damaged_or_older_result_file(embedder: Embedder, tasks: SimpleNamespace, tmp_path: Path) -> None:
    first = evaluate_task(tasks.sts(), embedder, folder=tmp_path)
    (path,) = tmp_path.rglob("LocalSTS.json")
    older = json.loads(path.read_text()) | {"dataset_revision": "0"}
    path.write_text(json.dumps(older))
    result = evaluate_task(tasks.sts(), embedder, folder=tmp_path)
    assert result.metrics == first.metrics
    assert "is of revision 0 of the data, this mteb names 1" in result.warnings[0]
    path.write_text("{")
    with pytest.raises(InvalidInputError, match="LocalSTS.json is no result file of mteb's"):
        evaluate_task(tasks.sts(), embedder, folder=tmp_path)


def test_data_are_let_go_unless_they_were_there(embedder: Embedder, tasks: SimpleNamespace) -> None:
    task = tasks.sts()
    evaluate_task(task, embedder, folder=None)
    assert not task.data_loaded
    task.load_data()
    evaluate_task(task, embedder, folder=None)
    assert task.data_loaded


def test_data_that_can_not_be_had(embedder: Embedder, mteb: Any) -> None:
    with pytest.raises(InvalidInputError, match="mteb/sts12-sts at revision a0d554a6") as caught:
        run_task("mteb/STS12", embedder, folder=None)
    assert "mteb.get_task('STS12').load_data()" in str(caught.value)
    assert "$HF_HOME" in str(caught.value)


def test_tasks_a_model_can_not_do(
    embedder: Embedder, ranker: Reranker, tasks: SimpleNamespace, task_class: Any, mteb: Any
) -> None:
    for kind in ("sts", "retrieval"):
        with pytest.raises(InvalidInputError, match="gives a reranker no candidates"):
            evaluate_task(getattr(tasks, kind)(), ranker, folder=None)
    images = task_class(
        mteb.abstasks.AbsTaskClassification,
        "ImageClassification",
        "accuracy",
        dict,
        category="i2c",
        modalities=["image"],
    )
    with pytest.raises(InvalidInputError, match="LocalImageClassification is of image; Lagotto's models read text"):
        evaluate_task(images(), embedder, folder=None)
    with pytest.raises(InvalidInputError, match="dimensions is 100"):
        evaluate_task(tasks.sts(), embedder, folder=None, dimensions=100)


def test_warnings_of_the_task_and_of_cut_texts(
    embedder: Embedder, tasks: SimpleNamespace, task_class: Any, mteb: Any
) -> None:
    from mteb import abstasks

    old = task_class(
        abstasks.AbsTaskSTS,
        "STS",
        "cosine_spearman",
        lambda: _data_of(tasks.sts),
        name="LocalOld",
        superseded_by="LocalNew",
    )
    result = evaluate_task(old(), embedder, folder=None, max_length=5)
    assert result.warnings[0].startswith("mteb recommends LocalNew")
    assert result.warnings[1].endswith("of 80 inputs are longer than 5 tokens and were not read to the end")


def _data_of(task: Any) -> Any:
    made = task()
    made.load_data()
    return made.dataset


def test_a_task_by_name_and_a_mean_of_tasks(
    embedder: Embedder, tasks: SimpleNamespace, mteb: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mteb.abstasks.aggregate_task_metadata import AggregateTaskMetadata
    from mteb.abstasks.aggregated_task import AbsTaskAggregate

    class Mean(AbsTaskAggregate):
        metadata = AggregateTaskMetadata(
            name="LocalMean",
            type="STS",
            main_score="cosine_spearman",
            description="Made for a test.",
            tasks=[tasks.sts(), tasks.languages()],
            eval_langs=["eng-Latn", "fra-Latn"],
            eval_splits=["test"],
        )

    registry = sys.modules["mteb.get_tasks"]
    monkeypatch.setattr(registry, "TASK_LIST", (*registry.TASK_LIST, Mean, tasks.sts, tasks.languages))
    mean = run_task("mteb/LocalMean", embedder, folder=tmp_path)
    parts = [run_task(name, embedder, folder=tmp_path) for name in ("LocalSTS", "mteb/LocalLanguages")]
    assert [result.dataset for result in (mean, *parts)] == ["mteb/LocalMean", "mteb/LocalSTS", "mteb/LocalLanguages"]
    values = [result.metrics["cosine_spearman"].value for result in (mean, *parts)]
    assert values[0] == pytest.approx((values[1] + values[2]) / 2, abs=1e-6)
    assert parts[0].cost.stages[0].tokens == 0  # they were in the folder
    monkeypatch.setattr(tasks.sts, "load_data", lambda self, **_: pytest.fail("the data are not needed"))
    assert run_task("mteb/LocalMean", embedder, folder=tmp_path).metrics == mean.metrics


def test_without_mteb(embedder: Embedder, tasks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "lagotto\[benchmarks\]"'):
        run_task("STS12", embedder, folder=None)


def test_mteb_writes_in_lagottos_cache_and_reports_nothing(tmp_path: Path) -> None:
    code = """
import os
from lagotto.evaluation.mteb.library import mteb_library
mteb = mteb_library()
import datasets
assert "MTEB_CACHE" not in os.environ
assert not datasets.config.HF_UPDATE_DOWNLOAD_COUNTS
"""
    home = tmp_path / "home"
    home.mkdir()
    places = {"HOME": str(home), "LAGOTTO_CACHE": str(tmp_path / "cache"), "HF_HOME": str(tmp_path / "hf")}
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "", **places}, timeout=120)
    assert (tmp_path / "cache/mteb").is_dir()
    assert not (home / ".cache/mteb").exists()
