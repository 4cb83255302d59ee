"""vLLM's request bodies."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, StrictInt, StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Inputs, Pairs, Request
from lagotto.server.dialects.schemas.scoring import Scored

Texts = StrictStr | list[StrictStr]
Tokens = Annotated[StrictInt, Field(ge=-1)]
"""How many tokens are read; -1 for as many as the model reads."""


class VllmScore(Scored):
    """``POST /score``: one of the pairs of names that vLLM has had for the two sides."""

    dialect: ClassVar[Dialect] = "vllm"

    model: StrictStr | None = None
    queries: Texts | None = None
    documents: Texts | None = None
    items: Texts | None = None
    data_1: Texts | None = None
    data_2: Texts | None = None
    text_1: Texts | None = None
    text_2: Texts | None = None
    truncate_prompt_tokens: Tokens | None = None
    use_activation: bool | None = None


class VllmClassify(Scored):
    """``POST /vllm/classify``; on ``/classify`` what has no ``raw_scores``."""

    dialect: ClassVar[Dialect] = "vllm"

    model: StrictStr | None = None
    input: Pairs
    truncate_prompt_tokens: Tokens | None = None
    use_activation: bool | None = None


class VllmRerank(Scored):
    """``POST /vllm/rerank``."""

    dialect: ClassVar[Dialect] = "vllm"

    model: StrictStr | None = None
    query: StrictStr
    documents: list[StrictStr]
    top_n: Annotated[StrictInt, Field(ge=0)] = 0
    """0 is all of them."""
    max_tokens_per_doc: Annotated[StrictInt, Field(ge=0)] = 0
    """0 is no limit."""
    truncate_prompt_tokens: Tokens | None = None


class VllmPooling(Request):
    """``POST /pooling``."""

    dialect: ClassVar[Dialect] = "vllm"

    model: StrictStr
    input: Inputs
    task: Literal["embed", "token_embed"] = "embed"
    encoding_format: Literal["float", "base64"] = "float"
    embed_dtype: Literal["float32", "float16"] = "float32"
    dimensions: Count | None = None
    truncate_prompt_tokens: Tokens | None = None
