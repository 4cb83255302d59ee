"""The top of the command: help, version, and how errors leave it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import lagotto
from lagotto.cli import main
from lagotto.core.errors import CheckpointError

HEAVY = {"openvino", "fastapi", "tokenizers", "numpy", "uvicorn", "huggingface_hub", "pyarrow", "orjson"}


def test_help_names_every_verb(run):
    result = run("--help")
    assert result.exit_code == 0
    for verb in ("demo", "embed", "eval", "rerank", "serve", "models", "doctor"):
        assert f"\n  {verb} " in result.stdout


def test_help_imports_nothing_heavy():
    code = "import sys, lagotto.cli.main; print(*sorted(n for n in sys.modules if '.' not in n))"
    environment = {**os.environ, "PYTHONPATH": str(Path(lagotto.__file__).parents[1])}
    out = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert not HEAVY & set(out.stdout.split())


def test_version(run):
    assert run("--version").stdout == f"lagotto {lagotto.__version__}\n"


@pytest.mark.parametrize("args", [["--nonsense"], ["nonsense"], ["embed"], ["models", "list", "--task", "x"]])
def test_a_usage_error_leaves_with_2(run, args):
    result = run(*args)
    assert result.exit_code == 2
    assert "Error: " in result.stderr
    assert "Traceback" not in result.output


def test_an_expected_error_is_one_line(run, tmp_path):
    result = run("embed", "-m", "no/../such", tmp_path / "missing.txt", "-o", tmp_path / "o.npy")
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr == f"lagotto: error: {tmp_path / 'missing.txt'}: No such file or directory\n"


def test_several_lines_of_an_error_become_one(run, monkeypatch):
    def fail(name: str) -> None:
        raise CheckpointError("first\n  second")

    monkeypatch.setattr("lagotto.cli.models._facts", fail)
    assert run("models", "show", "x").stderr == "lagotto: error: first second\n"


def test_debug_shows_the_traceback(run, tmp_path):
    result = run("--debug", "models", "show", "nonsense")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1].startswith("lagotto: error: 'nonsense' is no listed model")


@pytest.mark.parametrize("debug", [False, True])
def test_a_bug_is_one_line_too(monkeypatch, capsys, debug):
    def fail() -> None:
        raise TypeError("oops\nmore")

    monkeypatch.setattr("lagotto.cli.models._known", fail)
    monkeypatch.setattr(sys, "argv", ["lagotto", *(["--debug"] if debug else []), "models", "list"])
    with pytest.raises(SystemExit) as left:
        main.main()
    err = capsys.readouterr().err
    assert left.value.code == 1
    assert "lagotto: error: TypeError: oops more" in err
    assert ("Traceback" in err) is debug


def test_a_reader_that_left_is_no_error(start):
    reading, writing = os.pipe()
    os.close(reading)
    process = start("models", "list", stdout=writing)
    os.close(writing)
    _, err = process.communicate(timeout=60)
    assert err == b""
    assert process.returncode == 1


def test_an_interrupt_leaves_with_130(start: Callable[..., subprocess.Popen[bytes]], tiny_bert, tmp_path):
    process = start("embed", "-m", tiny_bert, "-o", tmp_path / "o.npy", stdin=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while not (tmp_path / "o.npy.partial/manifest.jsonl").exists():  # from then on it waits for standard input
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.decode().splitlines()[-1] == "lagotto: interrupted"
    assert b"Traceback" not in err
    assert not (tmp_path / "o.npy").exists()
    assert not (tmp_path / "o.npy.partial").exists()
