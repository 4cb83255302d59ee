"""Figures of several processes as those of one."""

from __future__ import annotations

import pickle
from collections.abc import Iterable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from lagotto.server.workers.merged import counted, merged, text_of


def process(requests: float, waiting: float, seconds: float, route: str = "/a") -> list[Metric]:
    registry = CollectorRegistry()
    Counter("lagotto_requests", "Requests.", ["route"], registry=registry).labels(route).inc(requests)
    Gauge("lagotto_engine_waiting", "Rows.", registry=registry).set(waiting)
    Gauge("lagotto_engine_oldest_wait", "Seconds.", registry=registry).set(waiting)
    Histogram("lagotto_seconds", "Time.", buckets=(1, 2), registry=registry).observe(seconds)
    return pickle.loads(pickle.dumps(list(registry.collect())))  # as they come from another process


def values(families: Iterable[Metric]) -> dict[str, float]:
    parsed = text_string_to_metric_families(text_of(list(families)).decode())
    samples = [sample for family in parsed for sample in family.samples if not sample.name.endswith("_created")]
    return {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}


def test_counters_and_histograms_are_added_up() -> None:
    found = values(merged([process(2, 0, 0.5), process(3, 0, 1.5), process(7, 0, 0.5, "/b")]))
    assert found["lagotto_requests_total/a"] == 5
    assert found["lagotto_requests_total/b"] == 7
    assert found["lagotto_seconds_bucket1.0"] == 2
    assert found["lagotto_seconds_bucket2.0"] == found["lagotto_seconds_count"] == 3
    assert found["lagotto_seconds_sum"] == 2.5


def test_gauges_are_added_up_where_that_means_something() -> None:
    found = values(merged([process(0, 2, 0), process(0, 3, 0)]))
    assert found["lagotto_engine_waiting"] == 5
    assert found["lagotto_engine_oldest_wait"] == 3


def test_when_counting_began_is_the_earliest() -> None:
    parts = [process(1, 0, 0), process(1, 0, 0)]
    begun = [[s.value for f in part for s in f.samples if s.name == "lagotto_requests_created"] for part in parts]
    (whole,) = [s.value for f in merged(parts) for s in f.samples if s.name == "lagotto_requests_created"]
    assert whole == min(value for (value,) in begun)


def test_of_a_process_that_has_ended_its_counters_stay() -> None:
    found = values(merged([counted(process(2, 5, 0.5)), process(3, 1, 0.5)]))
    assert found["lagotto_requests_total/a"] == 5
    assert found["lagotto_seconds_count"] == 2
    assert found["lagotto_engine_waiting"] == 1


def test_parts_are_not_changed() -> None:
    part = process(2, 5, 0.5)
    before = values(part)
    merged([part, part])
    assert values(part) == before


def disk(held: float) -> list[Metric]:
    family = GaugeMetricFamily("lagotto_cache_bytes", "Held.", labels=["tier"])
    family.add_metric(["memory"], held)
    family.add_metric(["disk"], held)
    return [family]


def test_the_file_of_all_is_counted_once() -> None:
    found = values(merged([disk(3), disk(4)]))
    assert (found["lagotto_cache_bytesmemory"], found["lagotto_cache_bytesdisk"]) == (7, 4)


def test_a_servers_own_figures_twice(client: TestClient) -> None:
    metrics: Any = client.app.state.metrics  # type: ignore[attr-defined]
    client.post("/v1/embeddings", json={"model": "bert", "input": ["a dog", "a panda that eats bamboo " * 3]})
    families = metrics.families()
    alone, twice = values(families), values(merged([families, families]))
    assert set(alone) == set(twice)
    for name in ("lagotto_texts_totalbert", "lagotto_engine_tokens_totalbert", "lagotto_workers"):
        assert twice[name] == 2 * alone[name] > 0
    for name in ("lagotto_engine_padding_sharebert", "lagotto_model_loadedbert", "lagotto_models_loaded"):
        assert twice[name] == pytest.approx(alone[name])
    assert [name for name, value in twice.items() if name.startswith("lagotto_build_info") and value != 1] == []
