"""Rerankers that are language models, served: the same options in every dialect, one score a document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Reranker, ScoreOptions

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.llm_rerankers import CARDS, open_ranker, write_layerwise  # noqa: E402

QUERY = "what is a giant panda"
DOCUMENTS = ["the giant panda is a bear", "paris is the capital of france", "dog"]
FIELDS: dict[str, Any] = {"cutoff_layers": 3, "compress_layers": [1], "compress_ratio": 2, "prompt": "same_question"}
OPTIONS = ScoreOptions(**FIELDS)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_layerwise(tmp_path_factory.mktemp("models") / "light", "cost_wise_gemma")


@pytest.fixture(scope="module")
def served(environment: None, folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    from lagotto.server.app import create_app
    from lagotto.server.settings import load_settings

    file = tmp_path_factory.mktemp("settings") / "settings.toml"
    file.write_text(f'[[model]]\nname = "{folder}"\nalias = "light"\ncard = "{CARDS["cost_wise_gemma"]}"\n')
    settings = load_settings(file, precision="f32", threads=1)
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture(scope="module")
def light(folder: Path) -> Iterator[Reranker]:
    with open_ranker(folder, "cost_wise_gemma") as ranker:
        yield ranker


LISTS: dict[str, tuple[dict[str, Any], Callable[[Any], list[tuple[int, float]]]]] = {
    **dict.fromkeys(
        ("/v1/rerank", "/jina/v1/rerank", "/v2/rerank", "/cohere/v1/rerank", "/vllm/rerank", "/infinity/rerank"),
        ({"documents": DOCUMENTS}, lambda body: [(r["index"], r["relevance_score"]) for r in body["results"]]),
    ),
    "/voyage/v1/rerank": (
        {"documents": DOCUMENTS},
        lambda body: [(r["index"], r["relevance_score"]) for r in body["data"]],
    ),
    "/tei/rerank": ({"texts": DOCUMENTS}, lambda body: [(r["index"], r["score"]) for r in body]),
}


@pytest.mark.parametrize("path", LISTS)
def test_options_count_in_every_dialect(served: TestClient, light: Reranker, path: str) -> None:
    given, read = LISTS[path]
    model = {} if path == "/tei/rerank" else {"model": "light"}
    reply = served.post(path, json={**model, "query": QUERY, **given, **FIELDS})
    assert reply.status_code == 200, reply.text
    expected = light.rank(QUERY, DOCUMENTS, options=OPTIONS)
    assert [index for index, _ in read(reply.json())] == [place.index for place in expected]
    np.testing.assert_allclose([s for _, s in read(reply.json())], [place.score for place in expected], atol=1e-5)
    plain = served.post(path, json={**model, "query": QUERY, **given}).json()
    scores = {place.index: place.score for place in light.rank(QUERY, DOCUMENTS)}
    np.testing.assert_allclose([s for _, s in read(plain)], [scores[i] for i, _ in read(plain)], atol=1e-5)


def test_pairs_are_scored_with_options_too(served: TestClient, light: Reranker) -> None:
    expected = light.score([(QUERY, document) for document in DOCUMENTS], options=OPTIONS, normalize=True).scores
    body = {"model": "light", "queries": QUERY, "documents": DOCUMENTS, **FIELDS}
    found = [row["score"] for row in served.post("/score", json=body).json()["data"]]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    body = {"inputs": [[QUERY, document] for document in DOCUMENTS], **FIELDS}
    found = [rows[0]["score"] for rows in served.post("/predict", json=body).json()]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"cutoff_layers": [2, 3]}, "one score a document"),
        ({"cutoff_layers": []}, "one score a document"),
        ({"cutoff_layers": 9}, "allows layers 1 to 4"),
        ({"compress_ratio": 5}, "allows 1, 2, 4, 8"),
    ],
)
def test_what_is_not_allowed_is_a_client_error(served: TestClient, fields: dict[str, Any], said: str) -> None:
    reply = served.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, **fields})
    assert reply.status_code == 400, reply.text
    error = reply.json()["error"]
    assert said in error["message"]
    assert error["param"] == next(iter(fields))


def test_a_cross_encoder_has_no_layers(client: TestClient) -> None:
    reply = client.post("/v1/rerank", json={"query": QUERY, "documents": DOCUMENTS, "cutoff_layers": 3})
    assert reply.status_code == 400
    assert "it has no options" in reply.text
