"""`Workers`: which of a model's worker processes are free; one that has died is started again.

A worker dies of what its batch did to it (too little memory, a fault of a driver), or because somebody killed it. It is
started again after half a second; one that dies soon again waits twice as long each time, up to a minute, so that a
machine on which it can't live is not kept busy with starting it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from lagotto.core.errors import EngineError
from lagotto.engines.torch.worker_process import Start, WorkerProcess

logger = logging.getLogger(__name__)

FIRST_PAUSE = 0.5
"""Seconds before a worker is started again for the first time."""
LONGEST_PAUSE = 60.0
"""Seconds between two starts of a worker that does not live."""
HEALTHY = 60.0
"""A worker that has lived for so many seconds is one that lives: its next pause is the first one again."""


class Workers:
    """The workers of one model, one a device. Thread-safe."""

    def __init__(self, starts: Sequence[Start], closing: Sequence[float]) -> None:
        """Start them all; ``closing`` is what `WorkerProcess.answer` takes."""
        self._starts = starts
        self._closing = closing
        self.all = [WorkerProcess(number, start) for number, start in enumerate(starts)]
        """By their numbers."""
        self.restarts = 0
        """Workers that were started again, all counted."""
        self._free = list(self.all)
        self._pauses = [FIRST_PAUSE] * len(starts)
        self._due: dict[int, float] = {}
        """When those that have died are started again, by number."""
        self._starting: dict[int, WorkerProcess] = {}
        self._restarting: list[threading.Thread] = []
        self._stop = threading.Event()
        self._change = threading.Condition()

    def width(self) -> int:
        """The numbers a row of output has, once all have started. Raises what kept one of them from it."""
        return max(int(worker.answer(self._closing)) for worker in self.all)

    def take(self) -> WorkerProcess:
        """A worker that is free and alive; waits for one. Raises `EngineError` at once while all are dead."""
        with self._change:
            while True:
                while self._free:
                    worker = self._free.pop(0)
                    if worker.alive:
                        return worker
                    self._lose(worker)
                if len(self._due) == len(self.all):
                    soon = max(1.0, min(self._due.values()) - time.monotonic())
                    raise EngineError(
                        "all worker processes of this model have died, and are started again", retry_after=soon
                    )
                self._change.wait()

    def give_back(self, worker: WorkerProcess) -> None:
        """It is free again, or gone."""
        with self._change:
            if worker.alive:
                self._free.append(worker)
            else:
                self._lose(worker)
            self._change.notify_all()

    def end(self) -> None:
        """End all of them, those that are just being started too."""
        self._stop.set()
        with self._change:
            starting, threads = list(self._starting.values()), list(self._restarting)
        for worker in starting:
            worker.kill()
        for thread in threads:
            thread.join()
        for worker in self.all:
            worker.end()

    def _lose(self, worker: WorkerProcess) -> None:
        """Let a dead worker be started again; with the lock held."""
        worker.end(grace=0)
        pause = self._pause(worker.number, time.monotonic() - worker.started)
        self._due[worker.number] = time.monotonic() + pause
        logger.error(
            "%s has died; %d of %d are left; it is started again in %g s",
            *(worker.name, len(self.all) - len(self._due), len(self.all), pause),
        )
        self._restarting = [thread for thread in self._restarting if thread.is_alive()]
        thread = threading.Thread(
            target=self._restart, args=(worker.number, pause), name="lagotto-restart", daemon=True
        )
        self._restarting.append(thread)
        thread.start()

    def _restart(self, number: int, pause: float) -> None:
        while not self._stop.wait(pause):
            begun = time.monotonic()
            try:
                worker = self._started(number)
            except Exception as error:  # whatever keeps it from starting, it is tried again
                if self._stop.is_set():
                    return
                with self._change:
                    pause = self._pause(number, time.monotonic() - begun)
                    self._due[number] = time.monotonic() + pause
                logger.error("worker %d could not be started again: %s; next try in %g s", number, error, pause)
                continue
            with self._change:
                self.all[number] = worker
                self._free.append(worker)
                del self._due[number]
                self.restarts += 1
                self._change.notify_all()
            logger.warning("%s was started again, process %d", worker.name, worker.pid)
            return

    def _started(self, number: int) -> WorkerProcess:
        worker = WorkerProcess(number, self._starts[number])
        with self._change:
            self._starting[number] = worker
        try:
            if self._stop.is_set():  # `end` may have looked before it was there
                worker.kill()
            worker.answer(self._closing)
        except BaseException:
            worker.end(grace=0)
            raise
        finally:
            with self._change:
                del self._starting[number]
        return worker

    def _pause(self, number: int, lived: float) -> float:
        if lived >= HEALTHY:
            self._pauses[number] = FIRST_PAUSE
        found = self._pauses[number]
        self._pauses[number] = min(LONGEST_PAUSE, 2 * found)
        return found
