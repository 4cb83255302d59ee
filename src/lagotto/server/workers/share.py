"""`Start`: what a worker is told first; and its share of what the settings grant to all workers together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from lagotto.core.hardware import available_cpus
from lagotto.llm.endpoint import CONCURRENCY
from lagotto.server.model_settings import ModelSettings
from lagotto.server.settings import Settings


@dataclass(frozen=True, slots=True)
class Start:
    """What a worker is told first."""

    settings: Settings
    """The operator's, which are those of all workers together."""
    number: int
    """Which worker it is, from 1."""
    count: int
    """How many there are."""


def share_of(settings: Settings, count: int) -> Settings:
    """What one of ``count`` workers may have: an equal part of threads, memory, connections and what may wait, and of
    the requests that language models elsewhere get at once.

    Parts of threads are rounded up, and equal: a graph is compiled for a number of threads, and workers share its
    weights in memory only where they read the same file. All other parts are rounded down, to 1 at least.
    """
    part: dict[str, Any] = {"threads": threads_of(settings.threads or available_cpus(), count)}
    for name in ("memory_budget_mb", "cache_memory_mb", "max_connections", "max_queue_tokens"):
        whole: int | None = getattr(settings, name)
        if whole:
            part[name] = max(1, whole // count)
    part["model"] = [_share_of_model(table, count) for table in settings.model]
    return settings.model_copy(update=part)


def _share_of_model(table: ModelSettings, count: int) -> ModelSettings:
    if table.threads is not None:
        return table.model_copy(update={"threads": threads_of(table.threads, count)})
    if table.llm is not None:
        whole = {"concurrency": table.llm.concurrency or CONCURRENCY, "max_requests": table.llm.max_requests}
        own = {name: max(1, value // count) for name, value in whole.items()}
        return table.model_copy(update={"llm": table.llm.model_copy(update=own)})
    return table


def threads_of(threads: int, count: int) -> int:
    """Threads of one of ``count`` workers."""
    return math.ceil(threads / count)
