"""A small retrieval set in BEIR's layout, of which a test changes what it wants to see read or refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

DOCUMENTS = {"d1": "One first", "d2": "two", "d3": "熊猫"}
QUERIES = {"q1": "what?", "q2": "谁"}
QRELS = {"q1": {"d1": 2, "d2": 0}, "q2": {"d3": 1}}

CORPUS_ROWS = [
    {"_id": "d1", "title": "One", "text": "first"},
    {"_id": "d2", "text": "two"},
    {"_id": "d3", "text": "熊猫"},
]
QUERY_ROWS = [{"_id": key, "text": text} for key, text in QUERIES.items()]
TRIPLES = [(query, doc, level) for query, judged in QRELS.items() for doc, level in judged.items()]


def write(path: Path, rows: str | bytes | list[Mapping[str, Any]]) -> None:
    """Rows as the ending says; a string as it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(rows, str | bytes):
        path.write_bytes(rows.encode() if isinstance(rows, str) else rows)
    elif path.suffix == ".parquet" or path.suffix == ".pq":
        columns = dict.fromkeys(key for row in rows for key in row)
        pq.write_table(pa.table({key: [row.get(key) for row in rows] for key in columns}), path)
    else:
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def rename(rows: Iterable[Mapping[str, Any]], **names: str) -> list[dict[str, Any]]:
    """Rows whose fields have other names."""
    return [{names.get(key, key): value for key, value in row.items()} for row in rows]


def triples(*names: str) -> list[dict[str, Any]]:
    """The judgements as rows with fields of these names."""
    return [dict(zip(names, triple, strict=True)) for triple in TRIPLES]


def tsv(*header: str, between: str = "\t", middle: Iterable[str] = ()) -> str:
    """The judgements as lines of text."""
    rows = [header] if header else []
    rows += [(query, *middle, doc, str(level)) for query, doc, level in TRIPLES]
    return "".join(between.join(row) + "\n" for row in rows)


BEIR, FLAG = ("query-id", "corpus-id", "score"), ("qid", "docid", "relevance")


def make(folder: Path, **changes: Any) -> Path:
    """The data set in BEIR's layout; keywords replace corpus, queries, qrels and meta."""
    write(folder / "corpus.jsonl", changes.get("corpus", CORPUS_ROWS))
    write(folder / "queries.jsonl", changes.get("queries", QUERY_ROWS))
    write(folder / "qrels/test.tsv", changes.get("qrels", tsv(*BEIR)))
    if "meta" in changes:
        write(folder / "dataset.json", changes["meta"])
    return folder
