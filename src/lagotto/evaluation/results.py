"""The values an evaluation gives: `Report`, and the `Result` of each system on each data set.

Plain frozen dataclasses. `Report.to_dict` is what ``report.json`` holds; nothing in it needs Lagotto to be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError

Kind = Literal["retrieval", "reranking", "sts", "bitext", "pair_classification", "mteb"]
"""What a data set asks of a system; ``mteb`` is a task that mteb scores itself."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean (or another statistic) with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Stage:
    """Work of one kind: embedding documents, embedding queries, searching, reranking ...

    Seconds of parts that came from the cache are those they took when they were computed.
    """

    name: str
    seconds: float
    items: int
    """Documents, queries or pairs."""
    tokens: int = 0
    """Tokens the model saw; 0 for a stage without a model."""
    cached: int = 0
    """How many of the items came from the cache."""

    @property
    def items_per_second(self) -> float:
        """Documents, queries or pairs a second; 0 where nothing was measured."""
        return self.items / self.seconds if self.seconds else 0.0

    @property
    def tokens_per_second(self) -> float:
        """Tokens a second; 0 where no model ran."""
        return self.tokens / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """What a result took."""

    stages: tuple[Stage, ...] = ()
    vector_bytes: int = 0
    """Bytes one document takes in the index, over all legs: its vectors, its share of BM25's tables."""
    memory_before: int = 0
    """Resident bytes of the process before the models were opened."""
    memory_loaded: int = 0
    """Resident bytes with the models open."""
    memory_peak: int = 0
    """Most resident bytes seen while working."""

    @property
    def index_seconds(self) -> float:
        """Seconds until the corpus can be searched."""
        return sum(stage.seconds for stage in self.stages if stage.name.startswith("index"))

    @property
    def queries_per_second(self) -> float:
        """Queries a second from text to final ranking: everything but the index; 0 where nothing was measured."""
        rest = [stage for stage in self.stages if not stage.name.startswith("index")]
        seconds = sum(stage.seconds for stage in rest)
        # Reranking and rescoring count pairs.
        queries = max((stage.items for stage in rest if not stage.name.startswith(("rerank", "rescore"))), default=0)
        return queries / seconds if seconds else 0.0


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values between edges; ``edges`` has one number more than ``counts``."""

    edges: tuple[float, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Lengths:
    """How long the texts were for one model."""

    what: str
    """``documents`` or ``queries``, and the model's name."""
    limit: int
    """Tokens the model was allowed to see of each."""
    mean: float
    longest: int
    """Tokens of the longest, as the model saw it."""
    truncated: int
    """Texts that lost a part."""
    texts: int
    histogram: Histogram


@dataclass(frozen=True, slots=True)
class ScoreSpread:
    """How scores of relevant and of other hits lie, to choose a threshold by."""

    relevant: Histogram
    other: Histogram
    """Hits without a positive judgement; same edges."""
    best_threshold: float
    """Score at and above which calling a hit relevant gives the best F1."""
    best_f1: float


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """Ranked documents of every query, as arrays: 8 bytes a hit."""

    queries: tuple[str, ...]
    """Query ids."""
    documents: NDArray[np.int32]
    """(queries, k) places of the documents in ``ids``, best first; -1 behind the last hit."""
    scores: NDArray[np.float32]
    """(queries, k); higher is better."""
    ids: Sequence[str]
    """Document ids."""

    def hits(self, row: int) -> Iterator[tuple[str, float]]:
        """(document id, score) of the query at this place, best first."""
        for document, score in zip(self.documents[row].tolist(), self.scores[row].tolist(), strict=True):
            if document >= 0:
                yield self.ids[document], score

    def to_dict(self) -> dict[str, dict[str, float]]:
        """query id -> document id -> score, as pytrec_eval and ranx take it."""
        return {query: dict(self.hits(row)) for row, query in enumerate(self.queries)}


