"""`MeteredEngine`: an engine that tells each request's record what was computed for it."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.engines.base import Engine, EngineInfo, Output, QueueStats
from lagotto.server.record import current_record


class MeteredEngine:
    """Everything a model computes goes through its engine, so this is the one place that counts."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def info(self) -> EngineInfo:
        """What it runs on and with."""
        return self._engine.info

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch, and count its rows and tokens for the request that this thread works for."""
        future = self._engine.submit(batch, output)
        record = current_record()
        if record is not None:
            record.texts += len(batch.lengths)
            record.tokens += int(batch.lengths.sum())
            if record.submitted is None:
                record.submitted = time.monotonic()

            def done(_: Future[Any]) -> None:
                record.computed = time.monotonic()

            future.add_done_callback(done)
        return future

    def stats(self) -> QueueStats:
        """What waits in front of the engine, and what it has done."""
        return self._engine.stats()

    def close(self) -> None:
        """Finish what was started, then free the weights."""
        self._engine.close()
