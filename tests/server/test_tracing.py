"""OpenTelemetry: spans of requests where they were asked for, and nothing at all where they were not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import MissingDependencyError
from lagotto.server import app as app_module
from lagotto.server import tracing as module
from lagotto.server.tracing import NoTracing, open_tracing

TRACE = "0af7651916cd43dd8448eb211c80319c"
PARENT = "b7ad6b7169203331"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The spans that apps of this test end, in that order."""
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

    found: list[Any] = []

    class Keeping(SpanExporter):
        def export(self, spans: Any) -> SpanExportResult:
            found.extend(spans)
            return SpanExportResult.SUCCESS

    tracing = module.OpenTelemetry.__new__(module.OpenTelemetry)
    tracing.provider = TracerProvider()
    tracing.provider.add_span_processor(SimpleSpanProcessor(Keeping()))
    monkeypatch.setattr(app_module, "open_tracing", lambda: tracing)
    return found


def test_a_request_is_a_span_with_its_stages_below_the_client_s(
    open_client: Any, tiny_bert: Path, spans: list[Any]
) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "x-request-id": "r1"}
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        client.post("/v1/embeddings", json={"model": "bert", "input": ["quetzalcoatl", "b"]}, headers=headers)
    assert [span.name for span in spans] == ["queue", "tokenise", "compute", "POST /v1/embeddings"]
    request = spans[-1]
    assert f"{request.context.trace_id:032x}" == TRACE
    assert f"{request.parent.span_id:016x}" == PARENT
    attributes = dict(request.attributes)
    assert attributes["http.response.status_code"] == 200
    assert (attributes["lagotto.model"], attributes["lagotto.texts"]) == ("bert", 2)
    assert attributes["lagotto.request_id"] == "r1"
    assert "quetzalcoatl" not in str(attributes)
    for stage in spans[:3]:
        assert stage.parent.span_id == request.context.span_id
        assert request.start_time <= stage.start_time <= stage.end_time <= request.end_time + 10**7
    assert spans[0].end_time <= spans[2].start_time + 1


def test_a_failed_request_is_a_span_too(open_client: Any, tiny_bert: Path, spans: list[Any]) -> None:
    with open_client(models=[f"bert={tiny_bert}"]) as client:
        client.get("/nowhere", headers={"traceparent": "nonsense"})
    (span,) = spans
    assert span.name == "GET other"
    assert span.attributes["http.response.status_code"] == 404


def test_nothing_is_traced_unless_the_environment_says_where_to(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    assert isinstance(open_tracing(), NoTracing)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert isinstance(open_tracing(), NoTracing)


def test_a_missing_package_is_told_where_spans_are_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1")
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"lagotto\[otel\]"):
        open_tracing()


def test_with_an_endpoint_spans_are_sent_there(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    tracing = open_tracing()
    assert isinstance(tracing, module.OpenTelemetry)
    assert tracing.provider.resource.attributes["service.name"] == "lagotto"
    tracing.close()


def test_a_server_that_does_not_trace_loads_no_package(client: Any) -> None:
    loaded = {name for name in sys.modules if name.startswith("opentelemetry.exporter")}
    assert client.get("/health").status_code == 200
    assert {name for name in sys.modules if name.startswith("opentelemetry.exporter")} == loaded
