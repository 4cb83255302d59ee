"""Request bodies of text-embeddings-inference (TEI)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, StrictInt, StrictStr

from lagotto.server.dialects.paths import Dialect
from lagotto.server.dialects.schemas.base import Count, Ids, Request
from lagotto.server.dialects.schemas.scoring import Scored

Direction = Annotated[
    Literal["left", "right"], BeforeValidator(lambda given: given.lower() if isinstance(given, str) else given)
]
TeiInputs = StrictStr | list[StrictStr | Ids] | Ids
"""A text, token ids of one text, or a list of either."""


class TeiRequest(Request):
    """What most of TEI's bodies have."""

    dialect: ClassVar[Dialect] = "tei"

    truncate: bool | None = None
    truncation_direction: Direction = "right"


class TeiEmbedSparse(TeiRequest):
    """``POST /embed_sparse``."""

    inputs: TeiInputs
    prompt_name: StrictStr | None = None


class TeiEmbedAll(TeiEmbedSparse):
    """``POST /embed_all``."""

    normalize: bool | None = None
    """Accepted since TEI's clients send it; not used, as by TEI itself."""


class TeiEmbed(TeiEmbedSparse):
    """``POST /embed``."""

    normalize: bool = True
    dimensions: Count | None = None


class TeiRerank(TeiRequest, Scored):
    """``POST /tei/rerank``; the tell-tale on ``/rerank`` is ``texts``."""

    query: StrictStr
    texts: list[StrictStr]
    raw_scores: bool = False
    return_text: bool = False


class TeiPredict(TeiRequest, Scored):
    """``POST /predict``."""

    inputs: StrictStr | Annotated[list[StrictStr | list[StrictStr]], Field(min_length=1)]
    raw_scores: bool = False


class TeiSimilarityInputs(Request):
    """The texts to compare."""

    dialect: ClassVar[Dialect] = "tei"

    source_sentence: StrictStr
    sentences: list[StrictStr]


class TeiSimilarityParameters(TeiRequest):
    """How they are read."""

    prompt_name: StrictStr | None = None


class TeiSimilarity(Request):
    """``POST /similarity``."""

    dialect: ClassVar[Dialect] = "tei"

    inputs: TeiSimilarityInputs
    parameters: TeiSimilarityParameters | None = None


class TeiTokenize(Request):
    """``POST /tokenize``."""

    dialect: ClassVar[Dialect] = "tei"

    inputs: StrictStr | list[StrictStr]
    add_special_tokens: bool = True
    prompt_name: StrictStr | None = None


class TeiDecode(Request):
    """``POST /decode``."""

    dialect: ClassVar[Dialect] = "tei"

    ids: list[StrictInt] | list[list[StrictInt]]
    skip_special_tokens: bool = True


def alias_tag(body: Any) -> str:
    """Which request a body of ``POST /`` is: `TeiRerank`, `TeiSimilarity` or `TeiEmbed`."""
    fields = body if isinstance(body, dict) else {}
    if "texts" in fields:
        return "as rerank"
    return "as similarity" if isinstance(fields.get("inputs"), dict) else "as embed"
