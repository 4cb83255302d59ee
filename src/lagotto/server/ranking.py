"""What every dialect's rerank route does: a query and documents to a ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from lagotto.batch.long_texts import Truncation
from lagotto.core.values import Ranking
from lagotto.models.reranker import MAX_WINDOWS, OVERLAP, Reranker
from lagotto.models.score_options import ScoreOptions

LABEL = "LABEL_0"
"""What transformers calls the one label of a reranker."""


@dataclass(frozen=True, slots=True)
class RankWish:
    """How documents are to be ranked; None leaves a thing to the library or the operator."""

    top_n: int | None = None
    normalize: bool = True
    max_windows: int | None = None
    overlap: int | None = None
    max_length: int | None = None
    document_max_length: int | None = None
    truncation: Truncation | None = None
    options: ScoreOptions | None = None
    """A language model's; see `ScoreOptions`."""


def rank(model: Reranker, query: str, texts: Sequence[str], wish: RankWish) -> Ranking:
    """Documents, best first."""
    return model.rank(
        query,
        texts,
        top_n=wish.top_n,
        normalize=wish.normalize,
        max_length=wish.max_length,
        document_max_length=wish.document_max_length,
        max_windows=wish.max_windows or MAX_WINDOWS,
        overlap=OVERLAP if wish.overlap is None else wish.overlap,
        truncation=wish.truncation,
        options=wish.options,
    )


def results(ranking: Ranking, document: Callable[[int], Any] | None = None) -> list[dict[str, Any]]:
    """``{"index", "relevance_score", "document"?}`` for each place; ``document`` gives what is sent back of one."""
    found: list[dict[str, Any]] = [{"index": place.index, "relevance_score": place.score} for place in ranking]
    if document is not None:
        for result in found:
            result["document"] = document(result["index"])
    return found
