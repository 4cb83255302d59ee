"""`Crew`: the workers that answer requests, asked as one: their figures added up, new settings for all or none."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import wait
from typing import Any

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily

from lagotto.core.errors import ClosedError, EngineError, LagottoError
from lagotto.server.settings import Settings
from lagotto.server.workers.merged import counted, merged, text_of
from lagotto.server.workers.process import WorkerProcess

logger = logging.getLogger("lagotto")

_PATIENCE = 5.0
"""Seconds a worker may take to tell its figures; one that takes longer is told of as it was."""


class Crew:
    """Thread-safe."""

    def __init__(self, settings: Settings, read_settings: Callable[[], Settings] | None = None) -> None:
        """``read_settings`` reads them anew; without it they stay, and only a folder of models is looked through."""
        self.settings = settings
        """Those in force."""
        self.restarts = 0
        """Workers that were started again."""
        self._read_settings = read_settings or (lambda: self.settings)
        self._workers: list[WorkerProcess] = []
        self._past: list[Metric] = []  # what workers counted that have ended
        self._reloading = threading.Lock()
        self._counting = threading.Lock()

    def join(self, worker: WorkerProcess) -> None:
        """It answers requests; let it have the settings if they have changed since it was started. May take long."""
        with self._counting:
            self._workers.append(worker)
        with self._reloading:
            if worker.settings is self.settings:
                return
            try:
                self._tell(worker, self.settings)
            except LagottoError as error:
                logger.error("worker %d goes on with older settings: %s", worker.number, error)

    def leave(self, worker: WorkerProcess) -> None:
        """It has ended; what it counted up to the last time it was asked goes on counting."""
        with self._counting:
            if worker in self._workers:
                self._workers.remove(worker)
                self._past = merged([self._past, counted(worker.figures)])

    def metrics(self) -> bytes:
        """The figures of all workers as text."""
        with self._counting:
            asked = {worker.peer.begin("figures"): worker for worker in self._workers}
            done, _ = wait(asked, timeout=_PATIENCE)
            for future in done:
                if future.exception() is None:
                    asked[future].figures = future.result()
            restarts = CounterMetricFamily("lagotto_worker_restarts", "Workers started again.", self.restarts)
            return text_of(merged([self._past, *(worker.figures for worker in self._workers), [restarts]]))

    def reload(self) -> dict[str, Any]:
        """Read the settings anew and let all workers have them; what changed, as one of them tells it.

        Raises `ConfigError` and whatever loading a model raises: then all have the old ones again.
        """
        with self._reloading:
            settings, before = self._read_settings(), self.settings
            found: dict[str, Any] | None = None
            for worker in list(self._workers):
                try:
                    told = self._tell(worker, settings)
                except LagottoError:
                    self._take_back(before)
                    raise
                found = found or told
            if found is None:
                raise EngineError("no worker is running at this moment; try again")
            self.settings = settings
        return found

    def reload_in_thread(self) -> None:
        """The same for a signal: not here and not now, and what is wrong is logged."""

        def work() -> None:
            try:
                self.reload()
            except Exception as error:  # a bad file must not end a server that runs
                logger.error("the settings were not reloaded, the old ones stay in force: %s", error)

        threading.Thread(target=work, name="lagotto-reload", daemon=True).start()

    def _tell(self, worker: WorkerProcess, settings: Settings) -> dict[str, Any] | None:
        """Let a worker have settings; what changed, or None where it has just ended."""
        try:
            found: dict[str, Any] = worker.peer.ask("apply", settings)
        except ClosedError:
            return None
        worker.settings = settings
        return found

    def _take_back(self, before: Settings) -> None:
        for worker in [worker for worker in self._workers if worker.settings is not before]:
            try:
                self._tell(worker, before)
            except LagottoError as error:
                logger.error("worker %d could not have its old settings again: %s", worker.number, error)
