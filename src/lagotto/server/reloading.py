"""`Reloader`: new settings for a server that runs, without a request lost."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI

from lagotto.server.keys import KeyRing
from lagotto.server.settings import Settings
from lagotto.server.tiktoken_file import open_encoding

logger = logging.getLogger(__name__)

AT_START = frozenset(
    [
        "host",
        "port",
        "log_level",
        "log_format",
        "cors_origins",
        "max_body_bytes",
        "max_header_bytes",
        "max_connections",
        "header_timeout_seconds",
        "keep_alive_seconds",
        "embedding_cache",
        "cache_memory_mb",
        "cache_path",
        "cache_disk_mb",
        "shutdown_seconds",
        "web_page",
        "workers",
    ]
)
"""Settings that are read when the server starts, and only then."""


class Reloader:
    """Reads the settings again and lets the app have them."""

    def __init__(self, app: FastAPI, read: Callable[[], Settings]) -> None:
        self._app = app
        self._read = read
        self._lock = threading.Lock()

    def reload(self) -> dict[str, Any]:
        """Read the settings again; see `apply`."""
        return self.apply(self._read())

    def apply(self, settings: Settings) -> dict[str, Any]:
        """What changed: models by name, how many keys there are, and which settings wait for the next start.

        Blocks while models are loaded; call it in a thread. Raises `ConfigError`, and whatever loading raises: then
        the old settings stay in force.
        """
        with self._lock:
            state = self._app.state
            before: Settings = state.settings
            if settings.token_ids == "tiktoken":
                open_encoding()
            keys = KeyRing(settings, state.keys, group=state.group)
            changes = state.pool.change(state.group.own(settings))
            state.settings, state.keys = settings, keys
            waiting = sorted(name for name in AT_START if getattr(settings, name) != getattr(before, name))
        found = {"models": asdict(changes), "keys": len(keys.keys), "restart_needed_for": waiting}
        logger.info("settings reloaded: %s", found)
        return found

    def reload_in_thread(self) -> None:
        """The same for a signal: not here and not now, and what is wrong is logged."""

        def work() -> None:
            try:
                self.reload()
            except Exception as error:  # a bad file must not end a server that runs
                logger.error("the settings were not reloaded, the old ones stay in force: %s", error)

        threading.Thread(target=work, name="lagotto-reload", daemon=True).start()
