"""The clients that belong to an interface: OpenAI's, TEI's, Infinity's, Voyage's, Cohere's, Hugging Face's."""

from __future__ import annotations

import base64
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Reranker

from .conftest import COHERES, TEXTS, order, same

PREFIXES = pytest.mark.parametrize("prefix", ["", "/tei"])


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1"])
def test_openai(url: str, prefix: str, embedder: Embedder) -> None:
    import openai

    client = openai.OpenAI(api_key="not needed", base_url=url + prefix, max_retries=0)
    found = client.embeddings.create(model="bert", input=TEXTS, dimensions=8)
    same([item.embedding for item in found.data], embedder.encode(TEXTS, dimensions=8).dense)
    assert found.usage.total_tokens == int(embedder.encode(TEXTS).tokens.sum())
    assert [model.id for model in client.models.list()] == ["bert", "m3", COHERES, "ranker"]
    with pytest.raises(openai.NotFoundError) as unknown:
        client.embeddings.create(model="none", input="a")
    assert unknown.value.code == "model_not_found"


@PREFIXES
def test_tei_client(url: str, prefix: str, embedder: Embedder) -> None:
    from tei_client import HttpClient

    client = HttpClient(url + prefix)
    assert client.health()
    assert client.info().server_model_id == "bert"
    same(client.embed(TEXTS), embedder.encode(TEXTS).dense)
    states = embedder.encode_states(TEXTS).multivector
    assert states is not None
    for found, expected in zip(client.embed_all(TEXTS), states, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-4)
    (tokens,) = client.tokenize("the giant panda")
    assert client.decode(tokens.get_ids()) == ["the giant panda"]
    assert client.prompt_names() == [""]


@PREFIXES
def test_tei_client_reranks(url: str, prefix: str, ranker: Reranker) -> None:
    from tei_client import HttpClient

    client = HttpClient(url + prefix)
    client._ensure_model_type = lambda kind: None  # it asks /info, which describes the first model
    found = client.rerank("panda", TEXTS, return_text=True)
    assert [rank.index for rank in found.ranks] == order(ranker, "panda")
    assert [rank.text for rank in found.ranks] == [TEXTS[rank.index] for rank in found.ranks]


@pytest.mark.parametrize("prefix", ["", "/infinity"])
def test_infinity_client(url: str, prefix: str, embedder: Embedder, ranker: Reranker) -> None:
    from infinity_client import Client
    from infinity_client.api.default import classify, embeddings, health, models, rerank
    from infinity_client.models import ClassifyInput, OpenAIEmbeddingInputText, RerankInput

    client = Client(base_url=url + prefix, raise_on_unexpected_status=True)
    reply: Any = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=TEXTS, model="bert"))
    same([item.embedding for item in reply.data], embedder.encode(TEXTS).dense)
    unnamed: Any = embeddings.sync(client=client, body=OpenAIEmbeddingInputText(input_=TEXTS))
    assert unnamed.model == "bert"
    ranked: Any = rerank.sync(client=client, body=RerankInput(query="panda", documents=TEXTS, return_documents=True))
    assert [hit.index for hit in ranked.results] == order(ranker, "panda")
    assert [hit.document for hit in ranked.results] == [TEXTS[hit.index] for hit in ranked.results]
    pairs: Any = [["panda", text] for text in TEXTS]  # which the client's annotations do not know of
    classes: Any = classify.sync(client=client, body=ClassifyInput(input_=pairs))
    expected = ranker.score(pairs, normalize=True).scores
    np.testing.assert_allclose([label.score for (label,) in classes.data], expected, atol=5e-5)
    listed: Any = models.sync(client=client)
    assert [model.id for model in listed.data] == ["bert", "m3", COHERES, "ranker"]
    if prefix:
        alive: Any = health.sync(client=client)
        assert alive["unix"] > 1e9


@pytest.mark.parametrize("prefix", ["/v1", "/voyage/v1"])
def test_voyageai(url: str, prefix: str, m3: Embedder, ranker: Reranker) -> None:
    import voyageai

    client = voyageai.Client(api_key="not needed", base_url=url + prefix, max_retries=0)
    found = client.embed(TEXTS, model="m3", input_type="query")
    same(found.embeddings, m3.encode_queries(TEXTS).dense)
    assert found.total_tokens == int(m3.encode_queries(TEXTS).tokens.sum())
    bits = client.embed(TEXTS, model="m3", input_type="document", output_dtype="ubinary").embeddings
    assert np.array(bits).shape == (len(TEXTS), 4)
    ranked = client.rerank("panda", TEXTS, model="ranker", top_k=3)
    assert [hit.index for hit in ranked.results] == order(ranker, "panda", 3)
    with pytest.raises(voyageai.error.APIError, match="none"):
        client.embed(TEXTS, model="none", input_type="query")


def test_cohere(url: str, m3: Embedder, ranker: Reranker) -> None:
    import cohere

    client = cohere.ClientV2(api_key="not needed", base_url=url)
    types: Any = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = client.embed(model="m3", texts=TEXTS, input_type="search_query", embedding_types=types)
    expected = m3.encode_queries(TEXTS).dense
    same(found.embeddings.float_, expected)
    same([np.frombuffer(base64.b64decode(row), "<f4") for row in found.embeddings.base64 or []], expected)
    np.testing.assert_array_equal(found.embeddings.ubinary, np.packbits(expected > 0, axis=1))
    np.testing.assert_array_equal(np.array(found.embeddings.binary) + 128, found.embeddings.ubinary)
    np.testing.assert_array_equal(np.array(found.embeddings.int8) + 128, found.embeddings.uint8)
    ranked = client.rerank(model="ranker", query="panda", documents=TEXTS, top_n=3)
    assert [hit.index for hit in ranked.results] == order(ranker, "panda", 3)
    with pytest.raises(cohere.NotFoundError):
        client.rerank(model="none", query="panda", documents=TEXTS)
    old = cohere.Client(api_key="not needed", base_url=url)
    plain = old.embed(model="m3", texts=TEXTS, input_type="search_document")
    same(plain.embeddings, m3.encode_documents(TEXTS).dense)
    objects = [{"text": text} for text in TEXTS]
    ranked = old.rerank(model="ranker", query="panda", documents=objects, top_n=3, return_documents=True)
    assert [hit.index for hit in ranked.results] == order(ranker, "panda", 3)
    assert [hit.document.text for hit in ranked.results if hit.document] == [TEXTS[hit.index] for hit in ranked.results]


@pytest.mark.parametrize("path", ["", "/embed"])
def test_hugging_face_inference_client(url: str, path: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient

    client = InferenceClient(url + path)
    same(client.feature_extraction("a dog"), embedder.encode("a dog").dense)
    same(client.feature_extraction("a dog", normalize=True, truncate=True), embedder.encode("a dog").dense)
    if not path:
        found = client.sentence_similarity("a panda", TEXTS)
        same(found, embedder.similarity(embedder.encode("a panda"), embedder.encode(TEXTS))[0])


def test_hugging_face_inference_client_hears_that_a_reranker_reads_pairs(url: str) -> None:
    from huggingface_hub import InferenceClient
    from huggingface_hub.errors import HfHubHTTPError

    with pytest.raises(HfHubHTTPError, match="422"):
        InferenceClient(f"{url}/predict").text_classification("a panda")
