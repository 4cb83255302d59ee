"""`Ranker`: what every reranker offers, whether it computes here or asks a language model elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from lagotto.core.values import Ranking, Scores
from lagotto.models.progress import Progress


class Ranker(Protocol):
    """The common surface of `Reranker` and `LLMReranker`; each takes further arguments of its own."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal fingerprints promise equal answers; of a model elsewhere, as far as its address and name promise it."""
        ...

    def score(self, pairs: Iterable[Sequence[str]], *, normalize: bool = False, progress: Progress = False) -> Scores:
        """Scores of (query, document) pairs, in their order."""
        ...

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        normalize: bool = True,
        progress: Progress = False,
    ) -> Ranking:
        """Documents by relevance to the query, best first."""
        ...

    def close(self) -> None:
        """Free what it holds; later calls raise `ClosedError`."""
        ...
