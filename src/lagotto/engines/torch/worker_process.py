"""`WorkerProcess`: one device's process and the connection to it.

A worker is a new interpreter that runs `lagotto.engines.torch.worker`, never a copy of the caller's program: no
``__main__`` guard is needed, and it may be started from any thread, a web server's too. This module imports no torch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import Any

from lagotto.cards.checkpoint import Checkpoint
from lagotto.core.errors import EngineError
from lagotto.engines.base import Precision, WeightFormat

WORKER = "lagotto.engines.torch.worker"
"""The module a worker runs."""
PATIENCE = 60.0
"""Seconds a worker may take for one batch once the engine is being closed, before it is ended by force."""
_GRACE = 5.0  # seconds to end by itself when its connection is closed
_LOOK = 0.5  # seconds between two looks whether a worker that computes is still there


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is told first."""

    checkpoint: Checkpoint
    device: str
    precision: Precision
    threads: int
    weights: WeightFormat = "full"


class WorkerProcess:
    """One process and the connection to it."""

    def __init__(self, number: int, start: Start) -> None:
        self.number = number
        self.name = f"worker {number} on {start.device}"
        self.started = time.monotonic()
        self._connection, theirs = Pipe()
        # -P: no folder of the caller's goes before the installed packages. The path is the caller's own, so that the
        # worker finds the same ones.
        command = [sys.executable, "-P", "-m", WORKER, str(theirs.fileno())]
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        with theirs:
            self._process = subprocess.Popen(
                command,
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # the caller's own output stays its own; messages go to standard error
            )
        self.send(start)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process.poll() is None

    def send(self, value: object) -> None:
        """Hand it something. Raises `EngineError` when it is gone."""
        try:
            self._connection.send(value)
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None

    def answer(self, closing: Sequence[float]) -> Any:
        """What it answers. Raises its error, or `EngineError` when it dies or is ended by force."""
        asked = time.monotonic()
        try:
            while not self._connection.poll(_LOOK):
                if not self.alive:
                    raise self._died()
                if closing and time.monotonic() - max(asked, closing[0]) > PATIENCE:
                    self.end(grace=0)
                    raise EngineError(f"{self.name} did not answer for {PATIENCE:g} s while closing, and was ended")
            kind, value = self._connection.recv()
        except (EOFError, ConnectionResetError):
            raise self._died() from None
        if kind == "error":
            raise value
        return value

    def end(self, grace: float = _GRACE) -> None:
        """Close the connection, upon which it ends; else end it by force."""
        self._connection.close()
        for force in (None, self._process.terminate, self._process.kill):
            if force is not None:
                force()
            try:
                self._process.wait(grace)
                return
            except subprocess.TimeoutExpired:
                continue

    def kill(self) -> None:
        """End it at once. Whoever waits for its answer is told that it has died."""
        self._process.kill()

    def _died(self) -> EngineError:
        try:
            code: int | str = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            code = "none yet"
        return EngineError(
            f"{self.name} (process {self.pid}) has died, exit code {code} (-9: killed, often for want of memory); its "
            "batch is lost. Standard error tells more"
        )
