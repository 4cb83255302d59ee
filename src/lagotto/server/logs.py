"""Logging: lines of text or of JSON, one for each request, never with a text or a key in it."""

from __future__ import annotations

import json
import logging
import re
from datetime import UTC, datetime
from typing import Any

from lagotto.server.record import Record
from lagotto.server.settings import Settings

access = logging.getLogger("lagotto.access")

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LONGEST_PATH = 200


def set_up_logging(settings: Settings, worker: int | None = None) -> None:
    """Log to standard error, in the format and from the level that the settings say.

    ``worker`` is the number of this process where several answer; its lines have it.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JsonFormatter(worker) if settings.log_format == "json" else TextFormatter(worker))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])


def log_request(record: Record, status: int, seconds: float) -> None:
    """The one line a request gets."""
    if not access.isEnabledFor(logging.INFO):
        return
    fields: dict[str, Any] = {
        "id": record.id,
        "method": record.method,
        "path": record.path[:_LONGEST_PATH],
        "status": status,
        "ms": round(seconds * 1000, 1),
        "model": record.model,
        "texts": record.texts or None,
        "tokens": record.tokens or None,
        "cached": record.cached or None,
        "calls": record.calls or None,
        "flaws": record.flaws or None,
        "key": None if record.key is None else record.key.name,
        "error": record.reason,
    }
    fields = {name: value for name, value in fields.items() if value is not None}
    first = " ".join(str(fields[name]) for name in ("method", "path", "status"))
    rest = " ".join(f"{name}={value}" for name, value in fields.items() if name not in ("method", "path", "status"))
    access.info("%s %s", first, rest, extra={"request": fields})


class TextFormatter(logging.Formatter):
    """A line for people: time, level, logger, message."""

    def __init__(self, worker: int | None = None) -> None:
        by = "" if worker is None else f" [{worker}]"
        super().__init__(f"%(asctime)s %(levelname)s{by} %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        """The line, in which nobody's input can begin another one."""
        record.message = escaped(record.message)
        return super().formatMessage(record)


class JsonFormatter(logging.Formatter):
    """An object a line: ``time`` (UTC), ``level``, ``logger``, ``message``, and ``request`` for a request's line.

    Where several processes answer, ``worker`` is the number of this one.
    """

    def __init__(self, worker: int | None = None) -> None:
        super().__init__()
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            **self._worker,
        }
        request = getattr(record, "request", None)
        fields |= {"message": record.getMessage()} if request is None else {"message": "request", "request": request}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)  # ASCII alone: every control character is escaped


def escaped(text: str) -> str:
    """Control characters and line separators as Python writes them: ``\\n``, ``\\x1b``, ``\\u2028``.

    >>> print(escaped("GET /a\\nERROR fake"))
    GET /a\\nERROR fake
    """
    return _CONTROLS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
