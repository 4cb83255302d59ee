"""Infinity's request bodies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Inputs, Pairs, Request
from lagotto.server.dialects.schemas.scoring import Scored

NOT_NAMED = "default/not-specified"
"""What Infinity's clients send as the model's name where their caller gave none."""


class InfinityEmbeddings(Request):
    """``POST /embeddings``."""

    dialect: ClassVar[Dialect] = "infinity"

    model: StrictStr = NOT_NAMED
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[StrictInt, Field(ge=0)] | None = None
    """0 and null are all of them."""
    modality: Literal["text"] = "text"
    user: StrictStr | None = None
    """Accepted for Infinity's sake; not used, not logged."""


class InfinityRerank(Scored):
    """``POST /infinity/rerank``; the tell-tale on ``/rerank`` is ``raw_scores``."""

    dialect: ClassVar[Dialect] = "infinity"

    model: StrictStr = NOT_NAMED
    query: StrictStr
    documents: list[StrictStr]
    top_n: Count | None = None
    return_documents: bool = False
    raw_scores: bool = False


class InfinityClassify(Scored):
    """``POST /infinity/classify``; the tell-tale on ``/classify`` is ``raw_scores``."""

    dialect: ClassVar[Dialect] = "infinity"

    model: StrictStr = NOT_NAMED
    input: Pairs
    raw_scores: bool = False
