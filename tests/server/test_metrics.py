"""``GET /metrics``: every series from the first scrape, and true numbers after that."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

import lagotto
from lagotto.core import errors
from lagotto.engines.base import QueueStats
from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker
from lagotto.server.dialects.schemas.shared import BareRerankBody, ClassifyBody, EmbeddingsBody, RerankBody
from lagotto.server.dialects.shared import SPOKEN
from lagotto.server.metrics import _JUDGED

Sample = tuple[str, frozenset[tuple[str, str]]]


def scrape(client: TestClient) -> dict[Sample, float]:
    reply = client.get("/metrics")
    assert reply.status_code == 200
    assert reply.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(reply.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def value(samples: dict[Sample, float], name: str, **labels: str) -> float:
    return samples[name, frozenset(labels.items())]


@pytest.fixture
def fresh(open_client: Any, tiny_bert: Path, tiny_reranker: Path) -> Any:
    models = [f"bert={tiny_bert}", f"ranker={tiny_reranker}"]
    with open_client(models=models) as client:
        yield client


def embed(client: TestClient, given: Any, model: str = "bert") -> Any:
    return client.post("/v1/embeddings", json={"model": model, "input": given})


def test_no_series_comes_later(fresh: TestClient) -> None:
    first = {sample for sample in scrape(fresh) if not sample[0].endswith("_created")}
    embed(fresh, ["a", "b"])
    embed(fresh, "")
    embed(fresh, "a", model="none")
    fresh.post("/v1/rerank", json={"query": "a", "documents": ["b"]})
    fresh.get("/nowhere/at/all")
    fresh.get("/v1/models/bert")
    fresh.put("/health")
    fresh.post("/v1/embeddings", content=b"x", headers={"content-encoding": "gzip"})
    later = {sample for sample in scrape(fresh) if not sample[0].endswith("_created")}
    assert later == first


def test_at_first_everything_is_nought(fresh: TestClient) -> None:
    samples = scrape(fresh)
    for (name, labels), found in samples.items():
        if name.endswith(("_total", "_count")) and "loads" not in name and ("route", "/metrics") not in labels:
            assert found == 0, (name, labels)
    assert value(samples, "lagotto_requests_total", route="/v1/embeddings", dialect="openai", status="2xx") == 0
    for kind in (getattr(errors, name) for name in errors.__all__):
        assert value(samples, "lagotto_errors_total", reason=kind.code) == 0


def test_requests_are_counted_by_route_dialect_and_status(fresh: TestClient) -> None:
    embed(fresh, "a")
    embed(fresh, "a")
    embed(fresh, "")
    fresh.get("/no/such/path")
    fresh.get("/v1/models/bert")
    samples = scrape(fresh)
    count = "lagotto_requests_total"
    assert value(samples, count, route="/v1/embeddings", dialect="openai", status="2xx") == 2
    assert value(samples, count, route="/v1/embeddings", dialect="openai", status="4xx") == 1
    assert value(samples, count, route="other", dialect="none", status="4xx") == 1
    assert value(samples, count, route="/v1/models/{name}", dialect="openai", status="2xx") == 1
    assert value(samples, "lagotto_request_seconds_count", route="/v1/embeddings") == 3
    assert value(samples, "lagotto_requests_in_progress") == 1, "the scrape itself"


def test_on_shared_paths_the_body_tells_the_dialect(fresh: TestClient) -> None:
    fresh.post("/v1/embeddings", json={"model": "bert", "input": "a", "input_type": "query"})
    fresh.post("/v1/embeddings", json={"model": "bert", "input": "a", "task": "none of its"})
    fresh.post("/rerank", json={"query": "a", "texts": ["b"]})
    fresh.post("/v1/rerank", json={"query": "a", "documents": ["b"]})
    samples = scrape(fresh)
    count = "lagotto_requests_total"
    assert value(samples, count, route="/v1/embeddings", dialect="voyage", status="2xx") == 1
    assert value(samples, count, route="/v1/embeddings", dialect="jina", status="4xx") == 1
    assert value(samples, count, route="/rerank", dialect="tei", status="2xx") == 1
    assert value(samples, count, route="/v1/rerank", dialect="any", status="2xx") == 1


def test_the_dialects_of_shared_paths_are_those_of_their_bodies() -> None:
    bodies = {
        "/v1/embeddings": EmbeddingsBody,
        "/v1/rerank": RerankBody,
        "/rerank": BareRerankBody,
        "/classify": ClassifyBody,
    }
    for path, body in bodies.items():
        kinds = [get_args(kind)[0] for kind in get_args(get_args(body)[0])]
        assert SPOKEN[path] == tuple(kind.dialect for kind in kinds)
    assert set(SPOKEN) == set(bodies)


def test_errors_are_counted_by_reason(open_client: Any, tiny_bert: Path) -> None:
    with open_client(models=[f"bert={tiny_bert}"], truncation="error", max_body_bytes=2000) as client:
        embed(client, "")
        embed(client, "a", model="none")
        embed(client, "dog " * 200)
        embed(client, "dog " * 2000)
        client.get("/nowhere")
        client.put("/health")
        samples = scrape(client)
    expected = {"invalid_input": 1, "model_not_found": 1, "context_length_exceeded": 1, "http_413": 1}
    expected |= {"http_404": 1, "http_405": 1}
    for reason, count in expected.items():
        assert value(samples, "lagotto_errors_total", reason=reason) == count, reason


def test_what_was_read_is_counted_by_model_and_what_was_cached_by_itself(fresh: TestClient) -> None:
    tokens = embed(fresh, ["a dog", "a cat"]).json()["usage"]["prompt_tokens"]
    tokens += embed(fresh, ["a dog"]).json()["usage"]["prompt_tokens"]
    fresh.post("/v1/rerank", json={"query": "a", "documents": ["b", "c", "d"]})
    samples = scrape(fresh)
    assert value(samples, "lagotto_texts_total", model="bert") == 3
    assert value(samples, "lagotto_tokens_total", model="bert") == tokens
    assert value(samples, "lagotto_texts_total", model="ranker") == 3
    assert (value(samples, "lagotto_cache_hits_total"), value(samples, "lagotto_cache_misses_total")) == (1, 2)
    assert value(samples, "lagotto_cache_bytes", tier="memory") > 100
    assert value(samples, "lagotto_cache_bytes", tier="disk") == 0


def test_stages_are_timed_where_there_were_any(fresh: TestClient) -> None:
    embed(fresh, "a dog")
    embed(fresh, "a dog")  # from the cache: nothing is tokenised and computed
    fresh.get("/health")
    samples = scrape(fresh)
    counts = {stage: value(samples, f"lagotto_{stage}_seconds_count") for stage in ("queue", "tokenise", "compute")}
    assert counts == {"queue": 2, "tokenise": 1, "compute": 1}
    assert value(samples, "lagotto_compute_seconds_sum") > 0


def test_state_is_read_at_each_scrape(fresh: TestClient) -> None:
    samples = scrape(fresh)
    assert value(samples, "lagotto_models_loaded") == 2
    assert value(samples, "lagotto_model_loaded", model="bert") == 1
    assert value(samples, "lagotto_model_loads_total") == 2
    assert value(samples, "lagotto_resident_bytes") > 10 << 20
    ((_, labels),) = [sample for sample in samples if sample[0] == "lagotto_build_info"]
    assert dict(labels)["version"] == lagotto.__version__


def test_a_model_that_is_not_loaded_is_told_too(open_client: Any, tiny_bert: Path) -> None:
    with open_client(model=[{"name": str(tiny_bert), "alias": ["a", "b"], "eager": False}]) as client:
        assert value(scrape(client), "lagotto_model_loaded", model="b") == 0
        embed(client, "a", model="b")
        samples = scrape(client)
        assert value(samples, "lagotto_model_loaded", model="a") == 1
        assert value(samples, "lagotto_models_loaded") == 1
        assert value(samples, "lagotto_texts_total", model="b") == 1


def test_clients_add_no_series(fresh: TestClient) -> None:
    for n in range(20):
        fresh.get(f"/path/{n}")
        fresh.get(f"/v1/models/{n}")
        embed(fresh, "a", model=f"model-{n}")
    text = fresh.get("/metrics").text
    assert not re.search(r"path/1|model-1|models/1", text)


def test_what_queues_tell_is_told(fresh: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    stats = QueueStats(
        waiting=2,
        waiting_tokens=20,
        oldest_wait=0.5,
        batches=3,
        rows=7,
        tokens=60,
        padded_tokens=80,
        merged=1,
        shared=4,
        expired=5,
        cancelled=6,
        failed=8,
        tokens_per_second=9.5,
        restarts=3,
    )
    for kind in (Embedder, Reranker):
        monkeypatch.setattr(kind, "stats", lambda model: stats)
    samples = scrape(fresh)
    counters = {"batches", "rows", "tokens", "padded_tokens", "merged", "shared", "expired", "cancelled", "failed"}
    counters.add("restarts")
    for field, told in asdict(stats).items():
        name = f"lagotto_engine_{field}{'_total' if field in counters else ''}"
        assert value(samples, name, model="bert") == value(samples, name, model="ranker") == told
    assert value(samples, "lagotto_engine_padding_share", model="bert") == 0.25


def test_what_was_computed_and_let_in_is_told(fresh: TestClient) -> None:
    embed(fresh, "never seen before", model="bert")
    samples = scrape(fresh)
    assert value(samples, "lagotto_engine_rows_total", model="bert") >= 1
    assert value(samples, "lagotto_admission_admitted_total", model="bert") >= 1
    for name in ("admission_refused_total", "admission_open_requests", "admission_open_tokens"):
        assert value(samples, f"lagotto_{name}", model="bert") == 0


def test_every_metric_is_in_the_docs(fresh: TestClient) -> None:
    page = Path(__file__).parents[2] / "docs/server.md"
    if not page.is_file():
        pytest.skip("no docs here")
    told = set(re.findall(r"`(lagotto_\w+)`", page.read_text(encoding="utf-8")))
    there = {re.sub(r"_(bucket|count|sum|created)$", "", name) for name, _ in scrape(fresh)}
    there |= {"lagotto_engine_" + name for name in ("waiting", "waiting_tokens", "padding_share")}
    there |= {f"lagotto_engine_{name}_total" for name in ("batches", "rows", "tokens", "padded_tokens")}
    there |= {f"lagotto_llm_{name}_total" for name in _JUDGED}  # of models that are elsewhere
    there = {name for name in there if f"{name}_total" not in there}
    assert told == there
