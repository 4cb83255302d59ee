"""Request bodies of paths that several dialects share; fields that only one of them has tell which it is."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from pydantic import Discriminator, Field, StrictInt, StrictStr, Tag

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Document, Request, TextObject
from lagotto.server.dialects.schemas.infinity import InfinityClassify, InfinityRerank
from lagotto.server.dialects.schemas.jina import JinaEmbeddings
from lagotto.server.dialects.schemas.openai import OpenAIEmbeddings
from lagotto.server.dialects.schemas.scoring import Scored
from lagotto.server.dialects.schemas.tei import TeiRerank
from lagotto.server.dialects.schemas.vllm import VllmClassify
from lagotto.server.dialects.schemas.voyage import VoyageEmbeddings, VoyageRerank

JINA_ONLY = frozenset(("task", "embedding_type", "encoding_type", "late_chunking", "return_multivector", "normalized"))
VOYAGE_ONLY = frozenset(("input_type", "output_dtype", "output_dimension", "truncation"))


class SharedRerank(Scored):
    """``POST /v1/rerank`` and ``/rerank``: what Cohere, Jina and vLLM call alike, and what only one of them has."""

    dialect: ClassVar[Dialect] = "any"

    model: StrictStr | None = None
    query: StrictStr | TextObject
    documents: list[StrictStr | Document]
    top_n: Annotated[StrictInt, Field(ge=1)] | None = None
    return_documents: bool | None = None
    max_chunks_per_doc: Count | None = None
    """Windows of a long document that are read; the model's default is 10."""
    overlap_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    """Tokens two neighbouring windows share; 64 by default."""
    max_tokens_per_doc: Count | None = None
    truncate: bool | None = None


def embeddings_tag(body: Any) -> str:
    """Whose a body of ``/v1/embeddings`` is."""
    fields = _fields(body)
    if fields & JINA_ONLY or _has_objects(body):
        return "as jina"
    return "as voyage" if fields & VOYAGE_ONLY else "as openai"


def rerank_tag(body: Any) -> str:
    """Whose a body of ``/v1/rerank`` is."""
    return "as voyage" if "top_k" in _fields(body) else "as any"


def bare_rerank_tag(body: Any) -> str:
    """Whose a body of ``/rerank`` is."""
    fields = _fields(body)
    if "texts" in fields:
        return "as tei"
    return "as infinity" if "raw_scores" in fields else "as any"


def classify_tag(body: Any) -> str:
    """Whose a body of ``/classify`` is."""
    return "as infinity" if "raw_scores" in _fields(body) else "as vllm"


def _fields(body: Any) -> frozenset[str]:
    if isinstance(body, dict):
        return frozenset(str(name) for name in body)
    return frozenset(body.model_fields_set) if isinstance(body, Request) else frozenset()


def _has_objects(body: Any) -> bool:
    """Whether an input is an object, which Jina alone allows."""
    given = body.get("input") if isinstance(body, dict) else None
    return isinstance(given, list) and any(isinstance(item, dict) for item in given)


EmbeddingsBody = Annotated[
    Annotated[OpenAIEmbeddings, Tag("as openai")]
    | Annotated[JinaEmbeddings, Tag("as jina")]
    | Annotated[VoyageEmbeddings, Tag("as voyage")],
    Discriminator(embeddings_tag),
]
RerankBody = Annotated[
    Annotated[SharedRerank, Tag("as any")] | Annotated[VoyageRerank, Tag("as voyage")], Discriminator(rerank_tag)
]
BareRerankBody = Annotated[
    Annotated[SharedRerank, Tag("as any")]
    | Annotated[TeiRerank, Tag("as tei")]
    | Annotated[InfinityRerank, Tag("as infinity")],
    Discriminator(bare_rerank_tag),
]
ClassifyBody = Annotated[
    Annotated[VllmClassify, Tag("as vllm")] | Annotated[InfinityClassify, Tag("as infinity")],
    Discriminator(classify_tag),
]
