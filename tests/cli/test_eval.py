"""``lagotto eval`` and ``eval benchmarks``."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lagotto import evaluate
from lagotto.evaluation.benchmarks.registry import all_names
from lagotto.evaluation.output import Output
from lagotto.models.loading import Options
from support.collection import sts, write_collection, write_lines
from support.errors import one_line
from support.strict_json import strict_json

FAST = ("--precision", "f32", "--threads", "1")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature collection."""
    return write_collection(tmp_path / "mini")


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """A file of pairs with similarities."""
    data = sts()
    rows = zip(data.left, data.right, data.gold, strict=True)
    return write_lines(
        tmp_path / "likeness.jsonl", ({"sentence1": a, "sentence2": b, "score": score} for a, b, score in rows)
    )


# eval


def test_figures_in_a_table_and_a_report(run, folder, pairs, tiny_bert, tmp_path):
    out = tmp_path / "out"
    result = run("eval", "--data", folder, "-d", pairs, "--model", tiny_bert, "--bm25", "--out", out, *FAST)
    assert result.exit_code == 0, result.output
    report = strict_json((out / "report.json").read_bytes())
    header, _, *rows = result.stdout.splitlines()
    assert header.split() == ["data", "system", "measure", "value", "95", "%", "interval"]
    assert len(rows) == 2 * 5 + 2
    assert rows[0].split()[:3] == ["mini", "tiny-bert", "ndcg@10"]
    value = report["results"][0]["metrics"]["ndcg@10"]
    assert rows[0].split()[3:7] == [f"{value['value']:.4f}", f"{value['low']:.4f}", "to", f"{value['high']:.4f}"]
    assert rows[5].split()[:3] == ["mini", "BM25", "ndcg@10"]
    assert rows[10].split()[:3] == ["likeness", "tiny-bert", "spearman"]
    assert result.stderr.splitlines()[-1] == f"the report is in {out / 'report.html'}"
    assert f"opening {tiny_bert}" in result.stderr
    assert (out / "report.html").exists()


