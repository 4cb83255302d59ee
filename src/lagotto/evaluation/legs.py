"""Retrieve: one leg of a pipeline over a data set, from texts to ranked places."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import check_dimensions, normalize, shorten
from lagotto.core.quantize import Quantizer, vector_bytes
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.instructions import Side, TaskHint, Wording, wording
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Leg
from lagotto.evaluation.results import Histogram, Lengths, Stage
from lagotto.evaluation.store import Stored
from lagotto.evaluation.workbench import Ranked, Workbench
from lagotto.models.embedder import Embedder
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25
from lagotto.search.exact import NOTHING, top_k

_BINS = 30
_PAIRS_AT_ONCE = 16384
"""Hits rescored together: 50 MB of vectors at 768 dimensions, whatever the number of queries."""


def retrieve(bench: Workbench, leg: Leg, data: RetrievalData, k: int) -> Ranked:
    """The best k documents of every query, excluded ones left out. A leg that systems share is computed once."""
    key = (leg, data.fingerprint, data.task, k)
    if key in bench.ranked:
        return bench.ranked[key]
    # Whatever is excluded may stand among the best, so as many more are looked for.
    spare = max((len(ids) for ids in data.excluded.values()), default=0)
    wanted = min(k + spare, len(data.corpus))
    found = _dense(bench, leg, data, wanted) if isinstance(leg, DenseLeg) else _bm25(bench, leg, data, wanted)
    scores, places = without_excluded(found.scores, found.places, data, k)
    kept = replace(found, scores=scores, places=places)
    if leg in bench.shared:
        bench.ranked[key] = kept
    return kept


def without_excluded(
    scores: NDArray[np.float32], places: NDArray[np.int64], data: RetrievalData, k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The best k hits of every query that are not excluded for it."""
    if not data.excluded:
        return scores[:, :k], places[:, :k]
    ids = data.corpus.ids
    kept_scores = np.full((len(scores), k), -np.inf, np.float32)
    kept_places = np.full((len(scores), k), NOTHING, np.int64)
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


def leg_wording(leg: DenseLeg, embedder: Embedder, task: TaskHint, side: Side) -> Wording:
    """How texts are written: by the leg's prompt or instruction, else as the card says for the task."""
    prompt = leg.document_prompt if side == "document" else leg.query_prompt
    if prompt is not None:
        return Wording(prompt=prompt)
    if leg.query_instruction is not None and side != "document":
        return Wording("query", instruction=leg.query_instruction)
    return wording(embedder.card, task, side)


def cut(leg: DenseLeg, embedder: Embedder, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Vectors as short as the leg wants them, of unit length by the model's habit."""
    short = shorten(vectors, leg.dimensions)
    return normalize(short) if embedder.card.normalize else short


def _dense(bench: Workbench, leg: DenseLeg, data: RetrievalData, k: int) -> Ranked:
    embedder = open_leg(bench, leg)
    told = leg_wording(leg, embedder, data.task, "document")
    asked = leg_wording(leg, embedder, data.task, "query")
    with bench.watcher.stage(f"{data.name}: embedding documents", len(data.corpus), "text") as done:
        documents = bench.store.embed(embedder, data.corpus.texts(), told, done)
    with bench.watcher.stage(f"{data.name}: embedding queries", len(data.queries), "text") as done:
        queries = bench.store.embed(embedder, data.queries.values(), asked, done)
    started = time.perf_counter()
    scores, places = search(leg, embedder, queries.values(), documents, k)
    seconds = time.perf_counter() - started
    dimension = leg.dimensions or embedder.dimension
    return Ranked(
        scores,
        places,
        stages=(
            model_stage("index", leg.model, documents),
            model_stage("embed queries", leg.model, queries),
            Stage(f"search: {leg.model}", seconds, len(queries)),
        ),
        lengths=(
            lengths(f"documents, {leg.model}", embedder.max_length, documents),
            lengths(f"queries, {leg.model}", embedder.max_length, queries),
        ),
        vector_bytes=vector_bytes(dimension, leg.quantization),
        warnings=tuple(_cut(documents, "documents", leg.model)) + tuple(_cut(queries, "queries", leg.model)),
    )


def search(
    leg: DenseLeg, embedder: Embedder, queries: NDArray[np.float32], documents: Stored, k: int
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
    scores = np.full(places.shape, -np.inf, np.float32)
    for start, block in blocks:
        every = np.nonzero((places >= start) & (places < start + len(block)))
        for first in range(0, len(every[0]), _PAIRS_AT_ONCE):
            rows, columns = (side[first : first + _PAIRS_AT_ONCE] for side in every)
            vectors = block[places[rows, columns] - start]
            scores[rows, columns] = np.einsum("ij,ij->i", queries[rows], vectors)
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
        stages=(
            Stage(f"index: BM25 ({language})", built - started, len(data.corpus)),
            Stage(f"search: BM25 ({language})", searched - built, len(data.queries)),
        ),
        vector_bytes=round(index.bytes / max(1, len(data.corpus))),
    )


def model_stage(name: str, model: str, stored: Stored) -> Stage:
    """What a model's work took, now or when it was computed."""
    return Stage(f"{name}: {model}", stored.seconds, len(stored), int(stored.tokens.sum()), stored.cached)


def lengths(what: str, limit: int, stored: Stored) -> Lengths:
    """How long texts were for a model."""
    tokens = stored.tokens
    longest = int(tokens.max(initial=0))
    counts, edges = np.histogram(tokens, bins=min(_BINS, max(1, longest)), range=(0, max(1, longest)))
    return Lengths(
        what=what,
        limit=limit,
        mean=float(tokens.mean()) if len(tokens) else 0.0,
        longest=longest,
        truncated=int(stored.truncated.sum()),
        texts=len(stored),
        histogram=Histogram(tuple(edges.tolist()), tuple(counts.tolist())),
    )


def _cut(stored: Stored, what: str, model: str) -> Iterator[str]:
    if cut := int(stored.truncated.sum()):
        yield f"{cut} of {len(stored)} {what} were longer than {model} reads and lost their end"
