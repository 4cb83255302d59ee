"""OpenTelemetry spans of requests, where its packages are installed and the environment names where to send them."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from typing import Protocol

import lagotto
from lagotto.core.errors import MissingDependencyError
from lagotto.server.record import Record

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")


class Tracing(Protocol):
    """What becomes of a request's times."""

    def trace(self, record: Record, route: str, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Tell of a request that has been answered."""
        ...

    def close(self) -> None:
        """Send what was not sent yet."""
        ...


class NoTracing:
    """Tells nobody."""

    def trace(self, record: Record, route: str, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing to do."""


def open_tracing() -> Tracing:
    """Tracing if the environment names an OTLP endpoint (``OTEL_EXPORTER_OTLP_ENDPOINT``), else none.

    Raises `MissingDependencyError` where it does and the packages are not there.
    """
    if os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or not any(map(os.environ.get, _ENDPOINTS)):
        return NoTracing()
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
        raise MissingDependencyError(
            'OTEL_EXPORTER_OTLP_ENDPOINT is set, and tracing needs its packages: pip install "lagotto[otel]"'
        )
    return OpenTelemetry()


class OpenTelemetry:
    """A span for each request, below the client's where it sent ``traceparent``; below it its stages."""

    def __init__(self) -> None:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        named = {"service.name": os.environ.get("OTEL_SERVICE_NAME") or "lagotto"}
        self.provider = TracerProvider(resource=Resource.create({**named, "service.version": lagotto.__version__}))
        self.provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))

    def trace(self, record: Record, route: str, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """The spans are made when all is over, from the times that were noted."""
        from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        shift = time.time_ns() - time.monotonic_ns()  # from the clock of the record to that of spans

        def at(seconds: float) -> int:
            return int(seconds * 1e9) + shift

        carrier = {name.decode("latin-1"): value.decode("latin-1") for name, value in headers}
        tracer = self.provider.get_tracer("lagotto")
        span = tracer.start_span(
            f"{record.method} {route}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.SERVER,
            start_time=at(record.started),
            attributes={
                "http.request.method": record.method,
                "http.route": route,
                "http.response.status_code": status,
                "lagotto.request_id": record.id,
                "lagotto.texts": record.texts,
                "lagotto.tokens": record.tokens,
                "lagotto.cached": record.cached,
                **({"lagotto.model": record.model} if record.model else {}),
            },
        )
        if status >= 500:
            span.set_status(Status(StatusCode.ERROR, record.reason))
        below = set_span_in_context(span)
        marks = (record.queued, record.computing, record.submitted, record.computed)
        for name, start, end in zip(("queue", "tokenise", "compute"), marks, marks[1:], strict=False):
            if start is not None and end is not None:
                tracer.start_span(name, context=below, start_time=at(start)).end(at(end))
        span.end()

    def close(self) -> None:
        """Send what was not sent yet."""
        self.provider.shutdown()
