"""TREC's files: runs (``query Q0 document rank score tag``) and judgements (``query 0 document relevance``)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lagotto.core.errors import InvalidInputError
from lagotto.core.paths import write_atomically
from lagotto.data.records import numbered_lines
from lagotto.evaluation.datasets.retrieval import read_judgements
from lagotto.evaluation.results import Run

Scored = dict[str, dict[str, float]]
"""Query id -> document id -> score."""
Judged = dict[str, dict[str, int]]
"""Query id -> document id -> relevance."""


_LONGEST = 160
"""Bytes of a file's name: most systems take 255, and a temporary file's name is a little longer than the final one."""
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
"""What Windows takes for a device, whatever the ending."""


def file_name(name: str) -> str:
    """A name that every file system takes; different names stay different for all but odd characters.

    >>> file_name("../bge-m3 → reranker")
    '_bge-m3 _ reranker'
    """
    safe = re.sub(r"[^\w.+()\[\], -]", "_", name).strip(". ") or "_"
    if len(safe.encode()) > _LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        safe = f"{safe.encode()[: _LONGEST - len(digest) - 1].decode(errors='ignore')}-{digest}"
    return f"_{safe}" if _DEVICES.fullmatch(safe) else safe


def write_run(path: Path, run: Run, tag: str) -> None:
    """Write a run; scores have nine digits, which tell any two float32 numbers apart."""
    word = re.sub(r"\s+", "_", tag)
    parts = []
    for row, query in enumerate(run.queries):
        lines = [
            f"{query} Q0 {document} {rank} {score:.9g} {word}\n"
            for rank, (document, score) in enumerate(run.hits(row), 1)
        ]
        parts.append("".join(lines).encode())
    write_atomically(path, *parts)


def write_qrels(path: Path, qrels: Mapping[str, Mapping[str, int]]) -> None:
    """Write judgements."""
    lines = [f"{query} 0 {doc} {level}\n" for query, judged in qrels.items() for doc, level in judged.items()]
    write_atomically(path, "".join(lines).encode())


def read_run(path: Path) -> Scored:
    """Read a run. Raises `InvalidInputError` that names the bad line."""
    run: Scored = {}
    with path.open("rb") as file:
        for number, line in numbered_lines(file, str(path)):
            if not line.strip():
                continue
            cells = line.split()
            try:
                query, _, document, _, score, _ = cells
                value = float(score)
            except ValueError:
                raise InvalidInputError(
                    f"{path}, line {number}: {line.strip()[:80]!r} is no line of a TREC run "
                    "(query Q0 document rank score tag)"
                ) from None
            hits = run.setdefault(query, {})
            if document in hits:
                raise InvalidInputError(f"{path}, line {number}: document {document!r} comes twice for query {query!r}")
            hits[document] = value
    if not run:
        raise InvalidInputError(f"{path}: no hits")
    return run


def read_qrels(path: Path) -> Judged:
    """Read judgements in TREC's, BEIR's or FlagEmbedding's layout. Raises `InvalidInputError`."""
    qrels = read_judgements(path)
    if not qrels:
        raise InvalidInputError(f"{path}: no judgements")
    return qrels


def as_arrays(scored: Mapping[str, Mapping[str, float]], queries: tuple[str, ...], ids: tuple[str, ...]) -> Run:
    """A run from a file as arrays over a corpus, best first; equal scores keep the file's order."""
    wanted = {document for hits in scored.values() for document in hits}
    places = {document: place for place, document in enumerate(ids) if document in wanted}
    depth = max((len(hits) for hits in scored.values()), default=0)
    documents = np.full((len(queries), depth), -1, np.int32)
    scores = np.full((len(queries), depth), -np.inf, np.float32)
    for row, query in enumerate(queries):
        hits = sorted(scored.get(query, {}).items(), key=lambda hit: -hit[1])
        documents[row, : len(hits)] = [places[document] for document, _ in hits]
        scores[row, : len(hits)] = [score for _, score in hits]
    return Run(queries, documents, scores, ids)
