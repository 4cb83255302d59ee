"""What engine tests share: opening an engine on a folder, and batches for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from threading import Event, current_thread

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto.batch.planner import plan
from lagotto.batch.sequences import Batch, Sequences, pad
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.checkpoint import Checkpoint, open_checkpoint
from lagotto.cards.schema import Task
from lagotto.cards.sources import Source
from lagotto.engines.base import Engine, EngineInfo, Output, Precision

Opener = Callable[[Checkpoint, Precision, int, Path], Engine]
Vectors = NDArray[np.float32]


def open_openvino(checkpoint: Checkpoint, precision: Precision, threads: int, cache: Path) -> Engine:
    """The OpenVINO engine on a checkpoint."""
    from lagotto.engines.openvino.engine import OpenVinoEngine

    return OpenVinoEngine(checkpoint, precision, threads, cache, checkpoint.fingerprint(precision, cache))


def open_torch(checkpoint: Checkpoint, precision: Precision, threads: int, cache: Path) -> Engine:
    """The torch engine on a checkpoint, on the CPU. Skips without torch."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from lagotto.engines.torch.engine import TorchEngine

    return TorchEngine(checkpoint, "cpu", precision, threads)


ENGINES: dict[str, Opener] = {"openvino": open_openvino, "torch": open_torch}
"""Every engine; a new one is one line here and runs the whole contract suite."""


def checkpoint_of(folder: Path, task: Task = "embed") -> Checkpoint:
    """A checkpoint folder understood."""
    return open_checkpoint(Source(str(folder), folder, row=None), task)


def tokenizer_of(checkpoint: Checkpoint) -> Tokenizer:
    """Its tokenizer."""
    config = checkpoint.config
    return Tokenizer(checkpoint.folder / "tokenizer.json", config.pad_token_id, vocab_size=config.vocab_size)


def encode(folder: Path, texts: Sequence[str]) -> Sequences:
    """Texts as a folder's model reads them."""
    checkpoint = checkpoint_of(folder)
    return tokenizer_of(checkpoint).encode(texts, checkpoint.max_length)


def batches(sequences: Sequences, pad_id: int, budget: int = 256) -> list[tuple[list[int], Batch]]:
    """Planned batches with the rows they hold."""
    return [(rows, pad(sequences, rows, pad_id)) for rows in plan(sequences.lengths(), budget)]


def compute(engine: Engine, sequences: Sequences, pad_id: int, budget: int = 256) -> Vectors:
    """Outputs of all sequences, in their order."""
    out = np.zeros((len(sequences), engine.info.output), np.float32)
    started = [(rows, engine.submit(batch)) for rows, batch in batches(sequences, pad_id, budget)]
    for rows, future in started:
        out[rows] = future.result()
    return out


@contextmanager
def held(engine: Engine, batch: Batch) -> Iterator[None]:
    """Keep one of the engine's workers busy: the callback of a finished batch waits inside it."""
    gate, entered, home = Event(), Event(), current_thread()

    def wait(_: Future[Vectors]) -> None:
        if current_thread() is home:
            missed.append(True)  # the batch was done before the callback was added: try again
            return
        entered.set()
        gate.wait()

    try:
        while not entered.is_set():
            missed: list[bool] = []
            engine.submit(batch).add_done_callback(wait)
            if not missed:
                entered.wait()
        yield
    finally:
        gate.set()


class Demanded(Future[Vectors]):
    """A future that is computed when its result is asked for, if nobody did it before."""

    def __init__(self, batch: Batch) -> None:
        super().__init__()
        self.batch = batch

    def finish(self) -> None:
        """Compute it, unless it was cancelled or is done."""
        if not self.done() and self.set_running_or_notify_cancel():
            self.set_result(ManualEngine.answer(self.batch))

    def result(self, timeout: float | None = None) -> Vectors:
        self.finish()
        return super().result(timeout)


class ManualEngine:
    """An engine without threads: a batch is computed when the test says so, or else when its result is asked for.

    The output of a sequence is its own token count and first two ids, so that misplaced rows are seen.
    """

    def __init__(self) -> None:
        self.info = EngineInfo("manual", "cpu", "f32", threads=1, parallel=8, output=3)
        self.started: list[Demanded] = []

    def submit(self, batch: Batch, output: Output = "pooled") -> Future[Vectors]:
        self.started.append(Demanded(batch))
        return self.started[-1]

    def waiting(self) -> list[Demanded]:
        """Batches that are neither done nor cancelled."""
        return [future for future in self.started if not future.done()]

    @staticmethod
    def answer(batch: Batch) -> Vectors:
        """(rows, 3): length, first id, second id."""
        return np.stack([batch.lengths, batch.ids[:, 0], batch.ids[:, 1]], axis=1).astype(np.float32)

    def close(self) -> None:
        """Nothing to free."""
