"""Benchmarks that ir_datasets knows: BEIR, MS MARCO, TREC Deep Learning, MIRACL.

It downloads from the publishers, checks what it got, and keeps it in ``$IR_DATASETS_HOME`` (``~/.ir_datasets``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lagotto.core.errors import MissingDependencyError
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Judgement, Query, Source, UnreachableError


def open_ir_datasets(benchmark: Benchmark, offline: bool) -> Source:
    """The source of a benchmark whose argument ``dataset`` is a name in ir_datasets."""
    name = benchmark.arguments["dataset"]
    dataset, origin = load_dataset(name, offline)
    return Source(
        origin=origin,
        documents=lambda: map(_document, fetched(name, dataset.docs_iter)),
        queries=lambda: (Query(query.query_id, query.text) for query in fetched(name, dataset.queries_iter)),
        judgements=lambda: (
            Judgement(qrel.query_id, qrel.doc_id, qrel.relevance) for qrel in fetched(name, dataset.qrels_iter)
        ),
    )


def load_dataset(name: str, offline: bool) -> tuple[Any, str]:
    """The data set of that name, and what to say of where it comes from.

    Raises `UnreachableError` offline: ir_datasets fetches whatever it misses and can't be told not to.
    """
    if offline:
        raise UnreachableError(
            _source(name),
            "offline mode is on (HF_HUB_OFFLINE or offline=True), in which ir_datasets, which can't be kept from "
            "connecting, is not asked",
        )
    try:
        import ir_datasets
    except ImportError:
        raise MissingDependencyError(
            'this benchmark is fetched by ir_datasets: pip install "lagotto[benchmarks]"'
        ) from None
    try:
        return ir_datasets.load(name), f"ir_datasets {ir_datasets.__version__}: {name}"
    except KeyError:
        raise MissingDependencyError(
            f'ir_datasets {ir_datasets.__version__} does not know {name!r}: pip install -U "lagotto[benchmarks]"'
        ) from None


def fetched(name: str, records: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    """Records of a data set. Raises `UnreachableError` for whatever keeps ir_datasets from giving them."""
    try:
        yield from records()
    except Exception as error:  # requests' errors, bare RuntimeErrors, OSError, ValueError and ir_datasets' own
        text = str(error).strip().splitlines()
        raise UnreachableError(
            _source(name), f"ir_datasets could not get it ({type(error).__name__}: {text[0] if text else ''})"
        ) from error


def _source(name: str) -> str:
    return f"{name} in ir_datasets"


def _document(record: Any) -> Document:
    """Title and text, which MS MARCO's documents call their body; addresses, authors and the like are left out."""
    return Document(
        record.doc_id, record.body if hasattr(record, "body") else record.text, getattr(record, "title", "")
    )
