"""`OpenVinoEngine`: several infer requests of one compiled graph behind a queue."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.engines.base import EngineInfo, Precision
from lagotto.engines.merging import MergingQueue
from lagotto.engines.openvino.compiled import Compiled, Settings, compile_cached, supports_bf16
from lagotto.engines.openvino.graph import build


class OpenVinoEngine:
    """Runs BERT and XLM-RoBERTa checkpoints on the CPU."""

    def __init__(
        self, checkpoint: Checkpoint, precision: Precision, threads: int, cache: Path, fingerprint: str
    ) -> None:
        settings = Settings(precision, threads, streams=streams_for(threads))
        self._compiled: Compiled | None = compile_cached(lambda: build(checkpoint), settings, fingerprint, cache)
        model = self._compiled.model
        output = int(model.output(0).get_partial_shape()[1].get_length())
        self.info = EngineInfo("openvino", "cpu", precision, threads, settings.streams, output)
        self._names = [port.get_any_name() for port in model.inputs]
        self._local = threading.local()
        self._queue = MergingQueue(settings.streams, self._infer, name="lagotto-openvino")

    def submit(self, batch: Batch) -> Future[NDArray[np.float32]]:
        """Queue a batch."""
        return self._queue.submit(batch)

    def close(self) -> None:
        """Finish what was started, then free the weights."""
        self._queue.close()
        self._local = threading.local()
        self._compiled = None

    def _infer(self, batch: Batch) -> NDArray[np.float32]:
        request = getattr(self._local, "request", None)
        if request is None:
            assert self._compiled is not None  # freed only after the queue has ended
            request = self._local.request = self._compiled.model.create_infer_request()
        values = {"ids": batch.ids, "lengths": batch.lengths, "second": batch.second}
        results = request.infer({name: values[name] for name in self._names}, share_inputs=True)
        return np.array(results[0], np.float32)  # a copy: the request's own memory is used again


def streams_for(threads: int) -> int:
    """Batches computed side by side. With one thread each, no thread waits for another within a layer.

    With many threads a few share a batch, so that one long text is not left to a single thread.
    """
    together = 1 if threads <= 4 else 2 if threads <= 8 else 4
    return threads // together


def choose_precision(asked: str) -> Precision:
    """``auto`` is bf16 where the CPU has it in hardware, else f32."""
    if asked == "auto":
        return "bf16" if supports_bf16() else "f32"
    return "bf16" if asked == "bf16" else "f32"
