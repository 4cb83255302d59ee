"""Classes of LangChain."""

from __future__ import annotations

import pytest

from lagotto import Embedder, Reranker

from .conftest import TEXTS, order, same


def test_openai_embeddings_as_they_come_are_told_what_to_do(url: str) -> None:
    from langchain_openai import OpenAIEmbeddings
    from openai import BadRequestError

    for model in ("bert", "m3"):
        client = OpenAIEmbeddings(base_url=f"{url}/v1", model=model, max_retries=0)
        for ask in (client.embed_query, lambda text: client.embed_documents([text])):  # noqa: B023
            with pytest.raises(BadRequestError, match="check_embedding_ctx_length=False"):
                ask("the giant panda")


def test_openai_embeddings_that_send_texts(url: str, embedder: Embedder) -> None:
    from langchain_openai import OpenAIEmbeddings

    client = OpenAIEmbeddings(base_url=f"{url}/v1", model="bert", check_embedding_ctx_length=False)
    same(client.embed_documents(TEXTS), embedder.encode(TEXTS).dense)


def test_openai_embeddings_as_they_come_work_where_the_operator_decodes(
    decoding_url: str, embedder: Embedder, m3: Embedder
) -> None:
    from langchain_openai import OpenAIEmbeddings

    for name, model in (("bert", embedder), ("m3", m3)):
        client = OpenAIEmbeddings(base_url=f"{decoding_url}/v1", model=name)
        same(client.embed_documents(TEXTS), model.encode(TEXTS).dense)
        same(client.embed_query("the giant panda 熊猫"), model.encode("the giant panda 熊猫").dense[0])


def test_cohere(url: str, m3: Embedder, ranker: Reranker) -> None:
    from langchain_cohere import CohereEmbeddings, CohereRerank

    client = CohereEmbeddings(base_url=url, model="m3")
    same(client.embed_documents(TEXTS), m3.encode_documents(TEXTS).dense)
    same(client.embed_query(TEXTS[0]), m3.encode_queries(TEXTS[0]).dense[0])
    found = CohereRerank(base_url=url, model="ranker").rerank(TEXTS, "panda", top_n=3)
    assert [hit["index"] for hit in found] == order(ranker, "panda", 3)


def test_jina(url: str, embedder: Embedder, ranker: Reranker, monkeypatch: pytest.MonkeyPatch) -> None:
    from langchain_community.document_compressors import jina_rerank
    from langchain_community.embeddings import jina

    for prefix in ("/v1", "/jina/v1"):
        monkeypatch.setattr(jina, "JINA_API_URL", f"{url}{prefix}/embeddings")
        monkeypatch.setattr(jina_rerank, "JINA_API_URL", f"{url}{prefix}/rerank")
        same(jina.JinaEmbeddings(model_name="bert").embed_documents(TEXTS), embedder.encode(TEXTS).dense)
        found = jina_rerank.JinaRerank(model="ranker").rerank(TEXTS, "panda", top_n=3)
        assert [hit["index"] for hit in found] == order(ranker, "panda", 3)
        with pytest.raises(RuntimeError, match="none"):
            jina_rerank.JinaRerank(model="none").rerank(TEXTS, "panda")
    with pytest.raises(RuntimeError, match="none"):
        jina.JinaEmbeddings(model_name="none").embed_documents(TEXTS)


def test_infinity(url: str, embedder: Embedder, ranker: Reranker) -> None:
    from infinity_client import Client
    from langchain_community.document_compressors.infinity_rerank import InfinityRerank
    from langchain_community.embeddings import InfinityEmbeddings

    client = InfinityEmbeddings(model="bert", infinity_api_url=url)
    same(client.embed_documents(TEXTS), embedder.encode(TEXTS).dense)
    found = InfinityRerank(client=Client(base_url=url), model="ranker").rerank(TEXTS, "panda", top_n=3)
    assert [hit["index"] for hit in found] == order(ranker, "panda", 3)


def test_hugging_face_endpoint(url: str, embedder: Embedder) -> None:
    from huggingface_hub import InferenceClient
    from langchain_huggingface import HuggingFaceEndpointEmbeddings

    client = HuggingFaceEndpointEmbeddings(model="not/needed")
    client.client = InferenceClient(url)  # its constructor takes names of the hub alone
    same(client.embed_documents(TEXTS), embedder.encode(TEXTS).dense)
    same(client.embed_query("a dog"), embedder.encode("a dog").dense[0])


def test_voyage(url: str, m3: Embedder, ranker: Reranker) -> None:
    from langchain_core.documents import Document
    from langchain_voyageai import VoyageAIEmbeddings, VoyageAIRerank

    client = VoyageAIEmbeddings(model="m3", base_url=f"{url}/v1", batch_size=5)
    client._client.tokenize = lambda texts, model: [text.split() for text in texts]  # else it asks the hub for one
    same(client.embed_query(TEXTS[0]), m3.encode_queries(TEXTS[0]).dense[0])
    same(client.embed_documents(TEXTS), m3.encode_documents(TEXTS).dense)
    compressor = VoyageAIRerank(model="ranker", base_url=f"{url}/v1", top_k=3)
    found = compressor.compress_documents([Document(text) for text in TEXTS], "panda")
    assert [document.page_content for document in found] == [TEXTS[i] for i in order(ranker, "panda", 3)]
