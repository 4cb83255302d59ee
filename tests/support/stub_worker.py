"""A worker process without torch: its answers tell what it was given. Run as `lagotto.engines.torch.worker` is."""

from __future__ import annotations

import threading
import time

import numpy as np

from lagotto.batch.sequences import Batch
from lagotto.engines.base import Output
from lagotto.engines.torch import worker
from lagotto.engines.torch.worker_process import Start
from support.engines import ManualEngine, Vectors

RAISE, RAISE_UNSENDABLE, HANG = 9001, 9002, 9003
"""First ids of batches that do something else."""


class Unsendable(Exception):
    """Holds what can't be pickled."""

    def __init__(self, message: str) -> None:
        super().__init__(message, threading.Lock())


def open_stub(start: Start) -> tuple[int, worker.Compute]:
    if start.threads == 7:
        raise ValueError("seven threads are too many")
    return 3, compute


def compute(batch: Batch, output: Output) -> Vectors:
    first = batch.ids[0, 0]
    if first == RAISE:
        raise KeyError("a batch's own error")
    if first == RAISE_UNSENDABLE:
        raise Unsendable("a lock")
    if first == HANG:
        time.sleep(3600)
    if output == "states":
        return np.ones((*batch.ids.shape, 4), np.float32)
    return ManualEngine.answer(batch)


if __name__ == "__main__":
    worker.main(open_stub)
