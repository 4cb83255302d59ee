"""`LLM`: what a language model that can be asked looks like from above."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Chat:
    """One request: a conversation that the model is to go on with, and the form its answer must have."""

    messages: tuple[Message, ...]
    response_format: Mapping[str, Any] | None = None
    """OpenAI's ``response_format``; None asks for plain text."""
    top_logprobs: int = 0
    """How many of the likeliest first tokens are wanted with their log-probabilities; 0 for none."""
    max_tokens: int | None = None
    """Tokens the answer may have; None leaves it to the model's own setting."""

    def then(self, *messages: Message) -> Chat:
        """The same request with further turns."""
        return replace(self, messages=(*self.messages, *messages))


@dataclass(frozen=True, slots=True)
class Reply:
    """What the model answered."""

    text: str
    finish: str | None = None
    """``"stop"``, ``"length"`` (cut off at ``max_tokens``) or another reason, as the endpoint names it."""
    first_token: tuple[tuple[str, float], ...] | None = None
    """The likeliest first tokens and their log-probabilities; None where the endpoint gave none."""
    prompt_tokens: int | None = None
    """None where the endpoint told no ``usage``."""
    completion_tokens: int | None = None
    retries: int = 0
    """How often the request had to be sent again."""


class LLM(Protocol):
    """A language model. Thread-safe; bounds by itself how many requests run at once."""

    @property
    def name(self) -> str:
        """What reports call it."""
        ...

    @property
    def fingerprint(self) -> str:
        """Equal for models that are expected to answer alike: results are kept under it."""
        ...

    def submit(self, chat: Chat) -> Future[Reply]:
        """Ask. Cancelling the future, which works until it is done, gives up the request.

        The future raises `EndpointError`. Raises `ClosedError` after `close`.
        """
        ...

    def close(self) -> None:
        """Finish what was asked and free what it holds; later calls raise `ClosedError`."""
        ...
