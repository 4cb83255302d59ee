"""What loaders give: documents, queries and judgements, each to be gone through once, of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import NamedTuple


class Document(NamedTuple):
    """One document."""

    id: str
    text: str
    title: str = ""


class Query(NamedTuple):
    """One query."""

    id: str
    text: str
    excluded: tuple[str, ...] = ()
    """Documents that are no hits for it."""
    answers: tuple[str, ...] = ()
    """Strings, one of which a good passage contains."""


class Judgement(NamedTuple):
    """One document judged for one query; above 0 is relevant."""

    query: str
    document: str
    relevance: int


@dataclass(frozen=True, slots=True)
class Source:
    """A benchmark as its publisher has it. Nothing big is fetched before it is asked for."""

    origin: str
    """Library or repository it comes from, with its version or commit."""
    documents: Callable[[], Iterable[Document]]
    queries: Callable[[], Iterable[Query]]
    judgements: Callable[[], Iterable[Judgement]]
    """Empty where queries bring answers instead."""


class UnreachableError(Exception):
    """A source's files are neither here nor can be fetched; `prepare` tells the user what to do about it."""

    def __init__(self, source: str, reason: str) -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        """What was to be fetched, and from where."""
        self.reason = reason
        """Why it was not, as the end of a sentence."""
