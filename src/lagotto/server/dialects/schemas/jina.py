"""Jina's request bodies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import AliasChoices, ConfigDict, Field, StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Document, Request, TextObject
from lagotto.server.dialects.schemas.scoring import Scored

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]
Task = Literal[
    "retrieval.query",
    "retrieval.passage",
    "code.query",
    "code.passage",
    "text-matching",
    "classification",
    "separation",
]


class JinaEmbeddings(Request):
    """``POST /v1/embeddings``, as Jina defines it."""

    model_config = ConfigDict(populate_by_name=True)

    dialect: ClassVar[Dialect] = "jina"

    model: StrictStr
    input: StrictStr | list[StrictStr | TextObject]
    embedding_type: EmbeddingType | Annotated[list[EmbeddingType], Field(min_length=1)] = Field(
        default="float", validation_alias=AliasChoices("embedding_type", "encoding_type")
    )
    """LlamaIndex calls it ``encoding_type``."""
    task: Task | None = None
    dimensions: Count | None = None
    normalized: bool | None = None
    late_chunking: bool = False
    truncate: bool | None = None
    return_multivector: bool = False


class JinaRerank(Scored):
    """``POST /jina/v1/rerank``."""

    dialect: ClassVar[Dialect] = "jina"

    model: StrictStr
    query: StrictStr | TextObject
    documents: list[StrictStr | Document]
    top_n: Count | None = None
    return_documents: bool = True
    truncate: bool | None = None
