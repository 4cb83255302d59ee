"""A system on a set of pairs: STS, bitext, pair classification, reranking."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lagotto.core.quantize import Quantizer
from lagotto.evaluation.cost import MemoryMeter
from lagotto.evaluation.datasets.pairs import PairData
from lagotto.evaluation.encoding import leg_wording, lengths, model_stage
from lagotto.evaluation.judging import Group, judge
from lagotto.evaluation.legs import cut, open_leg
from lagotto.evaluation.measures import RERANKING, Measure, PerQuery, parse_measure, per_query
from lagotto.evaluation.pipeline import DenseLeg, LLMRerank, System
from lagotto.evaluation.results import Cost, Estimate, Lengths, Result, ScoreSpread, Stage
from lagotto.evaluation.statistics import (
    Means,
    Paired,
    Sample,
    average_precision,
    best_f1,
    estimate,
    pearson,
    spearman,
    spread,
)
from lagotto.evaluation.workbench import Workbench
from lagotto.search.exact import top_k

Vectors = NDArray[np.float32]


def applies(system: System, data: PairData) -> bool:
    """Whether a system can do a task: pairs need one embedder, candidates an embedder or a reranker."""
    return system.embedder is not None or (data.kind == "reranking" and system.rerank is not None)


def evaluate_pairs(
    bench: Workbench, system: System, data: PairData, measures: Sequence[Measure]
) -> tuple[Result, Mapping[str, Sample]]:
    """One cell of a report, and the samples its figures rest on, by measure. ``measures`` are for reranking only."""
    before, loaded = bench.memory(system)
    values: PerQuery = {}
    found: ScoreSpread | None = None
    with MemoryMeter() as meter:
        if data.kind == "reranking":
            chosen = list(measures) or [parse_measure(name) for name in RERANKING]
            values, stages, seen = _reranking(bench, system, data, chosen)
            samples: dict[str, Sample] = {name: Means(np.array(list(v.values()))) for name, v in values.items()}
        else:
            leg = system.embedder
            assert leg is not None  # `applies` says so
            left, right, stages, seen = _embed_pairs(bench, leg, data)
            if data.kind == "bitext":
                values = {"accuracy": _translations(left, right)}
                samples = {"accuracy": Means(np.array(list(values["accuracy"].values())))}
            else:
                scores = np.einsum("ij,ij->i", left, right).astype(np.float64)
                samples = _paired(data, scores)
                if data.kind == "pair_classification":
                    found = spread(scores, np.array(data.gold))
    metrics: dict[str, Estimate] = {name: estimate(sample) for name, sample in samples.items()}
    result = Result(
        system=system.name,
        dataset=data.name,
        metrics=metrics,
        per_query=values,
        cost=Cost(stages, 0, before, loaded, meter.peak),
        lengths=seen,
        scores=found,
    )
    return result, samples


def _paired(data: PairData, scores: NDArray[np.float64]) -> dict[str, Sample]:
    gold = np.array(data.gold)
    if data.kind == "sts":
        return {"spearman": Paired(scores, gold, spearman), "pearson": Paired(scores, gold, pearson)}
    return {
        "ap": Paired(scores, gold, average_precision),
        "best_f1": Paired(scores, gold, lambda a, b: best_f1(a, b)[0]),
    }


def _embed_pairs(
    bench: Workbench, leg: DenseLeg, data: PairData
) -> tuple[Vectors, Vectors, tuple[Stage, ...], tuple[Lengths, ...]]:
    embedder = open_leg(bench, leg)
    chosen = leg_wording(leg, embedder, data.task, "text")
    with bench.watcher.stage(f"{data.name}: embedding pairs", 2 * len(data), "text") as done:
        stored = bench.store.embed(embedder, (*data.left, *data.right), chosen, done)
    vectors = _kept(leg, cut(leg, embedder, stored.values()))
    stages = (model_stage("embed", leg.model, stored),)
    seen = (lengths(f"texts, {leg.model}", embedder.max_length, stored),)
    return vectors[: len(data)], vectors[len(data) :], stages, seen


def _kept(leg: DenseLeg, vectors: Vectors) -> Vectors:
    """What an index that is quantised as the leg says knows of vectors; all, where full ones have the last word."""
    if leg.quantization == "f32" or leg.rescore:
        return vectors
    quantizer = Quantizer.fit(leg.quantization, vectors)
    return quantizer.decode(quantizer.encode(vectors), vectors.shape[1])


def _translations(left: Vectors, right: Vectors) -> dict[str, float]:
    """For each pair, how often (0, 1/2, 1) its translation is the nearest sentence, over both directions."""
    forth = top_k(left, [(0, right)], 1)[1][:, 0]
    back = top_k(right, [(0, left)], 1)[1][:, 0]
    places = np.arange(len(left))
    values = ((forth == places).astype(float) + (back == places)) / 2
    return {str(number): value for number, value in enumerate(values.tolist())}


def _reranking(
    bench: Workbench, system: System, data: PairData, measures: Sequence[Measure]
) -> tuple[PerQuery, tuple[Stage, ...], tuple[Lengths, ...]]:
    """Candidates of each query scored by the reranker where the system has one, else by the embedder's cosine."""
    scores, stages, seen = (
        _by_reranker(bench, system, data) if system.rerank is not None else _by_vectors(bench, system, data)
    )
    run: dict[str, dict[str, float]] = {}
    qrels: dict[str, dict[str, int]] = {}
    start = 0
    for number, item in enumerate(data.candidates):
        count = len(item.positive) + len(item.negative)
        # Zero-padded: trec_eval breaks ties by the document's name.
        names = [f"{place:06d}" for place in range(count)]
        run[str(number)] = dict(zip(names, scores[start : start + count].tolist(), strict=True))
        qrels[str(number)] = {name: int(place < len(item.positive)) for place, name in enumerate(names)}
        start += count
    return per_query(run, qrels, measures), stages, seen


