"""Similarities that the authors of embedders published, against the real weights, where these are on the machine.

They were computed in float16, bfloat16 or float32, and must agree within 0.01. Weights are opened in float32: models of
7 billion parameters take 28 GB of memory. The comparison itself is tested on tiny random weights.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto import Embedder
from lagotto.cards.registry import find_card
from support.checkpoints import BERT, write_embedder
from support.real_models import real_model

CLOSE = 0.01
WEB = "Given a web search query, retrieve relevant passages that answer the query"


@dataclass(frozen=True, slots=True)
class Published:
    """Cosines of queries with passages, (queries, passages)."""

    model: str
    queries: Sequence[str]
    passages: Sequence[str]
    cosines: Sequence[Sequence[float]]
    written: str
    """The first query as the model was given it, by the published code."""


FILE = Path(__file__).parent / "data" / "published_passages.json"
PASSAGES: dict[str, list[str]] = json.loads(FILE.read_text("utf-8"))
MARCO = ("how much protein should a female eat", "summit define")
CHINA = ("What is the capital of China?", "Explain gravity")
CAKE = ("How to bake a chocolate cake", "Symptoms of the flu")
HANGUL = ("최초의 원자력 발전소는 무엇인가?", "Who invented Hangul?")
TOLD_WEB = f"Instruct: {WEB}\nQuery: "
PUBLISHED = (
    # FlagEmbedding, README of the models in examples/inference/embedder, "Using HuggingFace Transformers".
    Published(
        "BAAI/bge-multilingual-gemma2",
        MARCO,
        PASSAGES["marco"],
        [[0.5592064666748047, 0.016549524068832397], [-0.002698777914047241, 0.4995653533935547]],
        f"<instruct>{WEB}.\n<query>{MARCO[0]}",
    ),
    # FlagEmbedding, research/llm_embedder/README.md, "Usage": the task qa.
    Published(
        "BAAI/llm-embedder",
        ("test query 1", "test query 2"),
        ("test key 1", "test key 2"),
        [[0.8971, 0.8534], [0.8462, 0.9091]],
        "Represent this query for retrieving relevant documents: test query 1",
    ),
    # The model cards of Qwen3-Embedding, "Usage".
    Published(
        "Qwen/Qwen3-Embedding-0.6B",
        CHINA,
        PASSAGES["china"],
        [[0.7645568251609802, 0.14142508804798126], [0.13549736142158508, 0.5999549627304077]],
        f"Instruct: {WEB}\nQuery:{CHINA[0]}",
    ),
    Published(
        "Qwen/Qwen3-Embedding-4B",
        CHINA,
        PASSAGES["china"],
        [[0.7534, 0.1147], [0.0320, 0.6258]],
        f"Instruct: {WEB}\nQuery:{CHINA[0]}",
    ),
    Published(
        "Qwen/Qwen3-Embedding-8B",
        CHINA,
        PASSAGES["china"],
        [[0.7493, 0.0751], [0.0880, 0.6318]],
        f"Instruct: {WEB}\nQuery:{CHINA[0]}",
    ),
    # The model cards of SFR-Embedding, "How to run".
    Published(
        "Salesforce/SFR-Embedding-Mistral",
        CAKE,
        PASSAGES["cake"],
        [[0.867153549194336, 0.3664569091796875], [0.3500493621826172, 0.820738525390625]],
        TOLD_WEB + CAKE[0],
    ),
    Published(
        "Salesforce/SFR-Embedding-2_R",
        CAKE,
        PASSAGES["cake"],
        [[0.40132083892822266, 0.25032529830932617], [0.15006855010986328, 0.3993733215332031]],
        TOLD_WEB + CAKE[0],
    ),
    # The model card of Linq-Embed-Mistral, "How to use".
    Published(
        "Linq-AI-Research/Linq-Embed-Mistral",
        HANGUL,
        PASSAGES["hangul"],
        [[0.7372908782958984, 0.30122787475585938], [0.2915508460998535, 0.7925375366210938]],
        f"Instruct: Given a question, retrieve Wikipedia passages that answer the question\nQuery: {HANGUL[0]}",
    ),
    # The model cards of gte-Qwen2, "Usage", Sentence Transformers.
    Published(
        "Alibaba-NLP/gte-Qwen2-7B-instruct",
        MARCO,
        PASSAGES["marco"],
        [[0.7000668334960938, 0.08184843063354492], [0.1462419319152832, 0.7771407318115234]],
        TOLD_WEB + MARCO[0],
    ),
    Published(
        "Alibaba-NLP/gte-Qwen2-1.5B-instruct",
        MARCO,
        PASSAGES["marco"],
        [[0.7849691772460938, 0.1704286766052246], [0.14924494743347168, 0.7537962341308594]],
        TOLD_WEB + MARCO[0],
    ),
)


def cosines(model: Embedder, published: Published) -> NDArray[np.float32]:
    """(queries, passages), each side with what the card puts around it."""
    return model.similarity(model.encode_queries(published.queries), model.encode_documents(published.passages))


def check(model: Embedder, published: Published) -> None:
    """Fail with both tables unless they agree within 0.01."""
    np.testing.assert_allclose(cosines(model, published), published.cosines, rtol=0, atol=CLOSE)


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.model)
def test_embedders(published: Published, cache: Path) -> None:
    with Embedder(real_model(published.model), card=published.model, precision="f32") as model:
        check(model, published)


# The tests themselves


@pytest.mark.parametrize("published", PUBLISHED, ids=lambda published: published.model)
def test_queries_are_written_as_they_were(published: Published) -> None:
    card = find_card(published.model)
    assert card is not None
    assert card.query.render(published.queries[0]) == published.written
    assert np.shape(published.cosines) == (len(published.queries), len(published.passages))
    diagonal = np.diag(np.array(published.cosines))
    assert (diagonal == np.max(published.cosines, axis=1)).all()  # each query found its own passage


def test_a_similarity_that_is_off_is_told(tmp_path: Path, cache: Path) -> None:
    tiny = replace(PUBLISHED[1], model="tiny")
    with Embedder(write_embedder(tmp_path / "tiny", BERT), precision="f32", threads=1) as model:
        found = cosines(model, tiny)
        assert found.shape == (2, 2)
        check(model, replace(tiny, cosines=(found + 0.009).tolist()))
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            check(model, replace(tiny, cosines=(found + np.array([[0, 0.02], [0, 0]])).tolist()))
