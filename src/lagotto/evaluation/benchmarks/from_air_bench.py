"""AIR-Bench: questions that a model wrote about documents of many domains and languages.

Judgements of the test queries are not published, so only the development queries can be measured here.
"""

from __future__ import annotations

from collections.abc import Iterator

from lagotto.evaluation.benchmarks.hub import fetch_split, rows
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Judgement, Query, Source


def open_air_bench(benchmark: Benchmark, offline: bool) -> Source:
    """The source of a data set: documents and queries in one repository, judgements in another."""
    repository, version = benchmark.arguments["repository"], benchmark.arguments["version"]
    dataset = benchmark.arguments["dataset"].replace("-", "_")
    judged = fetch_split(benchmark.arguments["judgements"], version, f"qrels_{dataset}_{benchmark.split}", offline)
    asked = fetch_split(repository, version, f"queries_{dataset}_{benchmark.split}", offline)

    def documents() -> Iterator[Document]:
        corpus = fetch_split(repository, version, f"corpus_{dataset}", offline)
        for key, text in rows(corpus.files, "id", "text"):
            yield Document(str(key), text)

    def queries() -> Iterator[Query]:
        for key, text in rows(asked.files, "id", "text"):
            yield Query(str(key), text)

    def judgements() -> Iterator[Judgement]:
        for query, document, relevance in rows(judged.files, "qid", "docid", "relevance"):
            yield Judgement(str(query), str(document), int(relevance))

    return Source(f"{asked.origin}, {version}", documents, queries, judgements)
