"""A system on a retrieval set: retrieve, fuse, rerank, measure."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.cost import MemoryMeter
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.legs import retrieve
from lagotto.evaluation.measures import Measure, PerQuery, per_query
from lagotto.evaluation.pipeline import System
from lagotto.evaluation.reordering import reranked, rescored
from lagotto.evaluation.results import Cost, Result, Run, ScoreSpread, Stage
from lagotto.evaluation.statistics import Means, estimate, spread
from lagotto.evaluation.workbench import Ranked, Workbench, joined
from lagotto.search.fusion import fuse

_AT_ONCE = 500
"""Queries measured together: a run is arrays until trec_eval needs dictionaries."""
_SPREAD_DEPTH = 100


def evaluate_retrieval(bench: Workbench, system: System, data: RetrievalData, measures: Sequence[Measure]) -> Result:
    """One cell of a report. Raises what models, legs and measures raise."""
    if not system.legs:
        raise InvalidInputError(f"system {system.name!r} only reranks; on {data.name!r} it needs a leg that retrieves")
    before, loaded = bench.memory(system)
    with MemoryMeter() as meter:
        ranked = rank(bench, system, data)
    run = Run(tuple(data.queries), ranked.places.astype(np.int32), ranked.scores, data.corpus.ids)
    values = measure_run(run, data, measures)
    # Behind the last one that was scored again, scores only keep the order.
    last = system.rerank or system.rescore
    depth = _SPREAD_DEPTH if last is None else min(_SPREAD_DEPTH, last.top_k)
    return Result(
        system=system.name,
        dataset=data.name,
        metrics={name: estimate(Means(np.array(list(found.values())))) for name, found in values.items()},
        per_query=values,
        cost=Cost(ranked.stages, ranked.vector_bytes, before, loaded, meter.peak),
        lengths=ranked.lengths,
        scores=score_spread(run, data.qrels, depth),
        warnings=ranked.warnings,
        run=run,
    )


def rank(bench: Workbench, system: System, data: RetrievalData) -> Ranked:
    """What a system finds for every query, best first."""
    depths = [part.top_k for part in (system, system.rescore, system.rerank) if part is not None]
    k = min(max(depths), len(data.corpus))
    parts = [retrieve(bench, leg, data, k) for leg in system.legs]
    found = parts[0] if len(parts) == 1 else _fused(system, parts, k)
    if system.rescore is not None:
        found = rescored(bench, system.rescore, data, found)
    if system.rerank is not None:
        found = reranked(bench, system.rerank, data, found)
    return replace(found, scores=found.scores[:, : system.top_k], places=found.places[:, : system.top_k])


def _fused(system: System, parts: Sequence[Ranked], k: int) -> Ranked:
    fusion = system.fusion
    assert fusion is not None  # System checks it
    started = time.perf_counter()
    scores, places = fuse(
        [(part.scores, part.places) for part in parts],
        k,
        method=fusion.method,
        weights=fusion.weights,
        rrf_k=fusion.rrf_k,
        scaling=fusion.scaling,
    )
    together = Ranked(
        scores,
        places,
        joined(encoding for part in parts for encoding in part.encodings),
        tuple(step for part in parts for step in part.steps),
        sum(part.vector_bytes for part in parts),
        tuple(note for part in parts for note in part.notes),
    )
    return together.after(scores, places, Stage(f"fuse: {fusion.method}", time.perf_counter() - started, len(scores)))


def measure_run(run: Run, data: RetrievalData, measures: Sequence[Measure]) -> PerQuery:
    """Every query's value of every measure, in the order of the measures and the queries."""
    values: PerQuery = {measure.name: {} for measure in measures}
    judged = [measure for measure in measures if not measure.by_answers]
    if judged and not data.qrels:
        raise InvalidInputError(
            f"{data.name!r} is judged by answers, so {judged[0].name} can't be measured; answer_recall@20 can"
        )
    if judged:
        for start in range(0, len(run.queries), _AT_ONCE):
            rows = range(start, min(start + _AT_ONCE, len(run.queries)))
            hits = {run.queries[row]: dict(run.hits(row)) for row in rows}
            qrels = {query: data.qrels[query] for query in hits if query in data.qrels}
            for name, found in per_query(hits, qrels, judged).items():
                values[name].update(found)
    answered = [measure for measure in measures if measure.by_answers]
    if answered:
        values.update(_by_answers(run, data, answered))
    return values


def _by_answers(run: Run, data: RetrievalData, measures: Sequence[Measure]) -> PerQuery:
    """Whether a passage among the first k holds one of the answers, as MKQA and DPR count recall."""
    from lagotto.evaluation.benchmarks.answers import has_answer

    if not data.answers:
        raise InvalidInputError(f"{data.name!r} has no `answers` in its queries, which {measures[0].name} needs")
    deepest = max(measure.cutoff or 0 for measure in measures)
    values: PerQuery = {measure.name: {} for measure in measures}
    for row, query in enumerate(run.queries):
        answers = data.answers.get(query)
        if answers is None:
            continue
        first = math.inf
        for position, place in enumerate(run.documents[row, :deepest].tolist(), 1):
            if place >= 0 and has_answer(answers, data.corpus.text(place)):
                first = position
                break
        for measure in measures:
            values[measure.name][query] = float(first <= (measure.cutoff or 0))
    return values


def score_spread(run: Run, qrels: Mapping[str, Mapping[str, int]], depth: int = _SPREAD_DEPTH) -> ScoreSpread | None:
    """How the scores of the first ``depth`` hits lie, relevant ones apart; None where one of the kinds is missing."""
    scores: list[float] = []
    labels: list[float] = []
    for row, query in enumerate(run.queries):
        judged = qrels.get(query, {})
        for number, (document, score) in enumerate(run.hits(row)):
            if number == depth:
                break
            scores.append(score)
            labels.append(float(judged.get(document, 0) > 0))
    values, judgements = np.array(scores), np.array(labels)
    return spread(values, judgements) if 0 < judgements.sum() < len(judgements) else None
