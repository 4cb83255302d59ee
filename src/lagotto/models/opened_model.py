"""`OpenedModel`: what any model in memory tells of itself, and its end."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.schema import ModelCard
from lagotto.engines.base import EngineInfo, QueueStats
from lagotto.models.loading import Loaded


class OpenedModel:
    """What `Embedder` and `Reranker` have in common."""

    _loaded: Loaded

    @property
    def name(self) -> str:
        """The name it was opened by."""
        return self._loaded.checkpoint.name

    @property
    def card(self) -> ModelCard:
        """What the model is: pooling, prompts, lengths, dimensions."""
        return self._loaded.checkpoint.card

    @property
    def adapters(self) -> tuple[str, ...]:
        """Names of its live adapters, for ``adapter=``."""
        return tuple(self._loaded.adapters)

    @property
    def max_length(self) -> int:
        """Tokens a text, or query and document together, may have, special tokens included."""
        return self._loaded.max_length

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's own tokenizer."""
        return self._loaded.tokenizer

    @property
    def engine(self) -> EngineInfo:
        """What computes: engine, device, precision, threads."""
        return self._loaded.engine.info

    def stats(self) -> QueueStats:
        """What waits in front of the engine, and what it has computed."""
        return self._loaded.engine.stats()

    def close(self) -> None:
        """Finish what was started and free the weights; later calls raise `ClosedError`."""
        self._loaded.engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
