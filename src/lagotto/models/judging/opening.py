"""Open an `LLMReranker` from flat options, as a command line or a file says them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.llm.endpoint import ChatEndpoint
from lagotto.models.judging.reranker import LLMReranker
from lagotto.models.judging.strategies import make_strategy

_ENDPOINT = (
    *("key_variable", "key_file", "temperature", "max_tokens", "extra"),
    *("timeout", "max_retries", "max_pause", "concurrency"),
)
_ASKING = ("answers", "language", "max_characters", "truncation", "reasks", "malformed")


def open_llm_reranker(url: str, model: str, strategy: str, options: Mapping[str, Any]) -> LLMReranker:
    """A reranker that asks a model at an address; ``options`` as `parts_of` has them, and its errors."""
    endpoint, asking = parts_of(url, model, strategy, options)
    try:
        return LLMReranker(endpoint, **asking)
    except BaseException:
        endpoint.close()
        raise


def parts_of(url: str, model: str, strategy: str, options: Mapping[str, Any]) -> tuple[ChatEndpoint, dict[str, Any]]:
    """(the endpoint, the other arguments of `LLMReranker`). Options that are None are as their classes have them.

    Options are those of the strategy, some of `LLMReranker` and `ChatEndpoint`, and ``reasoning_model``: True sends
    what OpenAI's reasoning models take, no temperature and ``max_completion_tokens``. Raises `InvalidInputError` and
    `ConfigError` for what can't be.
    """
    said = {name: value for name, value in options.items() if value is not None}
    reasoning = said.pop("reasoning_model", False)
    endpoint = {name: said.pop(name) for name in _ENDPOINT if name in said}
    asking = {name: said.pop(name) for name in _ASKING if name in said}
    chosen = make_strategy(strategy, said)
    if reasoning:
        if "temperature" in endpoint:
            raise InvalidInputError("temperature and reasoning_model were given; reasoning models take no temperature")
        endpoint |= {"temperature": None, "length_field": "max_completion_tokens"}
    return ChatEndpoint(url, model, **endpoint), {"strategy": chosen, **asking}
