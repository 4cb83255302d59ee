"""What every dialect's rerank route does: a query and documents to a ranking."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

from lagotto.batch.long_texts import Truncation
from lagotto.core.judged_values import JudgedRanking, JudgedScores
from lagotto.core.values import Ranking, Scores
from lagotto.models.score_options import ScoreOptions
from lagotto.server.judge import AnyReranker
from lagotto.server.replies import usage

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


def rank(model: AnyReranker, query: str, texts: Sequence[str], wish: RankWish) -> Ranking:
    """Documents, best first."""
    asked: dict[str, Any] = {
        field.name: value for field in fields(wish) if (value := getattr(wish, field.name)) is not None
    }
    return model.rank(query, texts, **asked)


@dataclass(frozen=True, slots=True)
class Spent:
    """Tokens that an answer took."""

    read: int
    written: int = 0
    """By a language model elsewhere, which answers in words."""

    def usage(self) -> dict[str, int]:
        """As OpenAI counts them."""
        return usage(self.read, self.written)

    @property
    def total(self) -> int:
        """All of them."""
        return self.read + self.written


def spent(found: Ranking | Scores) -> Spent:
    """What a ranking or scores took; of a language model elsewhere, what its endpoint told."""
    if isinstance(found, JudgedRanking | JudgedScores):
        return Spent(found.report.prompt_tokens, found.report.completion_tokens)
    return Spent(found.tokens if isinstance(found, Ranking) else int(found.tokens.sum()))


def warnings_of(ranking: Ranking) -> list[str]:
    """What a client should know of a ranking, in sentences."""
    unread = ranking.report.unread if isinstance(ranking, JudgedRanking) else 0
    if not unread:
        return []
    return [f"the language model's answers to {unread} questions can't be read; their documents keep their old order"]


def results(ranking: Ranking, document: Callable[[int], Any] | None = None) -> list[dict[str, Any]]:
    """``{"index", "relevance_score", "document"?}`` for each place; ``document`` gives what is sent back of one."""
    found: list[dict[str, Any]] = [{"index": place.index, "relevance_score": place.score} for place in ranking]
    if document is not None:
        for result in found:
            result["document"] = document(result["index"])
    return found
