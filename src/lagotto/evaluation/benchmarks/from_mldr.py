"""MLDR: long documents in 13 languages, and questions that a model wrote about one paragraph of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lagotto.evaluation.benchmarks.hub import fetch, rows
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Judgement, Query, Source


def open_mldr(benchmark: Benchmark, offline: bool) -> Source:
    """The source of a language. Its files hold each question with its documents, as Tevatron's do."""
    repository = benchmark.arguments["repository"]
    examples = fetch(repository, [benchmark.arguments["examples"]], offline)

    def documents() -> Iterator[Document]:
        corpus = fetch(repository, [benchmark.arguments["documents"]], offline)
        for key, text in rows(corpus.files, "docid", "text"):
            yield Document(str(key), text)

    def queries() -> Iterator[Query]:
        for key, text in rows(examples.files, "query_id", "query"):
            yield Query(str(key), text)

    def judgements() -> Iterator[Judgement]:
        names = ("query_id", "positive_passages", "negative_passages")
        for key, positives, negatives in rows(examples.files, *names):
            yield from _judged(str(key), negatives, 0)
            yield from _judged(str(key), positives, 1)

    return Source(examples.origin, documents, queries, judgements)


def _judged(query: str, passages: list[dict[str, Any]], relevance: int) -> Iterator[Judgement]:
    for passage in passages:
        yield Judgement(query, str(passage["docid"]), relevance)
