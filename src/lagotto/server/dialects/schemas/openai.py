"""OpenAI's request bodies."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Inputs, Request


class OpenAIEmbeddings(Request):
    """``POST /v1/embeddings``, as OpenAI defines it."""

    dialect: ClassVar[Dialect] = "openai"

    model: StrictStr
    input: Inputs
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Count | None = None
    user: StrictStr | None = None
    """Accepted for OpenAI's sake; not used, not logged."""
