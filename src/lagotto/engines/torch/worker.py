"""One device's process: ``python -m lagotto.engines.torch.worker DESCRIPTOR``, started by `worker_process`.

It reads a `Start`, then batches, from the connection with that file descriptor, and answers each with ``("ok", value)``
or ``("error", exception)``. It ends when the connection does, so no worker outlives the process that started it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.core.errors import EngineError
from lagotto.engines.base import Output
from lagotto.engines.torch.worker_process import Start

Compute = Callable[[Batch, Output], NDArray[np.float32]]
Open = Callable[[Start], tuple[int, Compute]]
"""Gives the numbers a row of output has, and what computes batches."""


def open_model(start: Start) -> tuple[int, Compute]:
    """The checkpoint on its device."""
    import torch

    from lagotto.engines.torch.memory import WithinMemory
    from lagotto.engines.torch.opening import open_compute

    if start.device == "cpu":
        torch.set_num_threads(start.threads)
    forward = open_compute(start.checkpoint, start.device, start.precision, start.weights)
    return forward.width, WithinMemory(forward, start.device)


def main(open_with: Open = open_model) -> None:
    """Answer until the connection is closed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to the whole group; the parent decides
    with Connection(int(sys.argv[1])) as connection:
        try:
            _serve(connection, open_with)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return  # the parent has closed it, or is gone


def _serve(connection: Connection, open_with: Open) -> None:
    kind, opened = _attempt(open_with, connection.recv())
    if kind == "error":
        _send(connection, kind, opened)
        return
    width, compute = opened
    _send(connection, kind, width)
    while True:
        _send(connection, *_attempt(compute, *connection.recv()))


def _attempt(work: Callable[..., Any], *given: Any) -> tuple[str, Any]:
    try:
        return "ok", work(*given)
    except Exception as error:  # whatever it is, the caller in the other process must hear of it
        return "error", error


def _send(connection: Connection, kind: str, value: Any) -> None:
    try:
        connection.send((kind, value))
    except (TypeError, AttributeError, ValueError) as failed:  # an exception that can't be pickled
        connection.send(("error", EngineError(f"{type(value).__name__}: {value} (not sent whole: {failed})")))


if __name__ == "__main__":
    main()
