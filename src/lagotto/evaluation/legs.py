"""Retrieve: one leg of a pipeline over a data set, from texts to ranked places."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.quantize import Quantizer, vector_bytes
from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.evaluation.blocks import Dense
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.encoding import encode_both
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, EncoderLeg, Leg, MultiVectorLeg, SparseLeg
from lagotto.evaluation.results import Stage
from lagotto.evaluation.store import Stored
from lagotto.evaluation.workbench import Ranked, Workbench
from lagotto.models.embedder import Embedder
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25
from lagotto.search.candidates import score_candidates
from lagotto.search.exact import NOTHING, no_hits, top_k
from lagotto.search.late_interaction import max_sim_top_k
from lagotto.search.sparse import sparse_top_k


def retrieve(bench: Workbench, leg: Leg, data: RetrievalData, k: int) -> Ranked:
    """The best k documents of every query, excluded ones left out. A leg that systems share is computed once."""
    key = (leg, data.fingerprint, data.task, k)
    if key in bench.ranked:
        return bench.ranked[key]
    # Whatever is excluded may stand among the best, so as many more are looked for.
    spare = max((len(ids) for ids in data.excluded.values()), default=0)
    wanted = min(k + spare, len(data.corpus))
    found = _found(bench, leg, data, wanted)
    scores, places = without_excluded(found.scores, found.places, data, k)
    kept = replace(found, scores=scores, places=places)
    if leg in bench.shared:
        bench.ranked[key] = kept
    return kept


def _found(bench: Workbench, leg: Leg, data: RetrievalData, k: int) -> Ranked:
    if isinstance(leg, DenseLeg):
        return _dense(bench, leg, data, k)
    if isinstance(leg, Bm25Leg):
        return _bm25(bench, leg, data, k)
    return _by_tokens(bench, leg, data, k)


def without_excluded(
    scores: NDArray[np.float32], places: NDArray[np.int64], data: RetrievalData, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best k hits of every query that are not excluded for it."""
    if not data.excluded:
        return scores[:, :k], places[:, :k]
    ids = data.corpus.ids
    kept_scores, kept_places = no_hits(len(scores), k)
    for row, query in enumerate(data.queries):
        hidden = data.excluded.get(query, frozenset())
        keep = [i for i, place in enumerate(places[row]) if place != NOTHING and ids[place] not in hidden][:k]
        kept_scores[row, : len(keep)] = scores[row, keep]
        kept_places[row, : len(keep)] = places[row, keep]
    return kept_scores, kept_places


def open_leg(bench: Workbench, leg: DenseLeg) -> Embedder:
    """The embedder of a leg, which has the dimensions that the leg asks for. Raises `InvalidInputError` otherwise."""
    embedder = bench.embedder(leg)
    if leg.dimensions is not None:
        check_dimensions(leg.dimensions, embedder.dimension)
    return embedder


def cut(leg: DenseLeg, embedder: Embedder, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as short as the leg wants them, of unit length by the model's habit."""
    short = shorten(vectors, leg.dimensions)
    return normalize(short) if embedder.card.normalize else short


def _dense(bench: Workbench, leg: DenseLeg, data: RetrievalData, k: int) -> Ranked:
    embedder = open_leg(bench, leg)
    documents, queries, took = encode_both(bench, leg, data)
    started = time.perf_counter()
    scores, places = search(leg, embedder, queries.part("dense").values(), documents.part("dense"), k)
    seconds = time.perf_counter() - started
    dimension = leg.dimensions or embedder.dimension
    size = vector_bytes(dimension, leg.quantization)
    return Ranked(scores, places, took, (_searched(leg, seconds, data),), size)


def _by_tokens(bench: Workbench, leg: SparseLeg | MultiVectorLeg, data: RetrievalData, k: int) -> Ranked:
    documents, queries, took = encode_both(bench, leg, data)
    held = 0

    def blocks() -> Iterator[tuple[int, Any]]:
        nonlocal held
        for start, block in documents.part(leg.output).blocks():
            held += _bytes(block)
            yield start, block

    find = sparse_top_k if isinstance(leg, SparseLeg) else max_sim_top_k
    started = time.perf_counter()
    scores, places = find(queries.part(leg.output).values(), blocks(), k)
    step = _searched(leg, time.perf_counter() - started, data)
    return Ranked(scores, places, took, (step,), round(held / len(data.corpus)))


def _bytes(vectors: SparseVectors | MultiVectors) -> int:
    """What an index holds of them: a token id and a weight an entry, or the token vectors."""
    if isinstance(vectors, SparseVectors):
        return vectors.indices.nbytes + vectors.values.nbytes
    return vectors.nbytes


def _searched(leg: EncoderLeg, seconds: float, data: RetrievalData) -> Stage:
    by = "" if isinstance(leg, DenseLeg) else f" ({leg.type})"
    return Stage(f"search: {leg.model}{by}", seconds, len(data.queries))


def search(
    leg: DenseLeg, embedder: Embedder, queries: NDArray[np.float32], documents: Stored[Dense], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best k documents by vectors that are cut and quantised as the leg says, (queries, k) scores and places."""

    def full() -> Iterator[tuple[int, NDArray[np.float32]]]:
        return ((start, cut(leg, embedder, block)) for start, block in documents.blocks())

    wanted = cut(leg, embedder, queries)
    if leg.quantization == "f32":
        return top_k(wanted, full(), k)
    quantizer = _fitted(leg, full())
    dimension = wanted.shape[1]
    coarse = ((start, quantizer.decode(quantizer.encode(block), dimension)) for start, block in full())
    scores, places = top_k(wanted, coarse, max(k, leg.rescore))
    if leg.rescore:
        scores, places = _rescored(wanted, full(), places)
    return scores[:, :k], places[:, :k]


def _fitted(leg: DenseLeg, blocks: Iterator[tuple[int, NDArray[np.float32]]]) -> Quantizer:
    """A quantiser over the whole corpus: its largest numbers are found block by block."""
    if leg.quantization != "int8":
        first = next(iter(blocks))[1]
        return Quantizer.fit(leg.quantization, first)
    return Quantizer.fit("int8", np.stack([np.abs(block).max(axis=0) for _, block in blocks]))


def _rescored(
    queries: NDArray[np.float32], blocks: Iterator[tuple[int, NDArray[np.float32]]], places: NDArray[np.int64]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The same documents, ordered by inner products of the full vectors."""
    scores = score_candidates(places, blocks, lambda rows, block, at: np.einsum("ij,ij->i", queries[rows], block[at]))
    order = np.lexsort((places, -scores), axis=1)
    return np.take_along_axis(scores, order, axis=1), np.take_along_axis(places, order, axis=1)


def _bm25(bench: Workbench, leg: Bm25Leg, data: RetrievalData, k: int) -> Ranked:
    index = Bm25(k1=leg.k1, b=leg.b, analyzer=Analyzer(leg.language))
    started = time.perf_counter()
    with bench.watcher.stage(f"{data.name}: BM25", len(data.corpus), "text") as done:
        index.index(data.corpus.texts(), progress=done)
    built = time.perf_counter()
    scores, places = index.search(list(data.queries.values()), k)
    searched = time.perf_counter()
    language = index.analyzer.language
    return Ranked(
        scores,
        places,
        steps=(
            Stage(f"index: BM25 ({language})", built - started, len(data.corpus)),
            Stage(f"search: BM25 ({language})", searched - built, len(data.queries)),
        ),
        vector_bytes=round(index.bytes / max(1, len(data.corpus))),
    )
