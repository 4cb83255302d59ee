"""Which dialect a request speaks, as far as its path tells."""

from __future__ import annotations

from typing import Literal, get_args

from starlette.requests import HTTPConnection

Dialect = Literal["openai", "cohere", "jina", "voyage", "tei", "vllm", "infinity", "any"]
"""``any`` is for paths that several dialects share: its errors have the fields of all of them."""

_PATHS: dict[str, Dialect] = {
    "/v1/rerank": "any",
    "/rerank": "any",
    "/v1/embed": "cohere",
    "/v2/embed": "cohere",
    "/v2/rerank": "cohere",
    "/score": "vllm",
    "/v1/score": "vllm",
    "/classify": "vllm",
    "/pooling": "vllm",
    "/embeddings": "infinity",
    "/": "tei",
    "/embed": "tei",
    "/embed_all": "tei",
    "/embed_sparse": "tei",
    "/predict": "tei",
    "/similarity": "tei",
    "/tokenize": "tei",
    "/decode": "tei",
    "/info": "tei",
    "/ping": "tei",
}


def dialect_of_path(path: str) -> Dialect:
    """The dialect of a path: by its first part (``/jina/v1/rerank``), by the whole of it, else OpenAI's.

    >>> dialect_of_path("/jina/v1/rerank"), dialect_of_path("/embed"), dialect_of_path("/nowhere")
    ('jina', 'tei', 'openai')
    """
    first = path.split("/", 2)[1] if path.startswith("/") else ""
    fixed = next((name for name in get_args(Dialect) if name == first and name != "any"), None)
    return fixed or _PATHS.get(path, "openai")


def dialect_of(connection: HTTPConnection) -> Dialect:
    """The dialect a request was found to speak, or that of its path."""
    found: Dialect = getattr(connection.state, "dialect", None) or dialect_of_path(connection.url.path)
    return found


def speak(connection: HTTPConnection, dialect: Dialect) -> None:
    """Note which dialect a request speaks, where its body told; errors from here on have that shape."""
    connection.state.dialect = dialect
