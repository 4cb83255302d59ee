"""`ChatEndpoint`: a language model behind an OpenAI-compatible address."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future, InvalidStateError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from http.client import HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from lagotto.core.errors import ClosedError, ConfigError, EndpointError
from lagotto.llm.base import Chat, Reply
from lagotto.llm.completions import from_body, to_body
from lagotto.llm.exchange import Exchange
from lagotto.llm.failures import Failure, from_error, from_response
from lagotto.llm.keys import find_key
from lagotto.llm.target import Target

LengthField = Literal["max_tokens", "max_completion_tokens"]

CONCURRENCY = 4
"""Requests at once by default."""

_OWN = ("model", "messages", "temperature", "max_tokens", "max_completion_tokens", "response_format")
_OWN_TOO = ("logprobs", "top_logprobs", "stream", "n")


class ChatEndpoint:
    """A model behind ``POST {url}/chat/completions``: OpenAI, vLLM, SGLang, llama.cpp, Ollama and many services.

    - ``url``: the base address, as ``http://127.0.0.1:11434/v1``. ``model``: the name the endpoint knows it by.
    - ``api_key``: sent as a bearer token; otherwise the environment's ``LAGOTTO_LLM_API_KEY``, or the variable that
      ``key_variable`` names, or what stands in ``key_file``; none at all where none is set. Never logged or shown.
    - ``temperature``: 0 by default; None sends none, for models that take no other than their own.
    - ``max_tokens``: most tokens of an answer, thinking included, sent as ``length_field``. None sends none.
    - ``extra``: further fields of every request, e.g. ``{"reasoning_effort": "low"}``.
    - ``timeout``: seconds one try may take in all. ``max_retries``: further tries where the endpoint is busy, fails
      or can't be reached, with growing pauses, or those its ``Retry-After`` asks for; one that asks for more than
      ``max_pause`` seconds fails at once. ``concurrency``: requests at once.

    Thread-safe. Redirections are not followed. Raises `ConfigError` for settings that can't be.
    """

    def __init__(
        self,
        url: str,
        model: str,
        *,
        api_key: str | None = None,
        key_variable: str | None = None,
        key_file: str | Path | None = None,
        temperature: float | None = 0.0,
        max_tokens: int | None = 2048,
        length_field: LengthField = "max_tokens",
        extra: Mapping[str, Any] | None = None,
        timeout: float = 120.0,
        max_retries: int = 4,
        max_pause: float = 60.0,
        concurrency: int = CONCURRENCY,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise ConfigError(f"the endpoint's model is {model!r}; give the name that the endpoint knows it by")
        _check_number("timeout", timeout, over=0)
        _check_number("max_pause", max_pause)
        _check_integer("max_retries", max_retries, 0)
        _check_integer("concurrency", concurrency, 1)
        if max_tokens is not None:
            _check_integer("max_tokens", max_tokens, 1)
        if length_field not in ("max_tokens", "max_completion_tokens"):
            raise ConfigError(f"length_field is {length_field!r}; allowed are max_tokens, max_completion_tokens")
        self._target = Target.parse(url)
        self._key = find_key(api_key, key_variable, key_file)
        self._model = model
        self._settings = _settings(model, temperature, extra or {})
        self._max_tokens, self._length_field = max_tokens, length_field
        self._timeout, self._max_retries, self._max_pause = float(timeout), max_retries, float(max_pause)
        self.concurrency = concurrency
        """Requests at once."""
        self._lock = threading.Lock()
        self._closed = False
        self._threads = ThreadPoolExecutor(concurrency, thread_name_prefix="lagotto-llm")

    @property
    def name(self) -> str:
        """The model's name at the endpoint."""
        return self._model

    @property
    def url(self) -> str:
        """The base address."""
        return self._target.base

    @property
    def fingerprint(self) -> str:
        """32 hex digits over address and settings. What is behind the address may change without it."""
        said = [self.url, self._settings, self._max_tokens, self._length_field]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]

    def submit(self, chat: Chat) -> Future[Reply]:
        """Ask, in a thread of the endpoint's own. Cancelling the future ends the connection, if it has one already.

        The future raises `EndpointError` that says what came, with which status, and what to do.
        """
        body = to_body(chat, self._settings, self._length_field, self._max_tokens)
        exchange, answer = Exchange(), Future[Reply]()

        def work() -> None:
            if answer.cancelled():
                return
            try:
                reply = self._complete(exchange, body)
            except Exception as error:
                with suppress(InvalidStateError):  # it was cancelled at this very moment
                    answer.set_exception(error)
            else:
                with suppress(InvalidStateError):
                    answer.set_result(reply)

        with self._lock:
            if self._closed:
                raise ClosedError(f"the endpoint {self.url} was closed")
            self._threads.submit(work)
        answer.add_done_callback(lambda done: exchange.abandon() if done.cancelled() else None)
        return answer

    def close(self) -> None:
        """Wait for what was asked; later calls raise `ClosedError`."""
        with self._lock:
            self._closed = True
        self._threads.shutdown()

    def __enter__(self) -> ChatEndpoint:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"ChatEndpoint({self.url!r}, {self._model!r})"

    def _complete(self, exchange: Exchange, body: bytes) -> Reply:
        tries = 0
        while True:
            found = self._try(exchange, body)
            if isinstance(found, Reply):
                return replace(found, retries=tries)
            tries += 1
            pause = found.pause(tries)
            if not found.passing or tries > self._max_retries or pause > self._max_pause:
                raise self._error(found, tries, pause)
            exchange.pause(pause)

    def _try(self, exchange: Exchange, body: bytes) -> Reply | Failure:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Connection": "close",
            "User-Agent": "lagotto",
        }
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            response = exchange.post(self._target, headers, body, self._timeout)
        except (OSError, HTTPException) as error:
            return from_error(error)
        if response.status != 200:
            return from_response(response)
        try:
            return from_body(response.body)
        except ValueError as error:
            # A gateway's page, or half an answer; where it is neither, the tries are over soon.
            message = f"answered what is no chat completion ({error}); does it speak OpenAI's protocol?"
            return Failure(message, passing=True, status=200)

    def _error(self, failure: Failure, tries: int, pause: float) -> EndpointError:
        times = f" (tried {tries} times)" if tries > 1 else ""
        if failure.passing and pause > self._max_pause:
            times = f"; it asks to come again in {pause:.0f} s, and max_pause is {self._max_pause:g}"
        message = f"{self.url} (model {self._model!r}) {failure.message}{times}"
        if self._key is not None:  # some servers quote the key they refuse
            message = message.replace(self._key, "***")
        return failure.kind(message, endpoint_status=failure.status, retry_after=failure.retry_after)


def _settings(model: str, temperature: float | None, extra: Mapping[str, Any]) -> dict[str, Any]:
    if taken := sorted(set(extra) & {*_OWN, *_OWN_TOO}):
        raise ConfigError(f"extra holds {taken}, which are set otherwise or not for these requests; leave them out")
    settings: dict[str, Any] = {**extra, "model": model}
    if temperature is not None:
        _check_number("temperature", temperature)
        settings["temperature"] = temperature
    try:
        json.dumps(settings, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"extra can't be written as JSON: {error}") from None
    return settings


def _check_number(name: str, value: object, over: float | None = None) -> None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf")
    if not good or value == over:
        raise ConfigError(f"{name} is {value!r}; give a number {'over' if over == 0 else 'of at least'} 0")


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigError(f"{name} is {value!r}; give an integer of at least {least}")