def test_significant_differences_are_marked(run, tmp_path):
    """Forty queries for one common word, which find as many documents as they may."""
    folder = tmp_path / "data"
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", ({"_id": f"d{i}", "text": f"dogs number{i}"} for i in range(40)))
    write_lines(folder / "queries.jsonl", ({"_id": f"q{i}", "text": "dogs"} for i in range(40)))
    (folder / "qrels/test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(40)))
    leg = '[[system.leg]]\ntype = "bm25"\nlanguage = "en"\n'
    pipelines = tmp_path / "p.toml"
    pipelines.write_text("".join(f'[[system]]\nname = "{n}"\ntop_k = {n}\n{leg}' for n in (20, 40, 5, 19)))
    result = run("eval", "-d", folder, "--pipeline", pipelines, "--measure", "recall@100")
    marks = [line.split()[-1] for line in result.stdout.splitlines()[2:]]
    assert marks[1:3] == ["▲", "▼"]
    assert {marks[0][0], marks[3][0]} == {"0"}  # the interval: nothing is marked


def test_json_alone_is_on_standard_output(run, folder, tiny_bert):
    result = run("eval", "-d", folder, "-m", tiny_bert, "--json", *FAST)
    report = strict_json(result.stdout)
    assert report["format"] == 1
    assert report["results"][0]["system"] == "tiny-bert"
    assert result.stderr
    with_library = evaluate(folder, model=tiny_bert, options=Options(precision="f32", threads=1)).to_dict()
    assert report["results"][0]["metrics"] == json.loads(json.dumps(with_library["results"][0]["metrics"]))


def test_quiet_is_quiet(run, folder, tiny_bert, tmp_path):
    result = run("eval", "-d", folder, "-m", tiny_bert, "--out", tmp_path / "out", "--quiet", *FAST)
    assert result.exit_code == 0
    assert result.stderr == ""
    assert "ndcg@10" in result.stdout


def test_without_a_model_it_is_bm25(run, folder):
    assert [row["system"] for row in strict_json(run("eval", "-d", folder, "--json").stdout)["results"]] == ["BM25"]


def test_every_option_reaches_the_library(run, tmp_path, monkeypatch):
    told: dict[str, Any] = {}

    def record(data: Any, **more: Any) -> Any:
        told.update(more, data=data)
        raise KeyboardInterrupt

    monkeypatch.setattr("lagotto.evaluation.evaluate.evaluate", record)
    command = "--data a --data b --model m --model n --reranker r --reranker s --pipeline p.toml --bm25 --hybrid"
    command += (
        " --sparse --multivector --fuse dense=0.2,sparse=.8 --fuse sparse=1,multivector=2 --rescore multivector=1"
    )
    command += " --rescore-top-k 50 --dimensions 8 --dimensions 16 --quantization int8 --quantization binary"
    command += " --measure map --measure mrr"
    command += " --out o --baseline BM25 --split dev --language zh --top-k 7 --rerank-top-k 3 --ignore-identical-ids"
    command += " --no-cache --engine torch --device cpu --precision f32 --weights nf4 --threads 2 --max-length 9"
    command += " --models-dir store --cache-dir kept"
    command += " --offline --card bge --pooling mean --quiet"
    assert run("eval", *command.split()).exit_code == 130
    assert told == {
        "data": ["a", "b"],
        "model": ["m", "n"],
        "reranker": ["r", "s"],
        "pipeline": Path("p.toml"),
        "bm25": True,
        "hybrid": True,
        "sparse": True,
        "multivector": True,
        "fuse": [{"dense": 0.2, "sparse": 0.8}, {"sparse": 1.0, "multivector": 2.0}],
        "rescore": [{"multivector": 1.0}],
        "rescore_top_k": 50,
        "dimensions": [8, 16],
        "quantization": ["int8", "binary"],
        "measures": ["map", "mrr"],
        "out": Path("o"),
        "baseline": "BM25",
        "split": "dev",
        "language": "zh",
        "top_k": 7,
        "rerank_top_k": 3,
        "ignore_identical_ids": True,
        "cache": False,
        "progress": False,
        "options": Options(
            engine="torch",
            device="cpu",
            precision="f32",
            weights="nf4",
            threads=2,
            max_length=9,
            models_dir=Path("store"),
            cache_dir=Path("kept"),
            offline=True,
            card="bge",
            pooling="mean",
        ),
    }
    told.clear()
    run("eval", "-d", "a")
    assert told["options"] == Options()
    assert (told["cache"], told["progress"]) == (True, True)
    assert (told["top_k"], told["rescore_top_k"], told["rerank_top_k"]) == (1000, 200, 100)
    assert not any(told[name] for name in ("sparse", "multivector", "fuse", "rescore"))
    assert not any(told[name] for name in ("model", "reranker", "pipeline", "dimensions", "quantization", "measures"))


def test_the_help_names_every_option_once(run):
    text = run("eval", "--help").stdout
    named = re.findall(r"^  (?:-\w, )?(--[\w-]+)", text, re.MULTILINE)
    assert len(named) == len(set(named))
    assert set(named) >= {
        *("--data", "--model", "--reranker", "--pipeline", "--bm25", "--hybrid", "--dimensions", "--quantization"),
        *("--measure", "--min", "--out", "--baseline", "--split", "--language", "--top-k", "--rerank-top-k"),
        *(
            "--ignore-identical-ids",
            "--cache",
            "--engine",
            "--device",
            "--precision",
            "--weights",
            "--threads",
            "--max-length",
            "--models-dir",
        ),
        *("--cache-dir", "--offline", "--card", "--pooling", "--quiet", "--json"),
    }
    for option in named:
        assert text.count(f" {option} ") == 1, option
    assert re.search(r"^  compare ", text, re.MULTILINE)
    assert re.search(r"^  benchmarks ", text, re.MULTILINE)
    assert "\n  eval " in run("--help").stdout


# --min


def test_a_goal_that_is_met(run, folder):
    goals = ["--min", "ndcg@10=0.01", "--min", "mini:MAP=0", "--min", "nDCG_at_10=-1e0"]
    result = run("eval", "-d", folder, *goals)
    assert result.exit_code == 0
    assert "below" not in result.stderr


@pytest.mark.parametrize("quiet", [[], ["--quiet"]])
def test_a_goal_that_is_missed(run, folder, tiny_bert, quiet):
    goals = ["--min", "mini:ndcg@10=0.999", "--min", "recall@10=1e6", "--min", "map=0"]
    result = run("eval", "-d", folder, "--bm25", "-m", tiny_bert, *goals, "--json", *FAST, *quiet)
    assert result.exit_code == 3
    report = strict_json(result.stdout)
    values = {row["system"]: row["metrics"]["ndcg@10"]["value"] for row in report["results"]}
    missed = [line for line in result.stderr.splitlines() if "below" in line]
    assert missed[0] == f"tiny-bert on mini: ndcg@10 is {values['tiny-bert']:.4f}, below 0.999"
    assert missed[1] == f"BM25 on mini: ndcg@10 is {values['BM25']:.4f}, below 0.999"
    assert [line.endswith("below 1e+06") for line in missed] == [False, False, True, True]
    if quiet:
        assert result.stderr.splitlines() == missed


def test_goals_of_sets_of_pairs(run, pairs, tiny_bert):
    assert run("eval", "-d", pairs, "-m", tiny_bert, "--min", "spearman=-1", *FAST).exit_code == 0
    result = run("eval", "-d", pairs, "-m", tiny_bert, "--min", "likeness:spearman=1", *FAST)
    assert result.exit_code == 3
    assert "tiny-bert on likeness: spearman is " in result.stderr


def test_a_figure_exactly_at_its_goal_is_enough(run, folder):
    value = strict_json(run("eval", "-d", folder, "--json").stdout)["results"][0]["metrics"]["ndcg@10"]["value"]
    assert run("eval", "-d", folder, "--min", f"ndcg@10={value!r}").exit_code == 0


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("ndcg@20=0.1", r"--min: ndcg@20 was not measured on any data set; ask for it with --measure ndcg@20"),
        ("other:ndcg@10=0.1", r"--min: ndcg@10 was not measured on 'other'"),
        ("nonsense=0.1", r"--min: nonsense was not measured"),
    ],
)
def test_a_goal_that_was_not_measured_is_an_error(run, folder, goal, message):
    result = run("eval", "-d", folder, "--min", goal, "--quiet")
    assert result.exit_code == 1
    assert re.search(message, result.stderr.splitlines()[-1])


