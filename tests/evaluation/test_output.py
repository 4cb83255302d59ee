"""`Output`: the files of a report, and what of an earlier run is taken over."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lagotto
from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.evaluation import output as module
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.output import Output, cell_key, check_files, result_from_dict, write_json
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Fusion, Rerank, System
from lagotto.evaluation.results import (
    Cost,
    Estimate,
    Histogram,
    Lengths,
    Report,
    Result,
    Run,
    ScoreSpread,
    Stage,
    SystemInfo,
)
from lagotto.evaluation.runs import read_qrels, read_run
from lagotto.models.loading import Options
from support.collection import collection, documents, judgements, queries

HISTOGRAM = Histogram((0.0, 0.5, 1.0), (3, 4))


@pytest.fixture
def result(data) -> Result:
    """A result with everything in it."""
    random = np.random.default_rng(0)
    places = np.stack([random.permutation(40)[:6] for _ in data.queries]).astype(np.int32)
    scores = -np.sort(-random.standard_normal((8, 6)).astype(np.float32), axis=1)
    places[7], scores[7] = -1, -np.inf
    places[6, 2:], scores[6, 2:] = -1, -np.inf
    return Result(
        system="a → b/c",
        dataset=data.name,
        metrics={"ndcg@10": Estimate(0.5, 0.25, 0.75), "map": Estimate(1 / 3, 0.1, 0.6)},
        per_query={"ndcg@10": dict.fromkeys(data.queries, 0.5), "map": dict.fromkeys(data.queries, 1 / 3)},
        cost=Cost((Stage("index: m", 1.25, 40, 1000, 7), Stage("search: m", 0.1, 8)), 1536, 10, 20, 30),
        lengths=(Lengths("documents, m", 512, 100.5, 512, 3, 40, HISTOGRAM),),
        scores=ScoreSpread(HISTOGRAM, HISTOGRAM, 0.7, 0.9),
        warnings=("one", "two"),
        run=Run(tuple(data.queries), places, scores, data.corpus.ids),
    )


def kept(folder: Path) -> Path:
    (path,) = (folder / "results").rglob("*.json")
    return path


def same(a: Result | None, b: Result) -> bool:
    assert a is not None
    assert a.run is not None
    assert b.run is not None
    return a == b and a.run.to_dict() == b.run.to_dict() and a.run.queries == b.run.queries


def test_a_kept_cell_comes_back_whole(tmp_path, data, result):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        assert same(output.finished("key", result.system, data), result)
    with Output(tmp_path) as output:
        assert same(output.finished("key", result.system, data), result)


def test_runs_and_judgements_are_files_others_can_read(tmp_path, data, result):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        path = output.run_path(result.system, data.name)
    assert path == tmp_path / "runs/mini/a _ b_c.trec"
    for query, hits in result.run.to_dict().items():
        found = read_run(path).get(query, {})
        assert list(found) == list(hits)
        assert [np.float32(score) for score in found.values()] == [np.float32(score) for score in hits.values()]
    assert read_qrels(tmp_path / "qrels/mini.qrels") == judgements()
    first = path.read_text().splitlines()[0].split(" ")
    assert (first[0], first[1], first[3]) == ("q0", "Q0", "1")


def test_a_cell_that_found_nothing_at_all_comes_back_too(tmp_path, data, result, caplog):
    empty = replace(
        result, run=Run(tuple(data.queries), np.full((8, 3), -1), np.full((8, 3), -np.inf), data.corpus.ids)
    )
    with Output(tmp_path) as output:
        output.keep("key", empty, data)
        assert same(output.finished("key", result.system, data), empty)
    assert not caplog.records


@pytest.mark.parametrize("what", ["key", "system", "dataset"])
def test_another_cell_is_not_found(tmp_path, data, result, caplog, what):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        key = "other" if what == "key" else "key"
        system = "other" if what == "system" else result.system
        wanted = replace(data, name="other") if what == "dataset" else data
        assert output.finished(key, system, wanted) is None
    assert not caplog.records


def without(name: str):
    def damage(path: Path) -> None:
        row = json.loads(path.read_text())
        place = row if name in row else row["result"]
        del place[name]
        path.write_text(json.dumps(row))

    return damage


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-20]),
        lambda path: path.write_bytes(b"\xff\xfe"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text("null"),
        lambda path: path.write_text('{"key": "key", "run": null, "result": null}'),
        lambda path: path.write_text(path.read_text().replace('"metrics"', '"figures"')),
        lambda path: path.write_text(path.read_text().replace('"stages": [', '"stages": [1, ')),
        lambda path: path.write_text(path.read_text().replace('"seconds"', '"hours"')),
        without("run"),
        without("result"),
        without("key"),
        without("cost"),
    ],
)
def test_a_damaged_result_is_computed_again(tmp_path, data, result, caplog, damage):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        damage(kept(tmp_path))
        with caplog.at_level(logging.WARNING):
            assert output.finished("key", result.system, data) is None
        assert "is damaged" in caplog.text
        assert "is computed again" in caplog.text
        output.keep("key", result, data)
        assert same(output.finished("key", result.system, data), result)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-2])),  # still a run
        lambda path: path.write_text(path.read_text().replace("d1 ", "d2 ")),
        lambda path: path.write_text("nonsense\n"),
    ],
)
def test_a_run_that_is_not_the_one_measured_is_computed_again(tmp_path, data, result, caplog, damage):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        damage(output.run_path(result.system, data.name))
        assert output.finished("key", result.system, data) is None
    assert "is not the run it was computed from" in caplog.text


def test_a_run_that_was_deleted_is_computed_again(tmp_path, data, result, caplog):
    with Output(tmp_path) as output:
        output.keep("key", result, data)
        output.run_path(result.system, data.name).unlink()
        assert output.finished("key", result.system, data) is None


def test_figures_are_written_after_the_run_they_vouch_for(tmp_path, data, result, monkeypatch):
    def stop(path: Path, value: object) -> None:
        raise KeyboardInterrupt

    with Output(tmp_path) as output:
        with monkeypatch.context() as patch:
            patch.setattr(module, "write_json", stop)
            with pytest.raises(KeyboardInterrupt):
                output.keep("key", result, data)
        assert output.run_path(result.system, data.name).exists()
        assert output.finished("key", result.system, data) is None


DENSE, JUDGE = DenseLeg("m"), Rerank("r")
BASE = System("s", (DENSE,))


@pytest.mark.parametrize(
    "change",
    [
        {"system": replace(BASE, name="t")},
        {"system": replace(BASE, top_k=10)},
        {"system": replace(BASE, rerank=JUDGE)},
        {"system": replace(BASE, legs=(replace(DENSE, dimensions=8),))},
        {"system": replace(BASE, legs=(replace(DENSE, quantization="int8"),))},
        {"system": replace(BASE, legs=(replace(DENSE, rescore=8),))},
        {"system": replace(BASE, legs=(replace(DENSE, query_prompt=""),))},
        {"system": replace(BASE, legs=(replace(DENSE, query_instruction="x"),))},
        {"system": replace(BASE, legs=(DENSE, Bm25Leg()), fusion=Fusion())},
        {"models": {"m": "other"}},
        {"options": Options(max_length=10)},
        {"options": Options(truncation="left")},
        {"data": collection(name="other")},
        {"data": collection(corpus=ListCorpus(documents() | {"d3": "changed"}))},
        {"data": collection(corpus=ListCorpus(dict(reversed(documents().items()))))},
        {"data": collection(queries=queries() | {"q0": "changed"})},
        {"data": collection(qrels=judgements() | {"q0": {"d1": 3}})},
        {"data": collection(excluded={"q0": frozenset({"d1"})})},
        {"data": collection(answers={"q0": ("x",)})},
        {"data": collection(task=TaskHint("NFCorpus", "Retrieval"))},
        {"data": collection(task=TaskHint(type="Retrieval", instruction="find"))},
        {"measures": ["map"]},
        {"measures": ["map", "ndcg@10"]},
    ],
)
def test_whatever_decides_the_figures_is_in_the_key(change):
    told = {
        "system": BASE,
        "models": {"m": "f"},
        "options": Options(),
        "data": collection(),
        "measures": ["ndcg@10", "map"],
    }
    assert cell_key(**told) == cell_key(**told | {"data": collection()})
    assert cell_key(**told) != cell_key(**told | change)


def test_details_of_reranking_and_fusion_are_in_the_key():
    def key(system: System) -> str:
        return cell_key(system, {}, Options(), collection(), [])

    systems = [
        System("s", (DENSE,), rerank=rerank)
        for rerank in (JUDGE, replace(JUDGE, top_k=3), replace(JUDGE, max_windows=None), replace(JUDGE, max_windows=1))
    ]
    systems += [
        System("s", (DENSE, Bm25Leg()), fusion)
        for fusion in (Fusion(), Fusion(rrf_k=1), Fusion("weighted"), Fusion(weights=(0.2, 0.8)))
    ]
    systems += [System("s", (Bm25Leg(k1=k1),)) for k1 in (1.2, 0.9)]
    assert len({key(system) for system in systems}) == len(systems)


def test_what_does_not_change_figures_is_not_in_the_key():
    told = (BASE, {"m": "f"})
    assert cell_key(*told, Options(threads=1), collection(), []) == cell_key(*told, Options(), collection(), [])
    moved = collection(source="/elsewhere", warnings=("x",), language="fa", group="g")
    assert cell_key(*told, Options(), moved, []) == cell_key(*told, Options(), collection(), [])


def test_another_version_of_lagotto_computes_again(monkeypatch):
    before = cell_key(BASE, {}, Options(), collection(), [])
    monkeypatch.setattr(module, "__version__", "999")
    assert cell_key(BASE, {}, Options(), collection(), []) != before


def test_results_survive_json(result):
    again = result_from_dict(json.loads(json.dumps(result.to_dict())), run=result.run)
    assert again == result
    assert list(again.metrics) == list(result.metrics)
    plain = replace(result, scores=None, lengths=(), warnings=(), per_query={})
    assert result_from_dict(json.loads(json.dumps(plain.to_dict()))) == plain


def test_json_is_strict_and_written_whole(tmp_path):
    path = tmp_path / "deep/er/x.json"
    write_json(path, {"text": "熊猫 \ud800", "number": 0.1})
    assert json.loads(path.read_bytes()) == {"text": "熊猫 \ud800", "number": 0.1}
    assert "熊猫".encode() in path.read_bytes()
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"number": float("nan")})
    assert json.loads(path.read_bytes())["number"] == 0.1
    assert [file.name for file in path.parent.iterdir()] == ["x.json"]


def test_the_report_in_three_forms(tmp_path, data, result):
    report = Report((SystemInfo(result.system, {}),), (data.info(),), (result,))
    with Output(tmp_path) as output:
        output.write(report)
    assert json.loads((tmp_path / "report.json").read_text()) == json.loads(json.dumps(report.to_dict()))
    assert "ndcg@10" in (tmp_path / "report.md").read_text()
    assert "<html" in (tmp_path / "report.html").read_text()[:200]


def test_a_second_writer_is_refused_until_the_first_is_done(tmp_path):
    with Output(tmp_path / "out"):
        with pytest.raises(ConfigError, match=r"another evaluation is writing .*out; name another folder or wait"):
            Output(tmp_path / "out")
        with Output(tmp_path / "other"):
            pass
    with Output(tmp_path / "out"):
        pass


def test_a_writer_in_another_process_is_refused(tmp_path):
    code = (
        "import sys; from pathlib import Path; from lagotto.evaluation.output import Output\n"
        "with Output(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(lagotto.__file__).parents[1])}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=environment, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        with pytest.raises(ConfigError, match="another evaluation is writing"):
            Output(tmp_path)
        process.kill()  # a killed process holds nothing
        process.wait()
        with Output(tmp_path):
            pass


def test_an_error_frees_the_folder(tmp_path):
    with pytest.raises(KeyboardInterrupt), Output(tmp_path):
        raise KeyboardInterrupt
    with Output(tmp_path):
        pass


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InvalidInputError, match="is a file; --out names a folder"):
        Output(tmp_path / "file")
    with pytest.raises(OSError, match="file"):
        Output(tmp_path / "file" / "below")


def test_names_that_would_share_a_file():
    check_files(["a", "b", "a b", "熊猫"], ["a", "b"])
    check_files(["a"], ["a"])
    with pytest.raises(InvalidInputError, match="systems 'a/b' and 'a:b' would have the same file; rename one"):
        check_files(["a/b", "x", "a:b"], [])
    with pytest.raises(InvalidInputError, match="data sets 'Mini' and 'mini' would have the same file"):
        check_files([], ["Mini", "mini"])


def test_long_names_have_files_too(tmp_path, data, result):
    for name in ("x" * 1000, "熊" * 300, "x" * 1001):
        named = replace(data, name=name)
        with Output(tmp_path) as output:
            output.keep("key", replace(result, system=name, dataset=name), named)
            assert output.finished("key", name, named) is not None
    assert len(list((tmp_path / "results").rglob("*.json"))) == 3
