"""Cohere's request bodies, versions 1 and 2."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Document, Request, TextObject
from lagotto.server.dialects.schemas.scoring import Scored

InputType = Literal["search_document", "search_query", "classification", "clustering"]
EmbeddingType = Literal["float", "int8", "uint8", "binary", "ubinary", "base64"]
Truncate = Literal["NONE", "START", "END"]


class CoherePart(TextObject):
    """A part of an input; images are not read here."""

    type: Literal["text"]


class CohereInput(Request):
    """An input made of parts, which are read as lines of one text."""

    dialect: ClassVar[Dialect] = "cohere"

    content: list[CoherePart]


class CohereEmbedV1(Request):
    """``POST /v1/embed``."""

    dialect: ClassVar[Dialect] = "cohere"

    model: StrictStr
    texts: list[StrictStr]
    input_type: InputType | None = None
    embedding_types: Annotated[list[EmbeddingType], Field(min_length=1)] | None = None
    truncate: Truncate | None = None


class CohereEmbedV2(Request):
    """``POST /v2/embed``."""

    dialect: ClassVar[Dialect] = "cohere"

    model: StrictStr
    input_type: InputType
    texts: list[StrictStr] | None = None
    inputs: list[CohereInput] | None = None
    embedding_types: Annotated[list[EmbeddingType], Field(min_length=1)] | None = None
    output_dimension: Count | None = None
    max_tokens: Count | None = None
    truncate: Truncate | None = None
    priority: StrictInt | None = None
    """Accepted for Cohere's sake; not used."""


class CohereRerankV1(Scored):
    """``POST /cohere/v1/rerank``."""

    dialect: ClassVar[Dialect] = "cohere"

    model: StrictStr | None = None
    query: StrictStr
    documents: list[StrictStr | Document | dict[str, StrictStr]]
    top_n: Count | None = None
    rank_fields: Annotated[list[StrictStr], Field(min_length=1)] | None = None
    return_documents: bool = False
    max_chunks_per_doc: Count | None = None


class CohereRerankV2(Scored):
    """``POST /v2/rerank``."""

    dialect: ClassVar[Dialect] = "cohere"

    model: StrictStr
    query: StrictStr
    documents: list[StrictStr]
    top_n: Count | None = None
    max_tokens_per_doc: Count | None = None
    priority: StrictInt | None = None
    """Accepted for Cohere's sake; not used."""
