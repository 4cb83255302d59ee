"""Voyage's request bodies."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Request
from lagotto.server.dialects.schemas.scoring import Scored


class VoyageEmbeddings(Request):
    """``POST /v1/embeddings``, as Voyage defines it."""

    dialect: ClassVar[Dialect] = "voyage"

    model: StrictStr
    input: StrictStr | list[StrictStr]
    input_type: Literal["query", "document"] | None = None
    truncation: bool | None = None
    output_dimension: Count | None = None
    output_dtype: Literal["float", "int8", "uint8", "binary", "ubinary"] | None = None
    encoding_format: Literal["base64"] | None = None


class VoyageRerank(Scored):
    """``POST /v1/rerank``, as Voyage defines it."""

    dialect: ClassVar[Dialect] = "voyage"

    model: StrictStr
    query: StrictStr
    documents: list[StrictStr]
    top_k: Count | None = None
    truncation: bool | None = None
    return_documents: bool = False
