"""A system on a set of pairs: STS, bitext, pair classification, reranking."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.quantize import Quantizer
from lagotto.evaluation.cost import MemoryMeter
from lagotto.evaluation.datasets.pairs import PairData
from lagotto.evaluation.instructions import Side, Wording, wording
from lagotto.evaluation.legs import embedding_stage, lengths
from lagotto.evaluation.measures import RERANKING, Measure, PerQuery, parse_measure, per_query
from lagotto.evaluation.pipeline import DenseLeg, System
from lagotto.evaluation.results import Cost, Estimate, Histogram, Lengths, Result, ScoreSpread, Stage
from lagotto.evaluation.statistics import (
    Means,
    Paired,
    Sample,
    average_precision,
    best_f1,
    estimate,
    pearson,
    spearman,
)
from lagotto.evaluation.store import Stored
from lagotto.evaluation.workbench import Workbench
from lagotto.models.embedder import Embedder
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
    spread: ScoreSpread | None = None
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
                spread = _spread(data, scores)
    metrics: dict[str, Estimate] = {name: estimate(sample) for name, sample in samples.items()}
    result = Result(
        system=system.name,
        dataset=data.name,
        metrics=metrics,
        per_query=values,
        cost=Cost(stages, 0, before, loaded, meter.peak),
        lengths=seen,
        scores=spread,
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


def _spread(data: PairData, scores: NDArray[np.float64]) -> ScoreSpread | None:
    if data.kind != "pair_classification":
        return None
    gold = np.array(data.gold)
    edges = np.histogram_bin_edges(scores, bins=40)
    same, other = (np.histogram(scores[gold == label], bins=edges)[0] for label in (1.0, 0.0))
    f1, threshold = best_f1(scores, gold)
    bounds = tuple(edges.tolist())
    return ScoreSpread(Histogram(bounds, tuple(same.tolist())), Histogram(bounds, tuple(other.tolist())), threshold, f1)


def _embed_pairs(
    bench: Workbench, leg: DenseLeg, data: PairData
) -> tuple[Vectors, Vectors, tuple[Stage, ...], tuple[Lengths, ...]]:
    embedder = _embedder(bench, leg)
    chosen = _wording(leg, embedder, data, "text")
    with bench.watcher.stage(f"{data.name}: embedding pairs", 2 * len(data), "text") as done:
        stored = bench.store.embed(embedder, (*data.left, *data.right), chosen, done)
    vectors = _kept(leg, _unit(leg, embedder, stored))
    stages = (embedding_stage("embed", leg.model, stored),)
    seen = (lengths(f"texts, {leg.model}", embedder.max_length, stored),)
    return vectors[: len(data)], vectors[len(data) :], stages, seen


def _wording(leg: DenseLeg, embedder: Embedder, data: PairData, side: Side) -> Wording:
    prompt = leg.document_prompt if side == "document" else leg.query_prompt
    if prompt is not None:
        return Wording(prompt=prompt)
    if leg.query_instruction is not None and side != "document":
        return Wording("query", instruction=leg.query_instruction)
    return wording(embedder.card, data.task, side)


def _embedder(bench: Workbench, leg: DenseLeg) -> Embedder:
    """The embedder of a leg, which has the dimensions that the leg asks for."""
    embedder = bench.embedder(leg)
    if leg.dimensions is not None:
        check_dimensions(leg.dimensions, embedder.dimension)
    return embedder


def _unit(leg: DenseLeg, embedder: Embedder, stored: Stored) -> Vectors:
    vectors = shorten(stored.values(), leg.dimensions)
    return normalize(vectors) if embedder.card.normalize else vectors


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

    total = sum(len(item.positive) + len(item.negative) for item in data.candidates)
    with bench.watcher.stage(f"{data.name}: reranking", total, "pair") as done:
        stored = bench.store.score(bench.reranker(rerank), pairs(), done, max_windows=rerank.max_windows)
    return stored.values().reshape(-1), (embedding_stage("rerank", rerank.model, stored),), ()


def _by_vectors(
    bench: Workbench, system: System, data: PairData
) -> tuple[NDArray[np.float32], tuple[Stage, ...], tuple[Lengths, ...]]:
    leg = system.embedder
    assert leg is not None  # `applies` says so
    embedder = _embedder(bench, leg)
    texts = [text for item in data.candidates for text in (*item.positive, *item.negative)]
    with bench.watcher.stage(f"{data.name}: embedding", len(texts) + len(data), "text") as done:
        documents = bench.store.embed(embedder, texts, _wording(leg, embedder, data, "document"), done)
        queries = bench.store.embed(
            embedder, (item.query for item in data.candidates), _wording(leg, embedder, data, "query"), done
        )
    started = time.perf_counter()
    counts = [len(item.positive) + len(item.negative) for item in data.candidates]
    rows = np.repeat(_unit(leg, embedder, queries), counts, axis=0)
    scores = np.einsum("ij,ij->i", rows, _kept(leg, _unit(leg, embedder, documents)))
    stages = (
        embedding_stage("index", leg.model, documents),
        embedding_stage("embed queries", leg.model, queries),
        Stage(f"search: {leg.model}", time.perf_counter() - started, len(data)),
    )
    seen = (lengths(f"documents, {leg.model}", embedder.max_length, documents),)
    return scores, stages, seen
