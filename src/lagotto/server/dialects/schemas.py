"""Request bodies, as OpenAI and Cohere define them; replies are built by hand, since vectors are large."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr


class Request(BaseModel):
    """A request body; an unknown field is an error, since it would be a wish nobody grants."""

    model_config = ConfigDict(extra="forbid")


class EmbeddingsRequest(Request):
    """``POST /v1/embeddings``, as OpenAI defines it."""

    model: StrictStr
    input: StrictStr | list[StrictStr] | list[StrictInt] | list[list[StrictInt]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=1)] | None = None
    user: StrictStr | None = None
    """Accepted for OpenAI's sake; not used, not logged."""


class RerankDocument(BaseModel):
    """A document given as an object; further keys are the client's own and come back with it."""

    model_config = ConfigDict(extra="allow")

    text: StrictStr


class RerankRequest(Request):
    """``POST /v1/rerank``, as Cohere and Jina define it."""

    model: StrictStr | None = None
    query: StrictStr
    documents: list[StrictStr | RerankDocument]
    top_n: Annotated[StrictInt, Field(ge=1)] | None = None
    return_documents: bool = False
    max_chunks_per_doc: Annotated[StrictInt, Field(ge=1)] | None = None
    """Windows of a long document that are read; the model's default is 10."""
    overlap_tokens: Annotated[StrictInt, Field(ge=0)] | None = None
    """Tokens two neighbouring windows share; 64 by default."""
