"""Order the first hits again: by an embedder's outputs together, or by a reranker. The others stay below them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import get_args

import numpy as np

from lagotto.core.token_values import MultiVectors, SparseVectors
from lagotto.evaluation.blocks import Dense
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.encoding import (
    encode_documents,
    encode_queries,
    leg_wording,
    model_stage,
    what_it_took,
)
from lagotto.evaluation.judging import Group, judge
from lagotto.evaluation.pipeline import LLMRerank, Rerank, Rescore
from lagotto.evaluation.results import Stage
from lagotto.evaluation.store import Encoded
from lagotto.evaluation.workbench import Ranked, Workbench, joined
from lagotto.heads.similarity import lexical_matching_pairs, max_sim, weighted
from lagotto.models.token_outputs import OutputName
from lagotto.search.candidates import Rows, score_candidates
from lagotto.search.exact import NOTHING, Places, Scores

_NONE = np.zeros(1, np.float32)  # the scores of an output that has no weight


def rescored(bench: Workbench, rescore: Rescore, data: RetrievalData, found: Ranked) -> Ranked:
    """The first hits by the weighted mean of their dense, sparse and multi-vector scores.

    Where legs of the evaluation want the same outputs of the same model for the whole corpus, these are read; else the
    hits alone are encoded, and their encoding is part of what rescoring takes.
    """
    first = found.places[:, : rescore.top_k]
    outputs, planned = rescore.outputs, bench.outputs(rescore)
    queries = encode_queries(bench, rescore, data, outputs | planned)
    encodings = [*found.encodings, what_it_took(bench, rescore, "embed queries", "queries", queries, outputs)]
    if outputs <= planned:
        documents, numbers = encode_documents(bench, rescore, data, planned), first
        encodings.append(what_it_took(bench, rescore, "index", "documents", documents, outputs))
        work = Stage(f"rescore: {rescore.model}", 0.0, 0)
        notes: tuple[str, ...] = ()
    else:
        documents, numbers = _encode_hits(bench, rescore, data, first)
        took = what_it_took(bench, rescore, "rescore", "hits", documents, outputs)
        work, notes = took.stage, took.warnings
    started = time.perf_counter()
    dense, sparse, multi = (
        _scores(name, queries, documents, numbers) if name in outputs else _NONE for name in get_args(OutputName)
    )
    order = _put_first(found, weighted(dense, sparse, multi, rescore.weights))
    seconds = work.seconds + time.perf_counter() - started
    stage = replace(work, seconds=seconds, items=int((first != NOTHING).sum()))
    kept = replace(found, encodings=joined(encodings))
    return kept.after(*order, stage, *notes)


def _encode_hits(bench: Workbench, rescore: Rescore, data: RetrievalData, first: Places) -> tuple[Encoded, Places]:
    """The hits of all queries, each once, and where each query's hits are among them."""
    hits = np.unique(first[first != NOTHING])
    embedder = bench.embedder(rescore)
    told = leg_wording(rescore, embedder, data.task, "document")
    texts = (data.corpus.text(place) for place in hits.tolist())
    with bench.watcher.stage(f"{data.name}: embedding hits", len(hits), "text") as done:
        documents = bench.store.encode(embedder, texts, told, rescore.outputs, done)
    return documents, np.where(first == NOTHING, NOTHING, np.searchsorted(hits, first))


def _scores(output: OutputName, queries: Encoded, documents: Encoded, numbers: Places) -> Scores:
    """(queries, k) scores of one output."""
    asked = queries.part(output).values()
    kinds: dict[OutputName, Callable[..., Scores]] = {
        "dense": _by_vectors,
        "sparse": _by_weights,
        "multivector": _by_token_vectors,
    }
    return score_candidates(numbers, documents.part(output).blocks(), partial(kinds[output], asked))


def _by_vectors(asked: Dense, rows: Rows, block: Dense, at: Rows) -> Scores:
    scores: Scores = np.einsum("ij,ij->i", asked[rows], block[at])
    return scores


def _by_weights(asked: SparseVectors, rows: Rows, block: SparseVectors, at: Rows) -> Scores:
    left = SparseVectors.from_rows([asked.row(row) for row in rows.tolist()], asked.vocabulary)
    right = SparseVectors.from_rows([block.row(row) for row in at.tolist()], block.vocabulary)
    return lexical_matching_pairs(left, right)


def _by_token_vectors(asked: MultiVectors, rows: Rows, block: MultiVectors, at: Rows) -> Scores:
    # One pair at a time, and the block made float32 once: pairs laid side by side would take gigabytes.
    full = MultiVectors(block.vectors.astype(np.float32), block.offsets)
    return np.array(
        [max_sim(asked.row(i), full.row(j)) for i, j in zip(rows.tolist(), at.tolist(), strict=True)], np.float32
    )


def reranked(bench: Workbench, rerank: Rerank | LLMRerank, data: RetrievalData, found: Ranked) -> Ranked:
    """The first hits in the reranker's order."""
    first = found.places[:, : rerank.top_k]
    there = first != NOTHING
    notes: tuple[str, ...] = ()

    def pairs() -> Iterator[tuple[str, str]]:
        for query, places in zip(data.queries.values(), first.tolist(), strict=True):
            yield from ((query, data.corpus.text(place)) for place in places if place != NOTHING)

    def groups() -> Iterator[Group]:
        for query, places in zip(data.queries.values(), first.tolist(), strict=True):
            yield query, [data.corpus.text(place) for place in places if place != NOTHING]

    with bench.watcher.stage(f"{data.name}: reranking", int(there.sum()), "pair") as done:
        if isinstance(rerank, LLMRerank):
            judged = judge(bench, rerank, groups(), len(first), done)
            stored, notes = judged.stored, judged.notes
        else:
            reranker = bench.reranker(rerank)
            stored = bench.store.score(reranker, pairs(), done, max_windows=rerank.max_windows, options=rerank.options)
    scores = np.full(first.shape, -np.inf, np.float32)
    scores[there] = stored.values().reshape(-1)
    cut = int(stored.truncated.sum())
    if cut:
        notes = (*notes, f"{cut} of {len(stored)} pairs were longer than {rerank.model} reads and lost a part")
    return found.after(*_put_first(found, scores), model_stage("rerank", rerank.model, stored), *notes)


def _put_first(found: Ranked, again: Scores) -> tuple[Scores, Places]:
    """Scores and places with the first hits ordered by their new scores, (queries, depth)."""
    scores, places = found.scores.copy(), found.places.copy()
    for row, new in enumerate(again):
        hits = int((places[row] != NOTHING).sum())
        taken = min(len(new), hits)
        order = np.argsort(-new[:taken], kind="stable")
        places[row, :taken] = places[row, order]
        scores[row, :taken] = new[order]
        lowest = float(new[:taken].min()) if taken else 0.0
        # What was not scored again must stay below what was.
        scores[row, taken:hits] = lowest - np.arange(1, hits - taken + 1)
    return scores, places
