"""Search an mteb corpus in flat memory: documents are embedded in parts, compared, and let go.

mteb's own wrapper keeps the scores of every query with 50,000 documents, and their places as Python objects: about
0.4 MB a query. Here they are arrays of the best k alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError
from lagotto.search.exact import top_k

Vectors = NDArray[np.float32]
Blocks = Iterable[tuple[int, Vectors]]
Hits = dict[str, dict[str, float]]
"""Query id -> document id -> score, as mteb wants it."""

_ROWS = 10_000  # documents that mteb's dataloader prepares at a time
_PAIRS = 4096  # (query, candidate) pairs whose vectors are gathered together


def corpus_batches(corpus: Any, metadata: Any) -> Iterator[Mapping[str, Any]]:
    """Batches of a corpus, prepared by mteb itself part by part: it decides how title and text are joined."""
    from mteb._create_dataloaders import create_dataloader
    from mteb.types import PromptType

    for start in range(0, len(corpus), _ROWS):
        part = corpus.select(range(start, min(start + _ROWS, len(corpus))))
        yield from create_dataloader(part, task_metadata=metadata, prompt_type=PromptType.document, batch_size=256)


def search_all(queries: Vectors, query_ids: Sequence[str], blocks: Blocks, corpus: Any, k: int) -> Hits:
    """The best k documents of the whole corpus for each query."""
    scores, places = top_k(queries, blocks, min(k, len(corpus)))
    found = np.unique(places[places >= 0])
    ids = np.array(corpus.select_columns("id").select(found)["id"][:], object)
    hits: Hits = {}
    for query, row, values in zip(query_ids, places, scores, strict=True):
        there = row >= 0
        documents = ids[np.searchsorted(found, row[there])]
        hits[query] = dict(zip(documents.tolist(), values[there].tolist(), strict=True))
    return hits


def candidate_rows(corpus: Any, candidates: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Id -> row in the corpus, of every document that is some query's candidate, in the order of rows."""
    wanted = {document for documents in candidates.values() for document in documents}
    rows = {document: row for row, document in enumerate(corpus["id"]) if document in wanted}
    if missing := wanted - rows.keys():
        raise InvalidInputError(
            f"{len(missing)} candidates to rerank are not in the task's corpus, {min(missing)!r} for one; "
            "fetch the task's data anew"
        )
    return rows


def rank_candidates(
    queries: Vectors,
    query_ids: Sequence[str],
    blocks: Blocks,
    places: Mapping[str, int],
    candidates: Mapping[str, Sequence[str]],
    k: int,
) -> Hits:
    """The best k of each query's candidates; ``places`` says where each is in the blocks."""
    lists = [candidates.get(query, ()) for query in query_ids]
    rows = np.repeat(np.arange(len(lists)), [len(documents) for documents in lists])
    scores = _pair_scores(
        queries, rows, np.array([places[document] for documents in lists for document in documents], np.int64), blocks
    )
    hits: Hits = {}
    end = 0
    for query, documents in zip(query_ids, lists, strict=True):
        start, end = end, end + len(documents)
        own = scores[start:end]
        best = np.argsort(-own, kind="stable")[:k]
        hits[query] = {documents[at]: score for at, score in zip(best.tolist(), own[best].tolist(), strict=True)}
    return hits


def _pair_scores(queries: Vectors, rows: NDArray[np.int64], places: NDArray[np.int64], blocks: Blocks) -> Vectors:
    """Inner products of (query row, document place) pairs, in their order."""
    scores = np.zeros(len(rows), np.float32)
    order = np.argsort(places, kind="stable")
    sorted_places = places[order]
    for start, block in blocks:
        first, last = np.searchsorted(sorted_places, [start, start + len(block)])
        for at in range(first, last, _PAIRS):
            pairs = order[at : min(at + _PAIRS, last)]
            scores[pairs] = np.einsum("ij,ij->i", queries[rows[pairs]], block[places[pairs] - start])
    return scores
