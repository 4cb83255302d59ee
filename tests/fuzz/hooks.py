"""What schemathesis can't know: which models are served, and what makes a request one that is computed.

Loaded by schemathesis itself. In rounds that try what is allowed (``FUZZ_MODE=positive``) most requests are mended
further, so that they reach the models: no schema tells that a text is not empty, that two wishes contradict each other,
or which token ids are a model's own.
"""

from __future__ import annotations

import os
import zlib
from typing import Any

import schemathesis

EMBEDDERS, RERANKERS = ("bert", "m3"), ("ranker",)
RANKING = ("rerank", "score", "predict")
NEEDED = {
    "model",
    "input",
    "inputs",
    "texts",
    "query",
    "documents",
    "ids",
    "input_type",
    "source_sentence",
    "sentences",
}
"""Fields that requests can't be without; most others are left out, so that few wishes meet."""
SIDES = ("queries", "documents", "items", "data_1", "data_2", "text_1", "text_2")
"""Fields of vLLM's ``/score``, of which two are right and all others too many."""
SPECIAL = (2, 3)
"""What stands around the token ids of the tiny models' own tokenizers."""
VOCABULARY = 150


@schemathesis.hook
def map_body(context: Any, body: Any) -> Any:
    """Names of models become those of one that answers on this path, but for some; allowed bodies are mended."""
    if not isinstance(body, dict):
        return body
    path, chance = context.operation.path, _number(repr(body))
    if os.environ.get("FUZZ_MODE") == "positive" and chance % 8:
        body = _mended(path, body, chance)
    if isinstance(body.get("model"), str):
        body = {**body, "model": _served(path, body["model"])}
    return body


@schemathesis.hook
def map_query(context: Any, query: Any) -> Any:
    """The same for a name in the address."""
    if isinstance(query, dict) and isinstance(query.get("model"), str):
        return {**query, "model": _served(context.operation.path, query["model"])}
    return query


def _served(path: str, given: str) -> str:
    number = _number(given)
    if number % 8 == 0:
        return given
    right = RERANKERS if path.endswith(RANKING) else EMBEDDERS
    names = (*right, *right, *right, *EMBEDDERS, *RERANKERS)  # a model of the other kind now and then
    return names[number // 8 % len(names)]


def _mended(path: str, body: dict[str, Any], chance: int) -> dict[str, Any]:
    kept = {name: value for name, value in body.items() if name in NEEDED or _number(f"{name}{chance}") % 3 == 0}
    if path.endswith("score"):
        kept = {name: value for name, value in kept.items() if name not in SIDES}
        kept |= {"text_1": "a dog", "text_2": [str(value)[:50] or "a" for value in body.values()] or "a"}
    if path.endswith("predict"):
        kept["inputs"] = [["a dog", repr(body)[:200]], ["a cat", "b"]]
    if path.endswith("v2/embed"):  # one of two
        kept.pop("inputs", None)
        kept.setdefault("texts", ["a"])
    return {name: _filled(value, path) if name in NEEDED else value for name, value in kept.items()}


def _filled(value: Any, path: str) -> Any:
    """A text or texts without empty ones, and without halves of characters; ids between a model's special tokens."""
    if isinstance(value, str):
        return value.encode("utf-8", "ignore").decode() or "a"
    if isinstance(value, dict):
        return {name: _filled(inner, path) for name, inner in value.items()}
    if isinstance(value, list) and all(isinstance(item, int) for item in value) and value:
        return [SPECIAL[0], *(item % VOCABULARY for item in value), SPECIAL[1]]
    return [_filled(item, path) for item in value] or ["a"] if isinstance(value, list) else value


def _number(text: str) -> int:
    return zlib.crc32(text.encode("utf-8", "surrogatepass"))
