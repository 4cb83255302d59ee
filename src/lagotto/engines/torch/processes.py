"""`ProcessEngine`: one process a device, all fed from one queue. This module imports no torch."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.core.errors import UnsupportedModelError
from lagotto.engines.base import EngineInfo, Output, Precision, QueueStats, WeightFormat
from lagotto.engines.merging import MergingQueue
from lagotto.engines.torch.worker_process import Start
from lagotto.engines.torch.workers import Workers


class ProcessEngine:
    """Runs a checkpoint on several devices; each takes the next batch when it is free.

    A process that dies costs the batch it had, which ends with `EngineError`, and is started again; see `Workers`.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        devices: Sequence[str],
        precision: Precision,
        threads: int,
        token_budget: int,
        weights: WeightFormat = "full",
    ) -> None:
        if os.name == "nt":
            raise UnsupportedModelError(f"several devices ({', '.join(devices)}) need Linux or macOS; name one device")
        each = max(1, threads // len(devices))
        self._closing: list[float] = []  # when `close` was called first
        starts = [Start(checkpoint, device, precision, each, weights) for device in devices]
        self._workers = Workers(starts, self._closing)
        try:
            width = self._workers.width()
        except BaseException:
            self._workers.end()
            raise
        named, parallel = ",".join(devices), len(devices)
        self.info = EngineInfo("torch", named, precision, threads, parallel, width, token_budget, weights)
        self._queue = MergingQueue(len(devices), self._compute, "lagotto-torch", budget=token_budget)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch."""
        return self._queue.submit(batch, output)

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        return replace(self._queue.stats(), restarts=self._workers.restarts)

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