@pytest.mark.parametrize("goal", ["ndcg@10", "ndcg@10=", "=0.5", "ndcg@10=high", "ndcg@10=1.2.3", "ndcg@10=nan", ""])
def test_a_goal_that_makes_no_sense_is_refused_before_work(run, folder, goal, monkeypatch):
    monkeypatch.setattr("lagotto.evaluation.evaluate.evaluate", lambda *_, **__: pytest.fail("worked"))
    one_line(run("eval", "-d", folder, "--min", goal), "say MEASURE=VALUE or DATA:MEASURE=VALUE")


# What is wrong


def test_errors_are_one_line(run, folder, tmp_path, tiny_bert):
    one_line(run("eval"), "no data set was given")
    one_line(run("eval", "-d", tmp_path / "missing"), "missing: no such file or folder")
    one_line(run("eval", "-d", "no-benchmark"), "no-benchmark")
    one_line(run("eval", "-d", folder, "-m", tmp_path / "none", "--quiet"), "none")
    one_line(run("eval", "-d", folder, "--pipeline", tmp_path / "none.toml"), "none.toml: No such file")
    (tmp_path / "bad.toml").write_text("[[system]\n")
    one_line(run("eval", "-d", folder, "--pipeline", tmp_path / "bad.toml"), "bad.toml: not valid TOML")
    (tmp_path / "odd.toml").write_text('[[system]]\nname = "x"\nlegs = 3\n')
    one_line(
        run("eval", "-d", folder, "--pipeline", tmp_path / "odd.toml"), r"odd.toml, system 1: unknown keys \['legs'\]"
    )
    one_line(run("eval", "-d", folder, "--measure", "ndgc"), "measure 'ndgc' is not known")
    one_line(run("eval", "-d", folder, "--baseline", "x"), "baseline 'x' is none of the systems: 'BM25'")
    one_line(run("eval", "-d", folder, "--dimensions", "8"), "name a model too")
    for args in (
        ["--hybrid"],
        ["--sparse"],
        ["--multivector"],
        ["--fuse", "dense=1,sparse=1"],
        ["--rescore", "dense=1"],
    ):
        one_line(run("eval", "-d", folder, *args), "name a model too")
    for args in (["--sparse"], ["--multivector"], ["--rescore", "dense=0,multivector=1"]):
        result = run("eval", "-d", folder, "-m", tiny_bert, *args, "--quiet", *FAST)
        one_line(result, "output needs .*; download the whole checkpoint, or ask for dense output alone")
    one_line(run("eval", "-d", folder, "-m", tiny_bert, "--quantization", "int4"), "quantization is 'int4'")
    one_line(run("eval", "-d", folder, "--split", "dev"), "dev")
    one_line(run("eval", "-d", folder, "--language", "xx", "--quiet"), "language 'xx'")
    one_line(run("eval", "-d", folder, "--out", folder / "corpus.jsonl"), "is a file; --out names a folder")
    with Output(tmp_path / "out"):
        one_line(run("eval", "-d", folder, "--out", tmp_path / "out"), "another evaluation is writing")


def test_damaged_data_is_one_line(run, folder):
    with (folder / "corpus.jsonl").open("a") as file:
        file.write("{\n")
    one_line(run("eval", "-d", folder), r"corpus.jsonl, line 41: not valid JSON")


