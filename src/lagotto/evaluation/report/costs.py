"""What systems took, as rows: on a data set, and over several."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lagotto.evaluation.report.summary import results_of
from lagotto.evaluation.results import Report, Result


@dataclass(frozen=True, slots=True)
class CostRow:
    """Costs of a system on one or more data sets; 0 is what was not measured."""

    index_seconds: float
    documents_per_second: float
    """Documents a second while indexing."""
    queries_per_second: float
    memory_models: int
    """Bytes the models take once they are open."""
    memory_working: int
    """Most bytes on top of that while working."""
    memory_peak: int
    """Most bytes of the process in all."""
    document_bytes: float
    """Bytes a document takes in the index, on average."""
    corpus_bytes: int
    """Bytes all documents take."""
    cached: int
    """Items that came from the cache."""
    items: int


def cost_of(report: Report, results: Sequence[Result]) -> CostRow:
    """The costs of some results of one system together: seconds and bytes add up, peaks do not."""
    sizes = {dataset.name: dataset.documents for dataset in report.datasets}
    costs = [result.cost for result in results]
    index_seconds = sum(cost.index_seconds for cost in costs)
    indexed = sum(sizes[result.dataset] for result in results if result.cost.index_seconds)
    in_index = sum(sizes[result.dataset] for result in results if result.cost.vector_bytes)
    corpus_bytes = sum(result.cost.vector_bytes * sizes[result.dataset] for result in results)
    stages = [stage for cost in costs for stage in cost.stages]
    return CostRow(
        index_seconds=index_seconds,
        documents_per_second=indexed / index_seconds if index_seconds else 0.0,
        queries_per_second=_queries_per_second(results),
        memory_models=max((cost.memory_loaded - cost.memory_before for cost in costs if cost.memory_loaded), default=0),
        memory_working=max((cost.memory_peak - cost.memory_loaded for cost in costs if cost.memory_peak), default=0),
        memory_peak=max((cost.memory_peak for cost in costs), default=0),
        document_bytes=corpus_bytes / in_index if in_index else 0.0,
        corpus_bytes=corpus_bytes,
        cached=sum(stage.cached for stage in stages),
        items=sum(stage.items for stage in stages),
    )


def cost_on(report: Report, system: str, datasets: Sequence[str]) -> CostRow:
    """The costs of a system on some data sets together."""
    return cost_of(report, results_of(report, system, datasets))


def _queries_per_second(results: Sequence[Result]) -> float:
    """All queries over all seconds: seconds are 1 / rate for each data set, weighted by its queries."""
    queries = seconds = 0.0
    for result in results:
        rest = [stage for stage in result.cost.stages if not stage.name.startswith("index")]
        taken = sum(stage.seconds for stage in rest)
        queries += taken * result.cost.queries_per_second
        seconds += taken
    return queries / seconds if seconds else 0.0
