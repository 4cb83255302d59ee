"""``lagotto quantize``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from lagotto import Embedder, Reranker
from lagotto.core import hardware
from support.collection import write_collection
from support.strict_json import strict_json

pytestmark = pytest.mark.usefixtures("int8_cpu")


def test_a_table_of_what_is_kept(run, tiny_bert, texts_file, tmp_path):
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out", "--samples", 32)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    cells = {line[:40].split("  ")[0]: line for line in lines}
    assert cells["texts compared with float32"].split()[-1] == "32"
    assert cells["mean cosine"].endswith("at least 0.998")
    for name in ("median cosine", "1st percentile", "least cosine", "rank correlation of similarities"):
        assert name in cells
    assert "12 of 12" in cells["layers in int8"]
    assert "weights, MB" in cells
    assert lines[-1].startswith("accepted: mean cosine 0.99")
    assert "comparing int8 with float32" in result.stderr
    with Embedder(tmp_path / "out", threads=1) as model:
        assert model.engine.precision == "int8"


def test_json_and_no_word_beside_it(run, tiny_bert, texts_file, tmp_path):
    data = write_collection(tmp_path / "mini")
    arguments = ("--eval", data, "--max-ndcg-loss", 100, "--samples", 32, "--threads", 1, "--json", "--quiet")
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    assert result.stderr == ""
    report = strict_json(result.stdout)
    assert (report["source"], report["out"]) == (str(tiny_bert), str(tmp_path / "out"))
    assert report["limits"]["ndcg_loss"] == 100
    assert [item["dataset"] for item in report["quality"]] == ["mini"]


def test_a_labelled_set_is_a_row(run, tiny_bert, texts_file, tmp_path):
    data = write_collection(tmp_path / "mini")
    arguments = ("--eval", data, "--max-ndcg-loss", 100, "--samples", 32, "-q")
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out", *arguments)
    row = next(line for line in result.stdout.splitlines() if line.startswith("nDCG@10 on mini"))
    assert " -> " in row
    assert row.endswith("a loss of 100 points at most")


def test_a_missed_limit_is_code_3(run, tiny_reranker, pairs_file, tmp_path):
    common = ("quantize", tiny_reranker, "--calibrate", pairs_file, "--samples", 32, "--min-rank-correlation", 1)
    result = run(*common, "--out", tmp_path / "bad", "-q")
    assert result.exit_code == 3
    assert result.stdout.splitlines()[-1].startswith("FAILED: rank correlation 0.")
    assert "can't be opened: rank correlation" in result.stderr
    failed = run("rerank", "-m", tmp_path / "bad", "-Q", "panda", pairs_file, "--field", "document")
    assert failed.exit_code == 1
    assert "failed their quality gate" in failed.stderr
    forced = run(*common, "--out", tmp_path / "forced", "-q", "--force")
    assert forced.exit_code == 0
    assert forced.stdout.splitlines()[-1].startswith("forced, below the limits: rank correlation 0.")
    with Reranker(tmp_path / "forced", threads=1) as ranker:
        assert ranker.engine.precision == "int8"


def test_layers_that_are_kept_are_named(run, tiny_bert, texts_file, tmp_path):
    arguments = ("--max-noise", 0, "--min-cosine", 0.9, "--samples", 32, "-q")
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 0, result.output
    assert "0 of 12" in result.stdout
    assert "kept: encoder.layer.0.attention.self.query" in result.stdout
    assert "and 7 more" in result.stdout


def test_a_card_says_what_a_folder_does_not(run, texts_file, tmp_path):
    from support.checkpoints import BERT, write_plain

    folder = write_plain(tmp_path / "model", BERT)
    common = ("quantize", folder, "--calibrate", texts_file, "--samples", 32, "--min-cosine", 0.9, "-q")
    assert "how to pool" in run(*common, "--out", tmp_path / "a").stderr
    assert run(*common, "--out", tmp_path / "a", "--pooling", "mean").exit_code == 0
    assert run(*common, "--out", tmp_path / "b", "--card", "BAAI/bge-small-en-v1.5").exit_code == 0
    for name, pooling in (("a", "mean"), ("b", "cls")):
        shown = json.loads(run("models", "show", tmp_path / name, "--json").stdout)
        assert shown["pooling"] == pooling


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--samples", 3), "samples is 3; give a number of at least 32"),
        (("--min-cosine", 3), "mean_cosine is 3.0; allowed are -1 to 1"),
        (("--max-noise", -1), "max_noise is -1.0"),
        (("--eval", "nothing/here"), "nothing/here"),
    ],
)
def test_numbers_out_of_range(run, tiny_bert, texts_file, tmp_path, arguments, message):
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out", *arguments)
    assert result.exit_code == 1
    assert message in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_cpu_without_int8(run, tiny_bert, texts_file, tmp_path, monkeypatch):
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx2"}))
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "`lagotto doctor` says what a machine has" in result.stderr


def test_the_command_line_needs_texts_and_a_place(run, tiny_bert):
    result = run("quantize", tiny_bert)
    assert result.exit_code == 2
    assert "--calibrate" in result.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_that_cannot_be_written(run, tiny_bert, texts_file, tmp_path):
    tmp_path.chmod(0o500)
    result = run("quantize", tiny_bert, "--calibrate", texts_file, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "Permission denied" in result.stderr


WAITING = """
import sys, time
from pathlib import Path
import lagotto.quantization.quantize as module
entered, step = Path(sys.argv[1]), sys.argv[2]
def wait(*_, **__):
    entered.touch()
    time.sleep(600)
setattr(module, step, wait)
sys.argv[1:] = sys.argv[3:]
from lagotto.cli.main import main
main()
"""
"""Runs the command, and makes it wait where a step begins."""


@pytest.mark.parametrize("step", ["convert", "judge"])
def test_control_c_leaves_nothing_behind(step: str, tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    entered, home = tmp_path / "entered", tmp_path / "home"
    home.mkdir()
    command = ["quantize", tiny_bert, "--calibrate", texts_file, "--out", home / "new/int8", "--samples", "32"]
    listen: Callable[[], object] = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, *map(str, (entered, step, *command))],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stderr=subprocess.PIPE,
        preexec_fn=listen,
    )
    while not entered.exists():
        assert process.poll() is None
        time.sleep(0.01)
    (partial_folder,) = (home / "new").iterdir()
    assert partial_folder.name.startswith(".int8.")
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"interrupted" in complaints
    assert list(home.iterdir()) == []
