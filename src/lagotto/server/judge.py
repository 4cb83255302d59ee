"""`Judge`: a language model elsewhere as a server gives it to its routes: limited, metered, in threads of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from lagotto.batch.long_texts import Truncation
from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.core.judged_values import JudgedRanking, JudgedScores
from lagotto.llm.base import LLM
from lagotto.models.judging.asking import Asker
from lagotto.models.judging.opening import parts_of
from lagotto.models.judging.passages import PassageTruncation
from lagotto.models.judging.reranker import LLMReranker
from lagotto.models.judging.strategies import Pointwise
from lagotto.models.reranker import Reranker
from lagotto.models.score_options import ScoreOptions
from lagotto.server.judge_settings import JudgeSettings
from lagotto.server.record import current_record
from lagotto.server.served import Bound, bounded

_FIELDS = {
    "max_length": "truncate_prompt_tokens",
    "document_max_length": "max_tokens_per_doc",
    "max_windows": "max_chunks_per_doc",
    "overlap": "overlap_tokens",
}
"""What counts tokens of a text, by the names that requests have for it."""


class Judge(LLMReranker):
    """An `LLMReranker` that takes what `Reranker` does, and refuses what only a model in memory can do.

    A judgement takes seconds, and most of that is waiting, so its requests have threads of their own: they neither
    take those of models that compute here nor the event loop's.
    """

    def __init__(self, public: str, llm: LLM, settings: JudgeSettings, bound: Bound, **asking: Any) -> None:
        super().__init__(llm, **asking)
        self.settings = settings
        self._public = public
        self._bound = bound
        self.threads = ThreadPoolExecutor(settings.max_requests, thread_name_prefix="lagotto-judge")
        """Where its requests wait for answers, one a thread."""

    def score(
        self,
        pairs: Iterable[Sequence[str]],
        *,
        truncation: Truncation | None = None,
        options: ScoreOptions | None = None,
        max_length: int | None = None,
        **how: Any,
    ) -> JudgedScores:
        """Judgements of pairs, see `LLMReranker.score`. Raises `InvalidInputError` for what it can't do, too."""
        if not isinstance(self.strategy, Pointwise):
            raise InvalidInputError(
                f"model {self._public!r} orders documents against each other ({self.strategy.name}) and has no score "
                "for a pair alone; ask it for a ranking",
                param="model",
            )
        self._check(options, max_length=max_length)
        given = list(pairs)
        self._read((text for pair in given for text in pair), len(given), per_item=2)
        return super().score(given, truncation=self._side(truncation), **how)

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        truncation: Truncation | None = None,
        options: ScoreOptions | None = None,
        max_length: int | None = None,
        document_max_length: int | None = None,
        max_windows: int | None = None,
        overlap: int | None = None,
        **how: Any,
    ) -> JudgedRanking:
        """Documents in its order, see `LLMReranker.rank`. Raises `InvalidInputError` for what it can't do, too."""
        self._check(
            options,
            max_length=max_length,
            document_max_length=document_max_length,
            max_windows=max_windows,
            overlap=overlap,
        )
        texts = list(documents)
        self._read([query], 0)
        self._read(texts, len(texts))
        return super().rank(query, texts, truncation=self._side(truncation), **how)

    def close(self) -> None:
        """Close the connection to the model; later calls raise `ClosedError`."""
        self.threads.shutdown(wait=False)
        super().close()

    def _check(self, options: ScoreOptions | None, **limits: int | None) -> None:
        if options is not None and (given := options.given()):
            raise InvalidInputError(
                f"model {self._public!r} is a language model elsewhere and reads no {given[0]}; it has no options",
                param=given[0],
            )
        counted = next((name for name, value in limits.items() if value is not None), None)
        if counted is not None:
            raise InvalidInputError(
                f"model {self._public!r} is a language model elsewhere, whose tokens are not counted here: leave out "
                f"{_FIELDS[counted]}; its operator bounds documents in characters",
                param=_FIELDS[counted],
            )

    def _side(self, truncation: Truncation | None) -> PassageTruncation | None:
        if truncation == "left":
            raise InvalidInputError(
                f"model {self._public!r} reads the beginning of a long document; it can't be cut on the left",
                param="truncation_direction",
            )
        return truncation

    def _read(self, texts: Iterable[str], count: int, per_item: int = 1) -> None:
        """Hold texts against the server's bound, and count them for the request."""
        for _ in bounded(texts, self._bound(), per_item):
            continue
        if (record := current_record()) is not None:
            record.texts += count

    @contextmanager
    def _asking(self) -> Iterator[Asker]:
        record = current_record()
        with super()._asking() as asker:
            if record is not None and record.submitted is None:
                record.submitted = time.monotonic()
            try:
                yield asker
            finally:
                if record is not None:
                    report = asker.report
                    record.computed = time.monotonic()
                    record.tokens += report.prompt_tokens + report.completion_tokens
                    record.calls += report.calls
                    record.flaws += report.flaws


AnyReranker = Reranker | Judge


def open_judge(public: str, settings: JudgeSettings, bound: Bound) -> Judge:
    """A judge as the settings describe it; nothing is asked. Raises `ConfigError` for what can't be."""
    try:
        endpoint, asking = parts_of(settings.url, settings.model, settings.strategy, settings.options())
    except (ConfigError, InvalidInputError) as error:
        raise ConfigError(f"model {public!r}: {error}") from None
    try:
        return Judge(public, endpoint, settings, bound, **asking)
    except InvalidInputError as error:
        endpoint.close()
        raise ConfigError(f"model {public!r}: {error}") from None
