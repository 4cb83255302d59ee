"""Run the command: in this process, or as a real one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import lagotto
from lagotto.cli.main import app

Run = Callable[..., Result]
SOURCES = Path(lagotto.__file__).parents[1]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run("models", "list")`` in this process, on a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def invoke(*args: object, input: str | bytes | None = None) -> Result:
        return CliRunner().invoke(app, [str(arg) for arg in args], input=input)

    return invoke


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[bytes]]:
    """``start("models", "list")`` as a process of its own; keywords go to `subprocess.Popen`."""

    def begin(*args: object, **options: object) -> subprocess.Popen[bytes]:
        environment = {**os.environ, "PYTHONPATH": str(SOURCES)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | options
        command = [sys.executable, "-m", "lagotto.cli.main", *map(str, args)]
        # A shell starts background jobs with Ctrl-C ignored, and children inherit that.
        listen = partial(signal.signal, signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(command, env=environment, preexec_fn=listen, **pipes)  # type: ignore[call-overload, no-any-return]

    return begin
