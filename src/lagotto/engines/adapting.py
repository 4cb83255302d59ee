"""`AdaptedEngine`: an engine as callers see it who want one of its live adapters for all they ask."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.engines.base import Adapted, Engine, EngineInfo, Output, QueueStats, plain


class AdaptedEngine:
    """Asks another engine for what it is asked, with an adapter. They share queue and weights."""

    def __init__(self, engine: Engine, adapter: str) -> None:
        self._engine, self._adapter = engine, adapter

    @property
    def info(self) -> EngineInfo:
        """What it runs on and with."""
        return self._engine.info

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch, beside those of the base and of other adapters."""
        return self._engine.submit(batch, Adapted(plain(output), self._adapter))

    def stats(self) -> QueueStats:
        """What waits for the engine, and what was done, with whichever adapter."""
        return self._engine.stats()

    def close(self) -> None:
        """Close the engine itself."""
        self._engine.close()
