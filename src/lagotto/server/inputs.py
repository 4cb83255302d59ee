"""Check what clients send to be embedded or ranked, and say which item is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.server.errors import EmptyInputError

Item = str | list[int]
"""A text, or the token ids of one."""


def checked_inputs(given: Any, limit: int, param: str = "input") -> list[Item]:
    """One item a text, none of them empty.

    ``given`` is a text, a list of texts, the token ids of one text or a list of such lists. Raises `EmptyInputError`,
    and `InvalidInputError` for more than ``limit``.
    """
    alone = isinstance(given, str) or (given and isinstance(given[0], int))
    items: list[Item] = [given] if alone else list(given)
    if not items:
        raise EmptyInputError(f"{param} is an empty list; give at least one text", param=param)
    check_number(items, limit, param)
    empty = next((i for i, item in enumerate(items) if not item), None)
    if empty is not None:
        raise EmptyInputError(f"{param} {empty} is empty; every text needs at least one character", param=param)
    return items


def check_number(items: Sequence[object], limit: int, param: str) -> None:
    """Raise `InvalidInputError` for more items than one request may have."""
    if len(items) > limit:
        raise InvalidInputError(
            f"{param} holds {len(items)} texts, {limit} are allowed in one request; send several", param=param
        )


def check_query(query: str, documents: Sequence[object], limit: int, param: str = "documents") -> None:
    """Raise for an empty query, for no documents and for too many; documents themselves may be empty."""
    if not query:
        raise EmptyInputError("query is empty; give the text to rank for", param="query")
    if not documents:
        raise EmptyInputError(f"{param} is an empty list; give at least one", param=param)
    check_number(documents, limit, param)


def checked_pairs(given: Sequence[str | Sequence[str]], limit: int, param: str) -> list[tuple[str, str]]:
    """Pairs of texts. Raises `EmptyInputError` for none, `InvalidInputError` for what is no pair, and for too many."""
    if not given:
        raise EmptyInputError(f"{param} is an empty list; give at least one pair", param=param)
    check_number(given, limit, param)
    wrong = next((n for n, pair in enumerate(given) if isinstance(pair, str) or len(pair) != 2), None)
    if wrong is not None:
        raise InvalidInputError(f"{param} {wrong} is no pair; a reranker reads two texts, [query, text]", param=param)
    return [(pair[0], pair[1]) for pair in given]
