"""`Metrics`: what ``GET /metrics`` tells, in Prometheus' text format; every series is there from the first scrape."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

import lagotto
from lagotto.core import errors
from lagotto.core.memory import resident_bytes
from lagotto.server.cache import VectorCache
from lagotto.server.judge import Judge
from lagotto.server.pool import Entry, ModelPool
from lagotto.server.record import Record

_CLASSES = ("2xx", "3xx", "4xx", "5xx")
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
OTHER = "other"
"""The route of requests for paths that do not exist: clients must not be able to add series."""
_REASONS = ("http_404", "http_405", "http_408", "http_413", "http_415")


class Metrics:
    """The counters of one server. ``routes`` are (route, dialect) pairs, several for a route of several dialects."""

    def __init__(self, pool: ModelPool, cache: VectorCache | None, routes: Iterable[tuple[str, str]]) -> None:
        self._registry = registry = CollectorRegistry(auto_describe=True)
        self._requests = Counter(
            "lagotto_requests", "Requests answered.", ["route", "dialect", "status"], registry=registry
        )
        self._errors = Counter("lagotto_errors", "Requests answered with an error.", ["reason"], registry=registry)
        self._latency = Histogram(
            "lagotto_request_seconds",
            "From a request's headers to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            registry=registry,
        )
        stages = {
            "queue": "Waiting for a thread that computes.",
            "tokenise": "From there to the first batch.",
            "compute": "From the first batch to the end of the last one, waiting for the engine included.",
        }
        self._stages = {
            stage: Histogram(f"lagotto_{stage}_seconds", text, buckets=_SECONDS, registry=registry)
            for stage, text in stages.items()
        }
        self._texts = Counter("lagotto_texts", "Texts, pairs and windows read.", ["model"], registry=registry)
        self._tokens = Counter("lagotto_tokens", "Tokens read.", ["model"], registry=registry)
        self._running = Gauge("lagotto_requests_in_progress", "Requests that are being answered.", registry=registry)
        self._routes = {OTHER: ["none"]}
        for route, dialect in routes:
            self._routes.setdefault(route, []).append(dialect)
        self._models: set[str] = set()
        self._begin(pool)
        registry.register(_State(pool, cache))
        self._pool = pool

    def begin(self) -> None:
        """A request has come."""
        self._running.inc()

    def end(self, record: Record, route: str, spoken: str, status: int, seconds: float) -> None:
        """A request has been answered; ``spoken`` decides its dialect on a route that has several."""
        self._running.dec()
        route = route if route in self._routes else OTHER
        dialects = self._routes[route]
        dialect = spoken if spoken in dialects else dialects[0]
        self._requests.labels(route, dialect, f"{status // 100}xx").inc()
        self._latency.labels(route).observe(seconds)
        if record.reason is not None:
            self._errors.labels(record.reason).inc()
        for stage, duration in stage_seconds(record).items():
            self._stages[stage].observe(duration)
        if record.model is not None:
            self._texts.labels(record.model).inc(record.texts)
            self._tokens.labels(record.model).inc(record.tokens)

    def render(self) -> bytes:
        """Everything, as text."""
        self._begin_models(self._pool)
        return generate_latest(self._registry)

    def families(self) -> list[Metric]:
        """Everything, as it can be sent to another process and added up."""
        self._begin_models(self._pool)
        return list(self._registry.collect())

    def _begin(self, pool: ModelPool) -> None:
        """Let every series that can come be there, at 0."""
        for route, dialects in self._routes.items():
            self._latency.labels(route)
            for dialect, status in product(dialects, _CLASSES):
                self._requests.labels(route, dialect, status)
        kinds = [getattr(errors, name) for name in errors.__all__]
        for reason in (*_REASONS, *(kind.code for kind in kinds)):
            self._errors.labels(reason)
        self._begin_models(pool)

    def _begin_models(self, pool: ModelPool) -> None:
        for name in set(pool.entries) - self._models:
            self._texts.labels(name)
            self._tokens.labels(name)
            self._models.add(name)


def stage_seconds(record: Record) -> dict[str, float]:
    """How long a request was in each stage of computing; those it did not reach are left out."""
    marks = {
        "queue": (record.queued, record.computing),
        "tokenise": (record.computing, record.submitted),
        "compute": (record.submitted, record.computed),
    }
    return {
        stage: max(0.0, end - start) for stage, (start, end) in marks.items() if start is not None and end is not None
    }


class _State(Collector):
    """What is read off the server at each scrape."""

    def __init__(self, pool: ModelPool, cache: VectorCache | None) -> None:
        self._pool = pool
        self._cache = cache

    def collect(self) -> Iterator[Any]:
        """Families of gauges and counters."""
        build = GaugeMetricFamily("lagotto_build_info", "Versions.", labels=["version", "python"])
        build.add_metric([lagotto.__version__, platform.python_version()], 1)
        yield build
        yield GaugeMetricFamily("lagotto_workers", "Processes that answer.", 1)
        yield CounterMetricFamily("lagotto_worker_restarts", "Workers started again.", 0)
        yield GaugeMetricFamily("lagotto_resident_bytes", "Memory the process holds.", resident_bytes())
        yield from self._models()
        yield from self._caches()
        yield from _queues(self._pool.loaded())

    def _models(self) -> Iterator[Any]:
        slots = self._pool.slots
        loaded = GaugeMetricFamily("lagotto_model_loaded", "Whether a model is in memory.", labels=["model"])
        size = GaugeMetricFamily("lagotto_model_bytes", "Memory that loading a model took.", labels=["model"])
        for name, entry in list(self._pool.entries.items()):
            loaded.add_metric([name], entry.model is not None)
            if entry.adapter is None:  # what it takes is its base's
                size.add_metric([name], entry.slot.bytes if entry.model is not None else 0)
        yield loaded
        yield size
        yield GaugeMetricFamily("lagotto_models_loaded", "Models in memory.", len(self._pool.loaded()))
        yield CounterMetricFamily("lagotto_model_loads", "Models loaded.", slots.loads)
        yield CounterMetricFamily("lagotto_model_unloads", "Models unloaded.", slots.unloads)

    def _caches(self) -> Iterator[Any]:
        cache = self._cache
        yield CounterMetricFamily("lagotto_cache_hits", "Texts found in the cache.", cache.hits if cache else 0)
        yield CounterMetricFamily("lagotto_cache_misses", "Texts not found in it.", cache.misses if cache else 0)
        held = GaugeMetricFamily("lagotto_cache_bytes", "What the cache holds.", labels=["tier"])
        held.add_metric(["memory"], cache.memory.bytes if cache and cache.memory else 0)
        held.add_metric(["disk"], cache.disk.bytes if cache and cache.disk else 0)
        yield held


_COUNTERS = {
    "batches": "Batches computed.",
    "rows": "Rows of batches computed.",
    "tokens": "Tokens of batches computed, padding not counted.",
    "padded_tokens": "The same, padding counted.",
    "merged": "Batches with rows of several calls.",
    "shared": "Rows that were waiting or running already.",
    "expired": "Rows dropped at their deadline.",
    "cancelled": "Rows dropped because their call was taken back.",
    "failed": "Batches that failed.",
    "restarts": "Worker processes that died and were started again.",
}
_GAUGES = {
    "waiting": "Rows that wait for the engine.",
    "waiting_tokens": "Tokens that wait for the engine.",
    "oldest_wait": "Seconds that the oldest row has waited.",
    "tokens_per_second": "Speed of the last full batches.",
}
_JUDGED = {
    "calls": "Questions that the language model has answered.",
    "prompt_tokens": "Tokens of questions, as its endpoint counted them.",
    "completion_tokens": "Tokens of answers.",
    "unmetered": "Answers for which it told no tokens.",
    "retries": "Questions sent again since the endpoint failed or was busy.",
    "malformed": "Answers without the form that was asked for.",
    "unread": "Questions to which no answer could be read in the end.",
    "missing": "Documents that an order left out.",
    "duplicate": "Documents that an order named again.",
    "unknown": "Documents that an order named and that there are not.",
}
_ADMITTED = {"admitted": "Requests taken in.", "refused": "Requests refused since too much waited."}
_OPEN = {"open_requests": "Requests taken in and not answered.", "open_tokens": "Their tokens, estimated."}


def _queues(entries: list[Entry]) -> Iterator[Any]:
    """What models tell of their queues, and of what they let in."""
    models = {entry.public: model for entry in entries if (model := entry.model) is not None}
    stats = {name: model.stats() for name, model in models.items() if not isinstance(model, Judge)}
    reports = {name: model.usage for name, model in models.items() if isinstance(model, Judge)}
    admissions = {entry.public: entry.admission.stats() for entry in entries}
    yield from _families(CounterMetricFamily, "engine", _COUNTERS, stats)
    yield from _families(GaugeMetricFamily, "engine", _GAUGES, stats)
    yield from _families(CounterMetricFamily, "llm", _JUDGED, reports)
    yield from _families(CounterMetricFamily, "admission", _ADMITTED, admissions)
    yield from _families(GaugeMetricFamily, "admission", _OPEN, admissions)
    told = "Share of batches; the CPU engine computes it in attention alone."
    share = GaugeMetricFamily("lagotto_engine_padding_share", told, labels=["model"])
    for name, found in stats.items():
        share.add_metric([name], 1 - found.tokens / found.padded_tokens if found.padded_tokens else 0)
    yield share


def _families(kind: Any, of: str, fields: Mapping[str, str], stats: Mapping[str, Any]) -> Iterator[Any]:
    """A family for each field, with a value for each model."""
    for field, text in fields.items():
        family = kind(f"lagotto_{of}_{field}", text, labels=["model"])
        for name, found in stats.items():
            family.add_metric([name], getattr(found, field))
        yield family