@pytest.mark.parametrize("args", [["nonsense"], ["--top-k", "0"], ["--dimensions", "x"], ["--pooling", "x"]])
def test_usage_errors_leave_with_2(run, folder, args):
    assert run("eval", "-d", folder, *args).exit_code == 2


def test_options_of_eval_before_a_verb_are_not_swallowed(run, folder):
    one_line(run("eval", "--data", folder, "benchmarks"), "--data stands before benchmarks")
    one_line(run("eval", "--measure", "map", "compare", "a", "b"), "--measure stands before compare")


# A process of its own


def big(folder: Path) -> Path:
    """A collection on which a reranker has work for seconds."""
    (folder / "qrels").mkdir(parents=True)
    texts = [f"the panda number{i} is a bear of river{i % 7} " + "water fire " * (i % 20) for i in range(400)]
    write_lines(folder / "corpus.jsonl", ({"_id": f"d{i}", "text": text} for i, text in enumerate(texts)))
    write_lines(folder / "queries.jsonl", ({"_id": f"q{i}", "text": f"bear number{i} river"} for i in range(40)))
    (folder / "qrels/test.tsv").write_text("".join(f"q{i}\td{i}\t1\n" for i in range(40)))
    return folder


def what_counts(report: dict[str, Any]) -> dict[str, Any]:
    """A report without times, sizes and the date."""
    results = [{key: row[key] for key in row if key != "cost"} for row in report["results"]]
    return {key: report[key] for key in ("systems", "datasets", "comparisons", "examples")} | {"results": results}


def test_libraries_are_quiet_too(start, folder):
    out, err = start("eval", "-d", folder, "--quiet", "--json").communicate(timeout=60)
    assert err == b""
    assert strict_json(out)["results"][0]["system"] == "BM25"


def test_interrupt_and_run_again(start: Callable[..., subprocess.Popen[bytes]], tiny_bert, tiny_reranker, tmp_path):
    folder = big(tmp_path / "big")

    def command(out: str, cache: str) -> subprocess.Popen[bytes]:
        return start(
            *("eval", "-d", folder, "-m", tiny_bert, "-r", tiny_reranker, "--rerank-top-k", "300", "--json"),
            *("--out", tmp_path / out, "--cache-dir", tmp_path / cache, *FAST),
        )

    first = tmp_path / "cut/results/big/tiny-bert.json"
    process = command("cut", "cache")
    deadline = time.monotonic() + 120
    while not first.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert out == b""
    assert err.decode().splitlines()[-1] == "lagotto: interrupted"
    assert b"Traceback" not in err
    assert [path.name for path in first.parent.iterdir()] == ["tiny-bert.json"]
    assert not (tmp_path / "cut/report.json").exists()
    before = first.stat().st_mtime_ns

    out, err = command("cut", "cache").communicate(timeout=120)
    resumed = strict_json(out)
    assert first.stat().st_mtime_ns == before  # taken over
    whole, err = command("whole", "other").communicate(timeout=120)
    assert what_counts(resumed) == what_counts(strict_json(whole))
    assert len(resumed["results"]) == 2


# eval benchmarks


def test_the_benchmarks_are_listed(run):
    result = run("eval", "benchmarks")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == list(all_names())
    assert "beir/scifact" in result.stdout.splitlines()


def test_benchmarks_are_fetched_to_a_folder_that_is_named(run, tmp_path, monkeypatch):
    asked = []

    def prepare(benchmark: Any, *, cache: Path, say: Callable[[str], None]) -> Path:
        asked.append((benchmark.name, cache))
        say(f"fetching {benchmark.name}")
        return cache / benchmark.name

    monkeypatch.setattr("lagotto.evaluation.benchmarks.prepare.prepare", prepare)
    command = ["--fetch", "beir/scifact", "--fetch", "beir/nfcorpus", "--cache-dir", tmp_path]
    result = run("eval", "benchmarks", *command)
    assert result.exit_code == 0, result.output
    assert asked == [("beir/scifact", tmp_path), ("beir/nfcorpus", tmp_path)]
    assert result.stdout.splitlines() == [str(tmp_path / "beir/scifact"), str(tmp_path / "beir/nfcorpus")]
    assert result.stderr.splitlines() == ["fetching beir/scifact", "fetching beir/nfcorpus"]


def test_a_benchmark_nobody_knows(run):
    one_line(run("eval", "benchmarks", "--fetch", "beir/scifcat"), "'beir/scifcat' is no benchmark.*beir/scifact")
