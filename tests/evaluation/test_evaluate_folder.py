"""`evaluate` with a folder and a cache: what is finished is taken over, what changed is computed again."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lagotto import Report, evaluate
from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.output import Output
from lagotto.evaluation.results import Result
from support.checkpoints import BERT, write_embedder
from support.collection import (
    DOCUMENTS,
    QUERIES,
    collection,
    documents,
    judgements,
    sts,
)
from support.strict_json import strict_json


def figures(report: Report) -> dict[tuple[str, str], dict[str, float]]:
    return {(r.system, r.dataset): {name: value.value for name, value in r.metrics.items()} for r in report.results}


# With a folder


def test_the_folder_of_a_report(go, folder, tiny_bert, tmp_path):
    out = tmp_path / "new" / "out"
    report = go([folder, sts()], model=tiny_bert, bm25=True, out=out)
    assert {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()} == {
        *("report.html", "report.md", "report.json", ".lock", "qrels/mini.qrels"),
        *("runs/mini/tiny-bert.trec", "runs/mini/BM25.trec"),
        *("results/mini/tiny-bert.json", "results/mini/BM25.json"),
    }
    assert strict_json((out / "report.json").read_bytes()) == json.loads(json.dumps(report.to_dict()))
    assert strict_json((out / "report.json").read_bytes())["format"] == 1
    assert "tiny-bert" in (out / "report.html").read_text()
    assert "tiny-bert" in (out / "report.md").read_text()


def test_what_is_finished_is_not_computed_again(go, folder, tiny_bert, tiny_reranker, tmp_path, counts, options):
    out, cell = tmp_path / "out", "lagotto.evaluation.evaluate.evaluate_retrieval"
    call = {"model": tiny_bert, "reranker": tiny_reranker, "bm25": True, "out": out}
    first = go(folder, **call)
    assert (counts.texts > 0, counts.pairs > 0) == (True, True)
    shutil.rmtree(options.cache_dir / "vectors")  # it is the folder that remembers
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cell, lambda *_: pytest.fail("computed again"))
        second = go(folder, **call)
    assert (counts.texts, counts.pairs) == (0, 0)
    assert second.results == first.results
    assert second.comparisons == first.comparisons
    assert second.examples == first.examples
    assert [a.run.to_dict() for a in second.results] == [b.run.to_dict() for b in first.results]


def test_a_further_system_or_data_set_computes_that_alone(go, folder, data, tiny_bert, tmp_path, counts):
    go(folder, bm25=True, out=tmp_path / "out")
    before = (tmp_path / "out/results/mini/BM25.json").stat().st_mtime_ns
    report = go([folder, replace(data, name="second")], model=tiny_bert, bm25=True, out=tmp_path / "out")
    assert len(report.results) == 4
    assert (tmp_path / "out/results/mini/BM25.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    "change",
    [
        {"measures": ["map"]},
        {"top_k": 5},
        {"data": collection(corpus=ListCorpus(documents() | {"d7": "changed"}))},
        {"data": collection(qrels=judgements() | {"q0": {"d9": 1}})},
        {"data": collection(task=TaskHint(instruction="find"))},
        {"max_length": 8},
        {"truncation": "left"},
        {"pooling": "mean"},
    ],
)
def test_whatever_changes_is_computed_again(options, data, tmp_path, change, counts, monkeypatch):
    model = write_embedder(tmp_path / "model", BERT)
    call = {"data": data, "model": model, "out": tmp_path / "out", "options": options}
    evaluate(**call)
    cell = "lagotto.evaluation.evaluate.evaluate_retrieval"
    with monkeypatch.context() as patch:
        patch.setattr(cell, lambda *_: pytest.fail("computed again"))
        evaluate(**call)
    if "pooling" in change:
        shutil.rmtree(model)
        write_embedder(model, BERT, pooling="mean")
    else:
        fields = {name: value for name, value in change.items() if hasattr(options, name)}
        call |= {name: value for name, value in change.items() if name not in fields}
        call["options"] = replace(options, **fields)
    done: list[str] = []
    from lagotto.evaluation.retrieval import evaluate_retrieval as real

    monkeypatch.setattr(cell, lambda *args: done.append(args[1].name) or real(*args))
    evaluate(**call)
    assert done == ["model"]


def test_a_damaged_result_is_computed_again(go, data, tiny_bert, tmp_path, caplog):
    out = tmp_path / "out"
    first = go(data, model=tiny_bert, bm25=True, out=out)
    path = out / "results/mini/tiny-bert.json"
    path.write_bytes(path.read_bytes()[:100])
    with caplog.at_level(logging.WARNING):
        second = go(data, model=tiny_bert, bm25=True, out=out)
    assert f"{path} is damaged" in caplog.text
    assert figures(first) == figures(second)
    assert strict_json(path.read_bytes())["result"]["system"] == "tiny-bert"


def test_an_interruption_keeps_what_was_finished(go, data, tiny_bert, tmp_path, counts, monkeypatch):
    from lagotto.evaluation.retrieval import evaluate_retrieval as real

    out, cell = tmp_path / "out", "lagotto.evaluation.evaluate.evaluate_retrieval"
    done: list[str] = []

    def stop_at(system: str | None) -> Callable[..., Result]:
        def call(*args: Any) -> Result:
            if args[1].name == system:
                raise KeyboardInterrupt
            done.append(args[1].name)
            return real(*args)

        return call

    call = {"model": tiny_bert, "bm25": True, "dimensions": [8], "out": out}
    monkeypatch.setattr(cell, stop_at("BM25"))
    with pytest.raises(KeyboardInterrupt):
        go(data, **call)
    assert done == ["tiny-bert", "tiny-bert [8d]"]
    assert counts.opened == counts.closed
    assert not (out / "report.json").exists()
    done.clear()
    monkeypatch.setattr(cell, stop_at(None))
    resumed = go(data, **call)
    assert done == ["BM25"]
    whole = go(data, **call | {"out": tmp_path / "whole"})
    assert [result.metrics for result in resumed.results] == [result.metrics for result in whole.results]
    assert resumed.comparisons == whole.comparisons
    assert resumed.examples == whole.examples


def test_an_error_while_the_report_is_written_keeps_the_work(go, data, tmp_path, monkeypatch):
    out = tmp_path / "out"

    def fail(self: Output, report: Report) -> None:
        raise OSError("No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Output, "write", fail)
        with pytest.raises(OSError, match="No space left"):
            go(data, out=out)
    monkeypatch.setattr("lagotto.evaluation.evaluate.evaluate_retrieval", lambda *_: pytest.fail("computed again"))
    go(data, out=out)
    assert (out / "report.json").exists()


def test_two_evaluations_in_one_folder_at_once(go, data, tiny_bert, tmp_path, counts):
    with Output(tmp_path / "out"), pytest.raises(ConfigError, match="another evaluation is writing"):
        go(data, model=tiny_bert, out=tmp_path / "out")
    assert not counts.opened
    go(data, out=tmp_path / "out")


def test_the_folder_of_the_data_may_be_the_reports(go, folder, tiny_bert):
    first = go(folder, model=tiny_bert, out=folder)
    assert figures(go(folder, model=tiny_bert, out=folder)) == figures(first)


# The cache


def test_embeddings_are_kept_for_later_calls(go, data, tiny_bert, counts, options):
    go(data, model=tiny_bert)
    report = go(data, model=tiny_bert, dimensions=[8], quantization=["int8"], hybrid=True)
    assert counts.texts == 0
    assert [stage.cached for stage in report.results[0].cost.stages] == [DOCUMENTS, QUERIES, 0]
    assert list((options.cache_dir / "vectors").rglob("*.npz"))


def test_without_the_cache_nothing_is_left(go, data, tiny_bert, options, tmp_path, monkeypatch, counts):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    for _ in range(2):
        report = go([data, sts()], model=tiny_bert, dimensions=[8], cache=False)
        assert counts.texts == DOCUMENTS + QUERIES + 48  # within a call it is shared
        assert figures(report)
    assert not list((tmp_path / "temporary").iterdir())
    assert not (options.cache_dir / "vectors").exists()
    with pytest.raises(InvalidInputError):
        go(data, model=tiny_bert, dimensions=[64], cache=False)
    assert not list((tmp_path / "temporary").iterdir())
