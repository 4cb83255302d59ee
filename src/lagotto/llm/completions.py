"""Chat completions on the wire: a `Chat` to JSON, JSON to a `Reply`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from lagotto.llm.base import Chat, Reply


def to_body(chat: Chat, settings: Mapping[str, Any], length_field: str, max_tokens: int | None) -> bytes:
    """The request in JSON. ``settings`` are further fields; ``length_field`` is the endpoint's name of `max_tokens`."""
    body: dict[str, Any] = {
        **settings,
        "messages": [{"role": turn.role, "content": turn.content} for turn in chat.messages],
    }
    limit = max_tokens if chat.max_tokens is None else chat.max_tokens
    if limit is not None:
        body[length_field] = limit
    if chat.response_format is not None:
        body["response_format"] = chat.response_format
    if chat.top_logprobs:
        body |= {"logprobs": True, "top_logprobs": chat.top_logprobs}
    # Lone surrogates have no UTF-8; they are sent as the escapes that JSON has for them.
    return json.dumps(body, ensure_ascii=True).encode("ascii")


def from_body(body: bytes) -> Reply:
    """The answer. Raises ValueError that says what is wrong with it, where it is none."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from None
    choices = found.get("choices") if isinstance(found, dict) else None
    if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
        raise ValueError("no choices in it")
    choice = choices[0]
    message = choice.get("message")
    text = message.get("content") if isinstance(message, dict) else None
    if not isinstance(message, dict) or not isinstance(text, str | None):
        raise ValueError("no message with a text in its first choice")
    finish = choice.get("finish_reason")
    usage = found.get("usage")
    counts = usage if isinstance(usage, dict) else {}
    return Reply(
        text or "",  # null for a model that refuses, or that spent all its tokens on thinking
        finish if isinstance(finish, str) else None,
        _first_token(choice.get("logprobs")),
        _count(counts.get("prompt_tokens")),
        _count(counts.get("completion_tokens")),
    )


def _first_token(logprobs: Any) -> tuple[tuple[str, float], ...] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list) or not content or not isinstance(content[0], dict):
        return None
    listed = content[0].get("top_logprobs")
    if not isinstance(listed, list):
        return None
    found = tuple(
        (item["token"], float(item["logprob"]))
        for item in listed
        if isinstance(item, dict)
        and isinstance(item.get("token"), str)
        and isinstance(item.get("logprob"), int | float)
        and math.isfinite(item["logprob"])
    )
    return found or None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