def _by_reranker(
    bench: Workbench, system: System, data: PairData
) -> tuple[NDArray[np.float32], tuple[Stage, ...], tuple[Lengths, ...]]:
    rerank = system.rerank
    assert rerank is not None  # the caller looked

    def pairs() -> Iterator[tuple[str, str]]:
        for item in data.candidates:
            for text in (*item.positive, *item.negative):
                yield item.query, text

    counts = [len(item.positive) + len(item.negative) for item in data.candidates]
    if isinstance(rerank, LLMRerank):
        return _by_llm(bench, rerank, data, counts)
    with bench.watcher.stage(f"{data.name}: reranking", sum(counts), "pair") as done:
        stored = bench.store.score(
            bench.reranker(rerank), pairs(), done, max_windows=rerank.max_windows, options=rerank.options
        )
    return stored.values().reshape(-1), (model_stage("rerank", rerank.model, stored),), ()


def _by_llm(
    bench: Workbench, rerank: LLMRerank, data: PairData, counts: Sequence[int]
) -> tuple[NDArray[np.float32], tuple[Stage, ...], tuple[Lengths, ...]]:
    """Places as scores. Candidates are shown shuffled: the positive ones come first in the data, and must not there."""
    views = [np.random.default_rng(number).permutation(count) for number, count in enumerate(counts)]

    def groups() -> Iterator[Group]:
        for item, view in zip(data.candidates, views, strict=True):
            texts = (*item.positive, *item.negative)
            yield item.query, [texts[place] for place in view.tolist()]

    with bench.watcher.stage(f"{data.name}: reranking", sum(counts), "pair") as done:
        judged = judge(bench, rerank, groups(), len(counts), done)
    shown = judged.stored.values().reshape(-1)
    scores = np.zeros_like(shown)
    scores[np.concatenate([start + view for start, view in zip(_starts(counts), views, strict=True)])] = shown
    return scores, (model_stage("rerank", rerank.model, judged.stored),), ()


def _starts(counts: Sequence[int]) -> list[int]:
    """Where each query's candidates begin among all of them."""
    return [0, *np.cumsum(counts).tolist()][: len(counts)]


def _by_vectors(
    bench: Workbench, system: System, data: PairData
) -> tuple[NDArray[np.float32], tuple[Stage, ...], tuple[Lengths, ...]]:
    leg = system.embedder
    assert leg is not None  # `applies` says so
    embedder = open_leg(bench, leg)
    texts = [text for item in data.candidates for text in (*item.positive, *item.negative)]
    with bench.watcher.stage(f"{data.name}: embedding", len(texts) + len(data), "text") as done:
        documents = bench.store.embed(embedder, texts, leg_wording(leg, embedder, data.task, "document"), done)
        queries = bench.store.embed(
            embedder, (item.query for item in data.candidates), leg_wording(leg, embedder, data.task, "query"), done
        )
    started = time.perf_counter()
    counts = [len(item.positive) + len(item.negative) for item in data.candidates]
    rows = np.repeat(cut(leg, embedder, queries.values()), counts, axis=0)
    scores = np.einsum("ij,ij->i", rows, _kept(leg, cut(leg, embedder, documents.values())))
    stages = (
        model_stage("index", leg.model, documents),
        model_stage("embed queries", leg.model, queries),
        Stage(f"search: {leg.model}", time.perf_counter() - started, len(data)),
    )
    seen = (lengths(f"documents, {leg.model}", embedder.max_length, documents),)
    return scores, stages, seen
