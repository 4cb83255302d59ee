"""`ProcessEngine`: one process a device, all fed from one queue.

A worker is a new interpreter that runs `lagotto.engines.torch.worker`, never a copy of the caller's program: no
``__main__`` guard is needed, and it may be started from any thread, a web server's too. This module imports no torch.
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from multiprocessing.connection import Pipe
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.core.errors import EngineError, UnsupportedModelError
from lagotto.engines.base import EngineInfo, Output, Precision, QueueStats
from lagotto.engines.merging import MergingQueue

logger = logging.getLogger(__name__)

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


class ProcessEngine:
    """Runs a checkpoint on several devices; each takes the next batch when it is free."""

    def __init__(
        self, checkpoint: Checkpoint, devices: Sequence[str], precision: Precision, threads: int, token_budget: int
    ) -> None:
        if os.name == "nt":
            raise UnsupportedModelError(f"several devices ({', '.join(devices)}) need Linux or macOS; name one device")
        each = max(1, threads // len(devices))
        self._closing: list[float] = []  # when `close` was called first
        self._workers = _Workers(
            [_Worker(number, Start(checkpoint, device, precision, each)) for number, device in enumerate(devices)]
        )
        try:
            width = max(int(worker.answer(self._closing)) for worker in self._workers.all)
        except BaseException:
            self._workers.end()
            raise
        self.info = EngineInfo("torch", ",".join(devices), precision, threads, len(devices), width, token_budget)
        self._queue = MergingQueue(len(devices), self._compute, "lagotto-torch", budget=token_budget)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch."""
        return self._queue.submit(batch, output)

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        return self._queue.stats()

    def close(self) -> None:
        """Finish what was started, then end the processes; one that hangs is ended by force after `PATIENCE`."""
        self._closing.append(time.monotonic())
        self._queue.close()
        self._workers.end()

    def _compute(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        worker = self._workers.take()
        try:
            worker.send((batch, output))
            values: NDArray[np.float32] = worker.answer(self._closing)
            return values
        finally:
            self._workers.give_back(worker)


class _Worker:
    """One process and the connection to it."""

    def __init__(self, number: int, start: Start) -> None:
        self.name = f"worker {number} on {start.device}"
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

    def _died(self) -> EngineError:
        try:
            code: int | str = self._process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            code = "none yet"
        return EngineError(
            f"{self.name} (process {self.pid}) has died, exit code {code} (-9: killed, often for want of memory); its "
            "batch is lost. Standard error tells more; open the model again"
        )


class _Workers:
    """Which workers are free."""

    def __init__(self, workers: list[_Worker]) -> None:
        self.all = workers
        self._free = list(workers)
        self._gone = 0
        self._change = threading.Condition()

    def take(self) -> _Worker:
        """A worker that is free and alive; waits for one. Raises `EngineError` when all have died."""
        with self._change:
            while True:
                while self._free:
                    worker = self._free.pop(0)
                    if worker.alive:
                        return worker
                    self._lose(worker)
                if self._gone == len(self.all):
                    raise EngineError("all worker processes of this model have died; open it again")
                self._change.wait()

    def give_back(self, worker: _Worker) -> None:
        """It is free again, or gone."""
        with self._change:
            if worker.alive:
                self._free.append(worker)
            else:
                self._lose(worker)
            self._change.notify_all()

    def end(self) -> None:
        """End all of them."""
        for worker in self.all:
            worker.end()

    def _lose(self, worker: _Worker) -> None:
        self._gone += 1
        logger.error("%s has died; %d of %d are left", worker.name, len(self.all) - self._gone, len(self.all))
