"""``lagotto eval compare``."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lagotto.evaluation.measures import parse_measure, per_query
from lagotto.evaluation.runs import read_run
from support.collection import judgements, write_collection
from support.errors import one_line
from support.strict_json import strict_json

FAST = ("--precision", "f32", "--threads", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature collection."""
    return write_collection(tmp_path / "mini")


@pytest.fixture
def runs(run, folder, tiny_bert, tmp_path) -> tuple[Path, Path]:
    """Two runs in a report's folder."""
    result = run("eval", "-d", folder, "-m", tiny_bert, "--bm25", "--out", tmp_path / "out", "--quiet", *FAST)
    assert result.exit_code == 0, result.output
    return tmp_path / "out/runs/mini/BM25.trec", tmp_path / "out/runs/mini/tiny-bert.trec"


def test_runs_are_compared_by_the_judgements_beside_them(run, runs):
    result = run("eval", "compare", *runs, "--json")
    assert result.exit_code == 0, result.output
    found = strict_json(result.stdout)
    usual = [parse_measure(name) for name in ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map")]
    for path in runs:
        values = per_query(read_run(path), judgements(), usual)
        assert found["means"][path.stem] == pytest.approx({name: sum(v.values()) / 8 for name, v in values.items()})
    assert [item["measure"] for item in found["comparisons"]] == [measure.name for measure in usual]
    first = found["comparisons"][0]
    assert (first["baseline"], first["system"], first["dataset"]) == ("BM25", "tiny-bert", "mini")
    gap = found["means"]["tiny-bert"]["ndcg@10"] - found["means"]["BM25"]["ndcg@10"]
    assert first["difference"]["value"] == pytest.approx(gap)
    assert first["wins"] + first["losses"] + first["ties"] == 8
    assert 0 < first["p_value"] <= first["p_holm"] <= 1


def test_comparisons_say_what_the_report_says(run, runs, tmp_path):
    report = strict_json((tmp_path / "out/report.json").read_bytes())
    found = strict_json(run("eval", "compare", runs[1], runs[0], "--json").stdout)
    assert found["comparisons"] == report["comparisons"]


def test_judgements_from_a_file_or_a_data_set(run, runs, folder, tmp_path):
    beside = strict_json(run("eval", "compare", *runs, "--json").stdout)
    for options in (["--qrels", folder / "qrels/test.tsv"], ["--data", folder], ["-d", folder, "--split", "test"]):
        found = strict_json(run("eval", "compare", *runs, "--json", *options).stdout)
        assert found["means"] == beside["means"]
    moved = [path.rename(tmp_path / path.name) for path in runs]
    one_line(run("eval", "compare", *moved), "no judgements are known for .*BM25.trec; name them with --qrels")
    assert run("eval", "compare", *moved, "--qrels", tmp_path / "out/qrels/mini.qrels").exit_code == 0


def test_comparisons_as_tables(run, runs):
    result = run("eval", "compare", *runs, "--measure", "map", "--measure", "ndcg@5")
    first, second = result.stdout.split("\n\n")
    assert first.splitlines()[0].split() == ["run", "map", "ndcg@5"]
    assert [line.split()[0] for line in first.splitlines()[2:]] == ["BM25", "tiny-bert"]
    assert second.splitlines()[0].split()[:3] == ["run", "measure", "difference"]
    row = second.splitlines()[2].split()
    assert row[:2] == ["tiny-bert", "map"]
    assert row[2][0] in "+-"
    assert re.fullmatch(r"\d+/\d+/\d+", row[-1])
    assert result.stderr == ""


def test_runs_of_one_name_are_told_apart_by_their_folders(run, runs, folder, tmp_path):
    other = tmp_path / "BM25.trec"
    other.write_bytes(runs[1].read_bytes())
    found = strict_json(run("eval", "compare", runs[0], other, "--data", folder, "--json").stdout)
    assert list(found["means"]) == [str(runs[0]), str(other)]


def test_what_can_not_be_compared_is_one_line(run, runs, folder, tmp_path):
    one_line(run("eval", "compare", runs[0], runs[0]), "a run was named twice")
    one_line(
        run("eval", "compare", runs[0], runs[0].parent / "." / ".." / "mini" / "BM25.trec"), "a run was named twice"
    )
    one_line(run("eval", "compare", runs[0]), "1 run was given; a comparison needs two or more")
    one_line(run("eval", "compare", runs[0], tmp_path / "none.trec"), "none.trec: No such file or directory")
    one_line(run("eval", "compare", *runs, "--qrels", tmp_path / "none.tsv"), "none.tsv: No such file or directory")
    one_line(run("eval", "compare", *runs, "--data", tmp_path / "none"), "none")
    one_line(run("eval", "compare", *runs, "--qrels", "x", "--data", folder), "give --qrels or --data, not both")
    one_line(run("eval", "compare", *runs, "--split", "test"), "--split is one of --data")
    one_line(run("eval", "compare", *runs, "--measure", "ndgc"), "measure 'ndgc' is not known")
    one_line(run("eval", "compare", *runs, "--measure", "answer_recall@20"), "which run files do not hold")
    (tmp_path / "bad.trec").write_text("q0 Q0 d1 1 high tag\n")
    one_line(run("eval", "compare", runs[0], tmp_path / "bad.trec"), r"bad.trec, line 1: .*is no line of a TREC run")
    (tmp_path / "empty.trec").write_text("")
    one_line(run("eval", "compare", runs[0], tmp_path / "empty.trec"), "empty.trec: no hits")
    (tmp_path / "other.trec").write_text("unknown Q0 d1 1 0.5 tag\n")
    one_line(run("eval", "compare", runs[0], tmp_path / "other.trec"), "has no query that is judged")
