"""Classes of LlamaIndex."""

from __future__ import annotations

from typing import Any

import pytest

from lagotto import Embedder, Reranker

from .conftest import COHERES, TEXTS, order, same


def nodes() -> list[Any]:
    from llama_index.core.schema import NodeWithScore, TextNode

    return [NodeWithScore(node=TextNode(text=text), score=0.0) for text in TEXTS]


def texts_of(found: Any) -> list[str]:
    return [node.node.get_content() for node in found]


def test_openai_like(url: str, embedder: Embedder) -> None:
    from llama_index.embeddings.openai_like import OpenAILikeEmbedding

    client = OpenAILikeEmbedding(model_name="bert", api_base=f"{url}/v1", api_key="not needed")
    same(client.get_text_embedding_batch(TEXTS), embedder.encode(TEXTS).dense)
    same(client.get_query_embedding("a dog"), embedder.encode("a dog").dense[0])


def test_text_embeddings_inference(url: str, embedder: Embedder) -> None:
    from llama_index.embeddings.text_embeddings_inference import TextEmbeddingsInference

    client = TextEmbeddingsInference(model_name="bert", base_url=url, text_instruction=" ", query_instruction=" ")
    same(client.get_text_embedding_batch(TEXTS), embedder.encode(TEXTS).dense)


def test_text_embeddings_inference_reranks(url: str, ranker: Reranker) -> None:
    from llama_index.postprocessor.tei_rerank import TextEmbeddingInference

    client = TextEmbeddingInference(base_url=url, top_n=3, auth_token="not needed")
    assert texts_of(client.postprocess_nodes(nodes(), query_str="panda")) == [
        TEXTS[i] for i in order(ranker, "panda", 3)
    ]


@pytest.mark.parametrize("prefix", ["/v1", "/jina/v1"])
def test_jina(url: str, prefix: str, embedder: Embedder, m3: Embedder, ranker: Reranker) -> None:
    from llama_index.embeddings.jinaai import JinaEmbedding
    from llama_index.postprocessor.jinaai_rerank import JinaRerank

    base = url + prefix

    def embedding(**options: Any) -> JinaEmbedding:
        client = JinaEmbedding(api_key="not needed", **options)
        client._api.api_url = f"{base}/embeddings"  # its constructor forgets the base URL it is given
        return client

    client = embedding(model="bert")
    same(client.get_text_embedding_batch(TEXTS), embedder.encode(TEXTS).dense)
    asked = embedding(model="m3", task="retrieval.query", dimensions=8)
    same(asked.get_text_embedding(TEXTS[0]), m3.encode_queries(TEXTS[0], dimensions=8).dense[0])
    found = JinaRerank(top_n=3, model="ranker", base_url=base, api_key="not needed")
    assert texts_of(found.postprocess_nodes(nodes(), query_str="panda")) == [
        TEXTS[i] for i in order(ranker, "panda", 3)
    ]
    with pytest.raises(RuntimeError, match="none"):
        embedding(model="none").get_text_embedding("a")


def test_cohere(url: str, m3: Embedder, ranker: Reranker) -> None:
    from llama_index.embeddings.cohere import CohereEmbedding
    from llama_index.postprocessor.cohere_rerank import CohereRerank

    client = CohereEmbedding(api_key="not needed", model_name=COHERES, base_url=url, input_type="search_query")
    same(client.get_text_embedding(TEXTS[0]), m3.encode_queries(TEXTS[0]).dense[0])
    found = CohereRerank(api_key="not needed", model="ranker", base_url=url, top_n=3)
    assert texts_of(found.postprocess_nodes(nodes(), query_str="panda")) == [
        TEXTS[i] for i in order(ranker, "panda", 3)
    ]