@dataclass(frozen=True, slots=True)
class Result:
    """One system on one data set."""

    system: str
    dataset: str
    metrics: Mapping[str, Estimate]
    """By the measure's name (``ndcg@10``), the primary measure first."""
    per_query: Mapping[str, Mapping[str, float]]
    """Measure -> query id -> value; empty for measures that are no mean (Spearman, average precision over pairs)."""
    cost: Cost
    lengths: tuple[Lengths, ...] = ()
    scores: ScoreSpread | None = None
    warnings: tuple[str, ...] = ()
    run: Run | None = field(default=None, compare=False, repr=False)
    """The ranking itself; left out of `Report.to_dict`, since it has files of its own."""

    def to_dict(self) -> dict[str, Any]:
        """Everything but the run, as JSON can hold it."""
        plain = {name: getattr(self, name) for name in ("system", "dataset", "warnings")}
        return plain | {
            "metrics": {name: asdict(value) for name, value in self.metrics.items()},
            "per_query": {name: dict(values) for name, values in self.per_query.items()},
            "cost": asdict(self.cost),
            "lengths": [asdict(item) for item in self.lengths],
            "scores": None if self.scores is None else asdict(self.scores),
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A system against the baseline on one data set (or on the mean of several), by a paired randomisation test."""

    dataset: str
    measure: str
    baseline: str
    system: str
    difference: Estimate
    """System minus baseline."""
    p_value: float
    p_holm: float
    """Corrected for all comparisons of this measure in the report (Holm 1979)."""
    wins: int
    """Queries on which the system is better."""
    losses: int
    ties: int

    @property
    def significant(self) -> bool:
        """At the 5 % level, after correction."""
        return self.p_holm < 0.05


@dataclass(frozen=True, slots=True)
class Hit:
    """A document in an `Example`."""

    document: str
    text: str
    """The beginning of the document's text."""
    score: float | None
    """None for a relevant document that was not found."""
    relevance: int | None
    """The judgement; None without one."""


@dataclass(frozen=True, slots=True)
class Example:
    """One query on which systems differ, with what each of them found."""

    query: str
    """Query id."""
    text: str
    values: Mapping[str, float]
    """System -> value of the primary measure."""
    hits: Mapping[str, tuple[Hit, ...]]
    """System -> its best hits."""
    relevant: tuple[Hit, ...]
    """The documents judged relevant, the most relevant first."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """What was evaluated on."""

    name: str
    kind: Kind
    split: str
    documents: int
    queries: int
    """Queries with judgements, or pairs."""
    judgements: int
    fingerprint: str
    """Hex digits over texts, queries and judgements."""
    language: str = ""
    """ISO code of its queries, where it is known."""
    source: str = ""
    """Folder or benchmark it came from."""
    group: str | None = None
    """Name under which its figures are averaged with others', e.g. ``cqadupstack``."""
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What was evaluated."""

    name: str
    description: Mapping[str, Any]
    """The pipeline, in full: what a pipeline file would say."""
    models: Mapping[str, str] = field(default_factory=dict)
    """Model name -> fingerprint, for every model in it."""


@dataclass(frozen=True, slots=True)
class Report:
    """Systems on data sets, compared."""

    systems: tuple[SystemInfo, ...]
    """The first is the baseline of the comparisons."""
    datasets: tuple[DatasetInfo, ...]
    results: tuple[Result, ...]
    comparisons: tuple[Comparison, ...] = ()
    examples: Mapping[str, tuple[Example, ...]] = field(default_factory=dict)
    """Data set -> the queries on which systems differ most."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Lagotto's version, processor, threads, date."""

    def result(self, system: str, dataset: str) -> Result:
        """One cell. Raises `InvalidInputError` for one that is not there."""
        for result in self.results:
            if (result.system, result.dataset) == (system, dataset):
                return result
        there = ", ".join(f"{r.system!r} on {r.dataset!r}" for r in self.results)
        raise InvalidInputError(f"no result of {system!r} on {dataset!r}; there is {there or 'none'}")

    def values(self, measure: str) -> dict[tuple[str, str], float]:
        """(system, data set) -> value of a measure, where it was measured."""
        return {(r.system, r.dataset): r.metrics[measure].value for r in self.results if measure in r.metrics}

    def to_dict(self) -> dict[str, Any]:
        """Everything but the runs, as JSON can hold it."""
        return {
            "format": 1,
            "systems": [asdict(system) for system in self.systems],
            "datasets": [asdict(dataset) for dataset in self.datasets],
            "results": [result.to_dict() for result in self.results],
            "comparisons": [asdict(item) for item in self.comparisons],
            "examples": {name: [asdict(item) for item in items] for name, items in self.examples.items()},
            "environment": dict(self.environment),
        }
