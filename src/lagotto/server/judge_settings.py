"""`JudgeSettings`: the ``llm`` table of a ``[[model]]``: a language model elsewhere that is asked to rerank."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from lagotto.models.judging.answers import AnswerFormat
from lagotto.models.judging.passages import PassageTruncation
from lagotto.models.judging.prompts import Language
from lagotto.models.judging.reranker import Malformed
from lagotto.models.judging.strategies import Aggregation, Judgement, StrategyName

MAX_REQUESTS = 64
_OWN = ("url", "model", "strategy", "max_requests")
_PRIVATE = ("url", "key_variable", "key_file", "extra")


class JudgeSettings(BaseModel):
    """Names and defaults are those of the strategies, `LLMReranker` and `ChatEndpoint`; None leaves a thing to them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    """The endpoint's base address."""
    model: str
    """The name the endpoint knows the model by."""
    key_variable: str | None = None
    """Environment variable that holds the key."""
    key_file: Path | None = None
    """File that holds it."""
    strategy: StrategyName = "listwise"
    window: int | None = None
    step: int | None = None
    passes: int | None = None
    permutations: int | None = None
    aggregation: Aggregation | None = None
    seed: int | None = None
    both_orders: bool | None = None
    max_calls: int | None = None
    judgement: Judgement | None = None
    answers: AnswerFormat | None = None
    language: Language | None = None
    max_characters: int | None = None
    truncation: PassageTruncation | None = None
    reasks: int | None = None
    malformed: Malformed | None = None
    reasoning_model: bool | None = None
    """Send what OpenAI's reasoning models take: no temperature, and ``max_completion_tokens``."""
    temperature: float | None = None
    max_tokens: int | None = None
    extra: dict[str, Any] | None = None
    timeout: float | None = None
    max_retries: int | None = None
    max_pause: float | None = None
    concurrency: int | None = Field(default=None, ge=1)
    """Requests to the endpoint at once."""
    max_requests: int = Field(default=MAX_REQUESTS, ge=1)
    """Requests of clients that are being answered at once; one more is answered 429."""

    def options(self) -> dict[str, Any]:
        """What `parts_of` takes."""
        return self.model_dump(exclude=set(_OWN))

    def public(self) -> dict[str, Any]:
        """What may be shown: neither the address nor what concerns the key, nor what is sent along."""
        return self.model_dump(mode="json", exclude=set(_PRIVATE), exclude_none=True)
