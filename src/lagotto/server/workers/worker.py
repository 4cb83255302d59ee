"""One worker: ``python -m lagotto.server.workers.worker CONNECTION SOCKET TABLE``, started by the supervisor.

The arguments are file descriptors: of the connection to the supervisor, of the socket that listens, of the table of
quotas. A worker reads a `Start`, loads the models, and answers requests. It ends when the connection does.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from lagotto.core.errors import LagottoError
from lagotto.server.app import create_app
from lagotto.server.group import Group
from lagotto.server.key_settings import KeySettings
from lagotto.server.logs import set_up_logging
from lagotto.server.quotas import Bucket
from lagotto.server.run import Answering
from lagotto.server.settings import Settings
from lagotto.server.workers.ledger import Ledger
from lagotto.server.workers.peer import Peer, packed
from lagotto.server.workers.share import Start, share_of


class WorkerGroup(Group):
    """The group of a worker: a share of the settings, quotas in common, and the supervisor to ask for all."""

    def __init__(self, count: int, ledger: Ledger) -> None:
        self.supervisor: Peer | None = None
        """Whom to ask, once there is somebody."""
        self._count = count
        self._ledger = ledger

    def own(self, settings: Settings) -> Settings:
        """This worker's share."""
        return share_of(settings, self._count)

    def bucket(self, key: KeySettings, kind: str, per_minute: int) -> Bucket:
        """A bucket that all workers fill and empty."""
        return self._ledger.bucket(key, kind, per_minute)

    def metrics(self, own: Callable[[], bytes]) -> bytes:
        """The figures of all workers."""
        found: bytes = self._asked("metrics")
        return found

    def reload(self, own: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """New settings for all workers."""
        found: dict[str, Any] = self._asked("reload")
        return found

    def _asked(self, what: str) -> Any:
        assert self.supervisor is not None
        return self.supervisor.ask(what)


def main() -> None:
    """Answer until the supervisor says otherwise, or is gone."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # the supervisor hears it for all
    control, socket_descriptor, table = map(int, sys.argv[1:4])
    connection = Connection(control)
    try:
        start: Start = connection.recv()
    except EOFError:
        return
    set_up_logging(start.settings, start.number)
    with socket.socket(fileno=socket_descriptor) as listening:
        _work(start, WorkerGroup(start.count, Ledger(table)), connection, listening)


def _work(start: Start, group: WorkerGroup, connection: Connection, listening: socket.socket) -> None:
    handlers: dict[str, Callable[..., Any]] = {}
    answering: list[Answering] = []

    def gone() -> None:
        if not answering:
            os._exit(1)  # in the midst of loading there is nothing to finish
        answering[0].stop()

    group.supervisor = supervisor = Peer(connection, handlers, gone)
    try:
        app = create_app(start.settings, group=group)
        handlers |= {"apply": app.state.reloader.apply, "figures": app.state.metrics.families}
        app.state.pool.start()
    except LagottoError as error:
        supervisor.ask("failed", packed(error))
        sys.exit(1)
    own = group.own(start.settings)
    answering.append(Answering(app, own, listening, lambda: supervisor.begin("ready")))
    answering[0].run()


if __name__ == "__main__":
    main()
