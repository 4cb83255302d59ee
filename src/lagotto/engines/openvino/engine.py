"""`OpenVinoEngine`: several infer requests of one compiled graph behind a queue."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.checkpoint import Checkpoint
from lagotto.cards.llm_rerankers import is_llm_reranker
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.hardware import INT8_INSTRUCTIONS, supports_int8
from lagotto.engines.base import PAIR_TOKENS, TOKEN_BUDGET, EngineInfo, Output, Precision, QueueStats
from lagotto.engines.merging import MergingQueue
from lagotto.engines.openvino.compiled import Compiled, Settings, compile_cached, supports_bf16
from lagotto.engines.openvino.graph import build
from lagotto.engines.openvino.packing import pack
from lagotto.engines.openvino.pair_scores import PairScores


class OpenVinoEngine:
    """Runs checkpoints whose graph Lagotto builds on the CPU: BERT, XLM-RoBERTa, and plain decoders."""

    def __init__(
        self, checkpoint: Checkpoint, precision: Precision, threads: int, cache: Path, fingerprint: str
    ) -> None:
        settings = Settings(precision, threads, streams=streams_for(threads))

        def open_graph(states: bool) -> Compiled:
            key = f"{fingerprint}-states" if states else fingerprint
            return compile_cached(lambda: build(checkpoint, states=states), settings, key, cache)

        self._graph = _Graph(open_graph, states=checkpoint.colbert is not None)
        self._config = checkpoint.config
        self._pairs = PairScores(checkpoint) if is_llm_reranker(checkpoint.card) else None
        width, budget = (1, PAIR_TOKENS) if self._pairs else (self._graph.width, TOKEN_BUDGET)
        self.info = EngineInfo("openvino", "cpu", precision, threads, settings.streams, width, budget)
        self._queue = MergingQueue(settings.streams, self._infer, name="lagotto-openvino", budget=budget)

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[NDArray[np.float32]]:
        """Queue a batch."""
        return self._queue.submit(batch, output)

    def stats(self) -> QueueStats:
        """What waits, and what was done."""
        return self._queue.stats()

    def close(self) -> None:
        """Finish what was started, then free the weights."""
        self._queue.close()
        self._graph.close()

    def _infer(self, batch: Batch, output: Output) -> NDArray[np.float32]:
        batch = batch.without_empty_rows()
        if self._pairs is not None:
            return self._pairs(batch, output, self._results)
        return self._results(pack(batch, self._config), output == "states")

    def _results(self, values: Mapping[str, NDArray[np.int32]], states: bool = False) -> NDArray[np.float32]:
        """What the graph gives for its inputs, of which it may want fewer."""
        with self._graph.request(states) as request:
            names = [port.get_any_name() for port in request.model_inputs]
            results = request.infer({name: values[name] for name in names}, share_inputs=True)
            return np.array(results[int(states)], np.float32)  # a copy: the request's own memory is used again


class _Graph:
    """The compiled graph in use, one infer request a thread.

    It begins with the graph that computes pooled vectors alone, unless ``states`` are all that will be asked for. When
    hidden states are first asked for, that one is replaced by the graph that gives both: the weights are in memory
    once, at the price of a pause.
    """

    def __init__(self, open_graph: Callable[[bool], Compiled], states: bool) -> None:
        self._open = open_graph
        self._compiled: Compiled | None = open_graph(states)
        self._states = states
        self._turn = threading.Condition()
        self._running = 0
        self._changing = False
        self._local = threading.local()
        self.width = int(self._compiled.model.output(0).get_partial_shape()[1].get_length())
        """Numbers a pooled row has."""

    @contextmanager
    def request(self, states: bool) -> Iterator[Any]:
        """This thread's infer request, of a graph that gives what is wanted."""
        with self._turn:
            self._turn.wait_for(lambda: not self._changing)
            if states and not self._states:
                self._add_states()
            self._running += 1
        try:
            request = getattr(self._local, "request", None)
            if request is None:
                assert self._compiled is not None  # closed only after the queue has ended
                request = self._local.request = self._compiled.model.create_infer_request()
            yield request
        finally:
            with self._turn:
                self._running -= 1
                self._turn.notify_all()

    def close(self) -> None:
        """Free the weights."""
        self._local = threading.local()
        self._compiled = None

    def _add_states(self) -> None:
        """Replace the graph, with the lock held; others wait until it is done."""
        self._changing = True
        try:
            self._turn.wait_for(lambda: self._running == 0)
            self.close()  # first the old weights go, so that they are never in memory twice
            try:
                self._compiled = self._open(True)
                self._states = True
            except BaseException:
                self._compiled = self._open(False)
                raise
        finally:
            self._changing = False
            self._turn.notify_all()


def streams_for(threads: int) -> int:
    """Batches computed side by side. With one thread each, no thread waits for another within a layer.

    With many threads a few share a batch, so that one long text is not left to a single thread.
    """
    together = 1 if threads <= 4 else 2 if threads <= 8 else 4
    return threads // together


def best_precision() -> Precision:
    """For ordinary weights on this CPU."""
    return "bf16" if supports_bf16() else "f32"


def choose_precision(asked: str, checkpoint: Checkpoint) -> Precision:
    """``auto`` is int8 for a folder of int8 weights; else bf16 where the CPU has it in hardware, else f32.

    Raises `InvalidInputError` where the folder's weights and the precision do not go together,
    `UnsupportedModelError` for int8 weights on a CPU whose int8 products overflow.
    """
    if checkpoint.quantized is None:
        if asked == "int8":
            raise InvalidInputError(
                f"precision is 'int8', and {checkpoint.name} holds ordinary weights; make a folder of int8 weights "
                "first: lagotto quantize MODEL --calibrate TEXTS --out DIR"
            )
        if asked == "auto":
            return best_precision()
        return "bf16" if asked == "bf16" else "f32"
    if asked not in ("auto", "int8"):
        raise InvalidInputError(
            f"precision is {asked!r}, and {checkpoint.name} holds int8 weights; use 'int8' (or 'auto'), or open the "
            "model it was made from"
        )
    if not supports_int8():
        raise UnsupportedModelError(
            f"{checkpoint.name} holds int8 weights, and this CPU has none of the instructions that multiply them "
            f"without overflow ({INT8_INSTRUCTIONS}); open the model it was made from"
        )
    return "int8"
