"""`WorkerProcess`: one worker as the supervisor sees it: a process, and a connection to ask it things."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from multiprocessing.connection import Pipe

from prometheus_client import Metric

from lagotto.core.hardware import available_cpus
from lagotto.server.workers.peer import Handlers, Peer
from lagotto.server.workers.share import Start, threads_of

WORKER = "lagotto.server.workers.worker"
"""The module a worker runs."""


class WorkerProcess:
    """A new interpreter, never a copy of the caller's program, in a process group of its own.

    So Ctrl-C in a terminal reaches the supervisor alone, which lets its workers finish. A worker that loses its
    connection ends by itself.
    """

    def __init__(self, start: Start, descriptors: tuple[int, int], handlers: Handlers) -> None:
        """``descriptors`` are those of the socket that listens and of the table of quotas."""
        self.number = start.number
        self.settings = start.settings
        """What it was told last."""
        self.ready = False
        """Whether it answers requests."""
        self.figures: list[Metric] = []
        """What it told last for ``/metrics``."""
        self.started = time.monotonic()
        connection, theirs = Pipe()
        passed = [theirs.fileno(), *descriptors]
        # -P and the path: the worker finds the packages that the caller has found, and no others.
        path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
        threads = threads_of(start.settings.threads or available_cpus(), start.count)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, *map(str, passed)],
                pass_fds=passed,
                env={"RAYON_NUM_THREADS": str(threads), **os.environ, "PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                process_group=0,
            )
        connection.send(start)
        self.peer = Peer(connection, handlers)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def code(self) -> int | None:
        """Its exit code; None while it runs."""
        return self._process.returncode

    def on_end(self, do: Callable[[], None]) -> None:
        """Do something when it has ended, in a thread of its own."""

        def wait() -> None:
            self._process.wait()
            do()

        threading.Thread(target=wait, name=f"lagotto-worker-{self.number}", daemon=True).start()

    def stop(self) -> None:
        """Let it finish what it has begun, and end."""
        self._process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
