"""`Supervisor`: starts the workers of a server, starts those again that die, and ends them all."""

from __future__ import annotations

import logging
import queue
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from lagotto.core.errors import EngineError, LagottoError
from lagotto.server.settings import Settings
from lagotto.server.workers.crew import Crew
from lagotto.server.workers.ledger import new_table
from lagotto.server.workers.peer import unpacked
from lagotto.server.workers.process import WorkerProcess
from lagotto.server.workers.restarts import Restarts
from lagotto.server.workers.share import Start

logger = logging.getLogger("lagotto")

_GRACE = 5.0
"""Seconds that a worker may take to end beyond those its requests may take."""


class Supervisor:
    """Loads no model and answers nothing: workers accept from the socket that it holds, so none that waits is lost.

    Signals, and what becomes of workers, are events that the main thread does one after another.
    """

    def __init__(
        self, settings: Settings, read_settings: Callable[[], Settings] | None, listening: socket.socket
    ) -> None:
        self._count = settings.workers
        self._grace = settings.shutdown_seconds + _GRACE
        self._listening = listening
        self._table = new_table()
        self._crew = Crew(settings, read_settings)
        self._workers: dict[int, WorkerProcess] = {}
        self._restarts = Restarts()
        self._events: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._serving = False
        self._stops = 0
        self._failure: LagottoError | None = None

    def run(self, on_serving: Callable[[], None]) -> bool:
        """Serve until Ctrl-C or SIGTERM; whether all workers have ended by themselves and in time.

        ``on_serving`` is called when all of them answer for the first time. Raises what keeps one from starting then.
        """
        self._on_serving = on_serving
        with self._signals():
            try:
                self._launch(1)  # alone, so that what is converted and compiled first is there for the others
                while not self._stops and self._failure is None:
                    self._next()
            finally:
                clean = self._end()
        if self._failure is not None:
            raise self._failure
        return clean

    def _next(self) -> None:
        """Start again what is due, wait for what happens, and do it."""
        for number in self._restarts.due():
            self._launch(number)
        try:
            self._events.get(timeout=self._restarts.wait())()
        except queue.Empty:
            return

    def _launch(self, number: int) -> None:
        handlers: dict[str, Callable[..., Any]] = {
            "ready": lambda: self._events.put(lambda: self._ready(self._workers[number])),
            "failed": lambda why: self._events.put(lambda: self._failed(number, unpacked(why))),
            "metrics": self._crew.metrics,
            "reload": self._crew.reload,
        }
        start = Start(self._crew.settings, number, self._count)
        worker = WorkerProcess(start, (self._listening.fileno(), self._table.fileno()), handlers)
        self._workers[number] = worker
        worker.on_end(lambda: self._events.put(lambda: self._ended(worker)))

    def _ready(self, worker: WorkerProcess) -> None:
        worker.ready = True
        logger.info("worker %d of %d is ready (process %d)", worker.number, self._count, worker.pid)
        threading.Thread(target=self._crew.join, args=(worker,), daemon=True).start()
        if self._serving:
            return
        for number in range(2, self._count + 1):
            if number not in self._workers:
                self._launch(number)
        if all(other.ready for other in self._workers.values()):
            self._serving = True
            self._on_serving()

    def _failed(self, number: int, error: LagottoError) -> None:
        """A worker could not start: at first that is the end, later it is tried again when it has ended."""
        if self._serving:
            logger.error("worker %d could not start: %s", number, error)
        else:
            self._failure = error

    def _ended(self, worker: WorkerProcess) -> None:
        self._crew.leave(worker)
        if self._stops:
            return
        what = f"worker {worker.number} (process {worker.pid}) has ended with exit code {worker.code}"
        if not self._serving:
            self._failure = self._failure or EngineError(f"{what} before it answered; standard error tells more")
            return
        delay = self._restarts.plan(worker.number, time.monotonic() - worker.started)
        self._crew.restarts = self._restarts.total
        logger.error("%s (-9: killed, often for want of memory); started again in %g s", what, delay)

    def _end(self) -> bool:
        """Stop listening, let workers finish, and end by force what does not; whether none had to be."""
        self._stops += 1
        asked = self._stops
        self._listening.close()
        for worker in self._running():
            worker.stop()
        deadline = time.monotonic() + self._grace
        while running := self._running():
            left = deadline - time.monotonic()
            if left <= 0 or self._stops > asked:
                logger.error("%d workers have not ended and are killed", len(running))
                for worker in running:
                    worker.kill()
                deadline = time.monotonic() + _GRACE
                asked = self._stops
                continue
            try:
                self._events.get(timeout=left)()
            except queue.Empty:
                continue
        self._table.close()
        return all(worker.code in (0, -signal.SIGTERM) for worker in self._workers.values())

    def _running(self) -> list[WorkerProcess]:
        return [worker for worker in self._workers.values() if worker.code is None]

    def _stop(self) -> None:
        self._stops += 1

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGINT and SIGTERM stop, a second one stops at once; SIGHUP reads the settings anew."""
        doing = {signal.SIGINT: self._stop, signal.SIGTERM: self._stop, signal.SIGHUP: self._crew.reload_in_thread}
        before = {number: signal.signal(number, partial(self._heard, do)) for number, do in doing.items()}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _heard(self, do: Callable[[], None], *_: object) -> None:
        self._events.put(do)
