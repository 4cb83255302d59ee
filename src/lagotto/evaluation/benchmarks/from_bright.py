"""BRIGHT: queries that need reasoning, over passages (``bright``) or whole pages (``bright-long``)."""

from __future__ import annotations

from collections.abc import Iterator

from lagotto.evaluation.benchmarks.hub import fetch_split, rows
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Judgement, Query, Source

_NONE = "N/A"
"""Stands in a list of ids for an empty list."""


def open_bright(benchmark: Benchmark, offline: bool) -> Source:
    """The source of a domain; the argument ``examples`` says whether queries stand as asked or as a model rewrote."""
    repository, domain, gold = (benchmark.arguments[key] for key in ("repository", "domain", "gold"))
    examples = fetch_split(repository, benchmark.arguments["examples"], domain, offline)

    def documents() -> Iterator[Document]:
        corpus = fetch_split(repository, benchmark.arguments["documents"], domain, offline)
        for key, text in rows(corpus.files, "id", "content"):
            yield Document(str(key), text)

    def queries() -> Iterator[Query]:
        for key, text, excluded in rows(examples.files, "id", "query", "excluded_ids"):
            yield Query(str(key), text, excluded=tuple(_ids(excluded)))

    def judgements() -> Iterator[Judgement]:
        for key, relevant in rows(examples.files, "id", gold):
            for document in _ids(relevant):
                yield Judgement(str(key), document, 1)

    return Source(examples.origin, documents, queries, judgements)


def _ids(listed: list[object]) -> Iterator[str]:
    return (str(key) for key in listed if key != _NONE)
