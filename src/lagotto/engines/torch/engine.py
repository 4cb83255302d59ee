"""`TorchEngine`: one device in this process behind a queue; `open_engine` chooses between it and several processes."""

from __future__ import annotations

from concurrent.futures import Future

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.llm_rerankers import is_llm_reranker
from lagotto.engines.base import Engine, EngineInfo, Output, Precision, QueueStats, WeightFormat
from lagotto.engines.merging import MergingQueue
from lagotto.engines.torch.devices import token_budget
from lagotto.engines.torch.memory import WithinMemory
from lagotto.engines.torch.opening import open_compute
from lagotto.engines.torch.processes import ProcessEngine


class TorchEngine:
    """Runs a checkpoint on one device of this process, a batch at a time.

    On a CPU ``threads`` is set for torch as a whole, by `torch.set_num_threads`; on a GPU it has no part.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        device: str,
        precision: Precision,
        threads: int,
        *,
        weights: WeightFormat = "full",
        packing: bool | None = None,
        compile: bool = False,
    ) -> None:
        """``weights``, ``packing`` and ``compile`` are those of `Forward`."""
        self._threads = threads if device == "cpu" else None
        self._set_threads()
        forward = open_compute(checkpoint, device, precision, weights, packing=packing, compile=compile)
        self._compute: WithinMemory | None = WithinMemory(forward, device)
        budget = token_budget(device, is_llm_reranker(checkpoint.card))
        self.info = EngineInfo("torch", device, precision, threads, 1, forward.width, budget, weights)
        self._queue = MergingQueue(1, self._turn, "lagotto-torch", budget=budget)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch."""
        return self._queue.submit(batch, output)

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        return self._queue.stats()

    def close(self) -> None:
        """Finish what was started, then free the weights."""
        self._queue.close()
        self._compute = None
        if self.info.device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _turn(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        self._set_threads()
        assert self._compute is not None  # closed only after the queue has ended
        return self._compute(batch, output)

    def _set_threads(self) -> None:
        """OpenMP keeps the number for each thread that asks; another model may have asked for another one."""
        if self._threads is not None and torch.get_num_threads() != self._threads:
            torch.set_num_threads(self._threads)


def open_engine(
    checkpoint: Checkpoint,
    devices: tuple[str, ...],
    precision: Precision,
    threads: int,
    weights: WeightFormat = "full",
) -> Engine:
    """The engine for one device, or one process a device for several.

    Raises `UnsupportedModelError`, `CheckpointError`, and `EngineError` when a process can't be started.
    """
    if len(devices) == 1:
        return TorchEngine(checkpoint, devices[0], precision, threads, weights=weights)
    budget = token_budget(devices[0], is_llm_reranker(checkpoint.card))
    return ProcessEngine(checkpoint, devices, precision, threads, budget, weights)
