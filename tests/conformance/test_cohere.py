"""The official ``cohere`` client reranks against this server as against Cohere's, by its version 1 route."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import numpy as np
import pytest

from lagotto import Reranker
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


def test_the_clients_version_2_route_is_not_there_yet_and_says_so(url: str) -> None:
    with httpx.Client() as transport:
        client = cohere.ClientV2(api_key="not needed", base_url=url, httpx_client=transport)
        with pytest.raises(cohere.NotFoundError) as caught:
            client.rerank(model="ranker", query=QUERY, documents=DOCUMENTS)
    assert "/v2/rerank" in caught.value.body["error"]["message"]
