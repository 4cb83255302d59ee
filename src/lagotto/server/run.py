"""Run the server: bind the port, load the models, answer, drain."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from lagotto.core.errors import ConfigError
from lagotto.server.app import create_app
from lagotto.server.keys import KeyRing
from lagotto.server.logs import set_up_logging
from lagotto.server.protocol import limited
from lagotto.server.settings import Settings

logger = logging.getLogger("lagotto")

_OTHER_FILES = 128
"""Descriptors beside those of connections: model files, the cache, logs, worker processes, what libraries open."""
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def serve(settings: Settings, read_settings: Callable[[], Settings] | None = None) -> None:
    """Serve until Ctrl-C or SIGTERM, then let requests in flight finish. SIGHUP reads the settings anew.

    ``read_settings`` is what reads them; see `create_app`. With several `workers` each is a process of its own. Raises
    `ConfigError` for a port that can't be bound, and whatever loading a model raises, before anything is answered.
    """
    set_up_logging(settings)
    _allow_connections(settings.max_connections)
    if settings.workers > 1 and os.name == "nt":
        raise ConfigError(f"workers is {settings.workers}: several processes need Linux or macOS; set it to 1")
    with _bind(settings.host, settings.port) as listening:
        host, port = listening.getsockname()[:2]
        shown = f"[{host}]" if ":" in host else host
        _warn_if_open(settings, KeyRing(settings))

        def serving() -> None:
            pages = "a page to try it at /, docs at /docs" if settings.web_page else "docs at /docs"
            logger.info("serving on http://%s:%s (%s)", shown, port, pages)

        if settings.workers > 1:
            from lagotto.server.workers.supervisor import Supervisor  # what it needs is not there on Windows

            clean = Supervisor(settings, read_settings, listening).run(serving)
            if not clean:
                raise SystemExit(1)
            return
        app = create_app(settings, read_settings)
        with _on(signal.SIGTERM, _leave):
            app.state.pool.start()  # here rather than in the app's life, so that a failure is one clear error
        serving()
        with _on(getattr(signal, "SIGHUP", None), app.state.reloader.reload_in_thread):
            Answering(app, settings, listening).run()


class Answering:
    """An app whose models are loaded, answering at a socket that is bound. Belongs to the main thread."""

    def __init__(
        self, app: FastAPI, settings: Settings, listening: socket.socket, on_started: Callable[[], object] | None = None
    ) -> None:
        """``on_started`` is called when requests are answered."""
        config = uvicorn.Config(
            app,
            host=settings.host,
            port=settings.port,
            log_level=settings.log_level,
            log_config=None,
            access_log=False,  # ours tells more
            server_header=False,
            http=limited(settings.max_header_bytes, settings.header_timeout_seconds, settings.max_connections),
            ws="none",
            timeout_keep_alive=settings.keep_alive_seconds,
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        self._pool = app.state.pool
        self._listening = listening
        self._server = _Server(config, on_started or (lambda: None))

    def run(self) -> None:
        """Answer until Ctrl-C, SIGTERM or `stop`; ends the process where work has outlasted its grace period."""
        # How long threads that come back from computing wait for the event loop; 5 ms, the default, leave cores idle.
        sys.setswitchinterval(0.0005)
        with _clean_exit():
            self._server.run(sockets=[self._listening])
        if self._pool.left_behind or self._pool.busy:
            # Its threads would hold the process until they end, and a container's patience is shorter.
            logging.shutdown()
            os._exit(1)

    def stop(self) -> None:
        """Let requests in flight finish, then return from `run`. May be called from any thread."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn's, which tells when it has started."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], object]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept connections."""
        await super().startup(sockets)
        self._on_started()


@contextmanager
def _clean_exit() -> Iterator[None]:
    """uvicorn raises the signal that stopped it once more, after draining; the process should then just end."""
    with _on(signal.SIGTERM, lambda: None), suppress(KeyboardInterrupt):
        yield


@contextmanager
def _on(number: int | None, do: Callable[[], None]) -> Iterator[None]:
    """Do something on a signal, where there is such a signal and this thread may hear it."""
    heard = number is not None and threading.current_thread() is threading.main_thread()
    before = signal.signal(number, lambda *_: do()) if number is not None and heard else None
    try:
        yield
    finally:
        if number is not None and heard:
            signal.signal(number, before)


def _leave() -> None:
    """End at once: nobody is served yet, and the thread that loads a model can't be broken off.

    The kernel's own way, death by the signal, does not exist for the first process of a container.
    """
    logger.info("stopped while models were being loaded")
    logging.shutdown()
    os._exit(0)


def _allow_connections(number: int) -> None:
    """Let this process open so many sockets, and its files; warn where the system does not allow it."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number + _OTHER_FILES
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        logger.warning(
            "max_connections is %d, and the system allows %d open files (ulimit -n), %d are needed: raise the limit, "
            "or lower max_connections",
            *(number, allowed, wanted),
        )


def _warn_if_open(settings: Settings, keys: KeyRing) -> None:
    """Say so when anybody on the network may ask."""
    if not keys and settings.host not in _LOOPBACK:
        logger.warning(
            "listening on %s without API keys: whoever reaches this port may use it. Set LAGOTTO_API_KEY, or "
            "make keys with: lagotto keys create NAME",
            settings.host,
        )


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(
            f"can't listen on {host}:{port}: {error.strerror or error}. "
            "Stop what uses the port, or choose another with --port (API_PORT)"
        ) from None
    return listening
