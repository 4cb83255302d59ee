"""The official ``cohere`` client works against this server as against Cohere's, by both versions of its routes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import numpy as np
import pytest

from lagotto import Embedder, Reranker
from support.checkpoints import some_texts

QUERY = "what is a panda"
DOCUMENTS = some_texts(12, seed=5, longest=15)
LONG = "the giant panda is a bear and the dog is an animal near the river of paris " * 20


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[cohere.Client]:
    with httpx.Client() as transport:
        yield cohere.Client(api_key="not needed", base_url=url, httpx_client=transport)


def check(reply: Any, expected: Any) -> None:
    assert [result.index for result in reply.results] == [hit.index for hit in expected]
    found = [result.relevance_score for result in reply.results]
    np.testing.assert_allclose(found, [hit.score for hit in expected], atol=2e-5)


def test_strings_are_ranked(client: cohere.Client, ranker: Reranker) -> None:
    reply = client.rerank(model="ranker", query=QUERY, documents=DOCUMENTS)
    check(reply, ranker.rank(QUERY, DOCUMENTS))
    assert reply.id
    assert all(result.document is None for result in reply.results)
    assert reply.meta is not None
    assert reply.meta.api_version is not None
    assert reply.meta.billed_units is not None
    assert (reply.meta.api_version.version, reply.meta.billed_units.search_units) == ("1", 1)


def test_the_model_may_be_left_out_and_top_n_given(client: cohere.Client, ranker: Reranker) -> None:
    check(client.rerank(query=QUERY, documents=DOCUMENTS, top_n=3), ranker.rank(QUERY, DOCUMENTS, top_n=3))


def test_objects_come_back_when_asked_for(client: cohere.Client, ranker: Reranker) -> None:
    objects = [{"text": text, "place": str(number)} for number, text in enumerate(DOCUMENTS)]
    reply = client.rerank(query=QUERY, documents=[*objects[:6], *DOCUMENTS[6:]], return_documents=True)
    check(reply, ranker.rank(QUERY, DOCUMENTS))
    for result in reply.results:
        assert result.document is not None
        assert result.document.text == DOCUMENTS[result.index]
        place = getattr(result.document, "place", None)
        assert place == (str(result.index) if result.index < 6 else None)


def test_max_chunks_per_doc_is_heeded(client: cohere.Client, ranker: Reranker) -> None:
    for windows in (1, 3):
        reply = client.rerank(query=QUERY, documents=[LONG, "a dog"], max_chunks_per_doc=windows)
        check(reply, ranker.rank(QUERY, [LONG, "a dog"], max_windows=windows))


def test_errors_arrive_as_the_clients_own_classes(client: cohere.Client) -> None:
    with pytest.raises(cohere.NotFoundError) as unknown:
        client.rerank(model="none", query=QUERY, documents=DOCUMENTS)
    assert unknown.value.body["error"]["code"] == "model_not_found"
    with pytest.raises(cohere.BadRequestError) as empty:
        client.rerank(query="", documents=DOCUMENTS)
    assert empty.value.body["error"]["param"] == "query"
    with pytest.raises(cohere.BadRequestError):
        client.rerank(model="bert", query=QUERY, documents=DOCUMENTS)


# Version 2.


@pytest.fixture(scope="module")
def newer(url: str) -> Iterator[cohere.ClientV2]:
    with httpx.Client() as transport:
        yield cohere.ClientV2(api_key="not needed", base_url=url, httpx_client=transport)


def test_version_2_ranks(newer: cohere.ClientV2, ranker: Reranker) -> None:
    reply = newer.rerank(model="ranker", query=QUERY, documents=DOCUMENTS, top_n=5)
    check(reply, ranker.rank(QUERY, DOCUMENTS, top_n=5))
    assert reply.meta is not None
    assert reply.meta.api_version is not None
    assert reply.meta.api_version.version == "2"
    short = newer.rerank(model="ranker", query=QUERY, documents=[LONG, "a dog"], max_tokens_per_doc=9)
    check(short, ranker.rank(QUERY, [LONG, "a dog"], document_max_length=9))
    assert short.meta is not None
    assert short.meta.warnings


@pytest.mark.filterwarnings("ignore::DeprecationWarning:cohere")
@pytest.mark.parametrize("version", ["client", "newer"])
def test_both_versions_embed_in_every_type(request: Any, version: str, embedder: Embedder) -> None:
    client, texts = request.getfixturevalue(version), [text or "a" for text in DOCUMENTS]
    types = ["float", "int8", "uint8", "binary", "ubinary"]
    reply = client.embed(model="bert", texts=texts, input_type="clustering", embedding_types=types)
    found, expected = reply.embeddings, embedder.encode(texts).dense
    np.testing.assert_allclose(found.float_, expected, atol=2e-5)
    np.testing.assert_array_equal(found.ubinary, np.packbits(expected > 0, axis=1))
    np.testing.assert_array_equal(np.array(found.binary) + 128, found.ubinary)
    np.testing.assert_array_equal(np.array(found.int8) + 128, found.uint8)
    assert reply.texts == texts


def test_version_1_embeds_without_types(client: cohere.Client, embedder: Embedder) -> None:
    reply: Any = client.embed(model="bert", texts=["a dog", "a panda"], input_type="search_query", truncate="END")
    np.testing.assert_allclose(reply.embeddings, embedder.encode_queries(["a dog", "a panda"]).dense, atol=2e-5)


def test_version_2_raises_the_clients_own_classes(newer: cohere.ClientV2) -> None:
    with pytest.raises(cohere.NotFoundError) as unknown:
        newer.embed(model="none", texts=["a"], input_type="clustering")
    assert list(unknown.value.body) == ["message"]
    with pytest.raises(cohere.BadRequestError):
        newer.embed(model="bert", texts=[LONG], input_type="clustering", truncate="NONE")
