"""A miniature retrieval collection and sets of pairs, in memory and as the files that evaluations read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.datasets.pairs import Candidates, PairData
from lagotto.evaluation.datasets.retrieval import RetrievalData
from support.checkpoints import some_texts

DOCUMENTS = 40
QUERIES = 8
LONG = "d38"
"""A document longer than the tiny models read."""
EMPTY = "d39"
"""A document without text."""
UNKNOWN = "q7"
"""A query none of whose words is in a document."""


def documents() -> dict[str, str]:
    """Document id -> text."""
    texts = [text or "blue river" for text in some_texts(DOCUMENTS, seed=3, longest=20)]
    return {f"d{i}": text for i, text in enumerate(texts)} | {LONG: "giant panda " * 60, EMPTY: ""}


def queries() -> dict[str, str]:
    """Query id -> text: words of the first document that is judged relevant to it."""
    texts = documents()
    return {f"q{i}": " ".join(texts[f"d{5 * i + 1}"].split()[:4]) for i in range(QUERIES)} | {UNKNOWN: "xyzzy"}


def judgements() -> dict[str, dict[str, int]]:
    """Query id -> document id -> relevance."""
    return {f"q{i}": {f"d{5 * i + 1}": 2, f"d{5 * i + 2}": 1, f"d{5 * i}": 0} for i in range(QUERIES)}


def collection(**changes: Any) -> RetrievalData:
    """The collection in memory; keywords change fields of it."""
    return replace(RetrievalData("mini", ListCorpus(documents()), queries(), judgements()), **changes)


def write_collection(folder: Path, *, extra: Mapping[str, Mapping[str, Any]] | None = None, **meta: Any) -> Path:
    """The collection in BEIR's layout. ``extra`` adds fields to queries, by id; keywords make ``dataset.json``."""
    (folder / "qrels").mkdir(parents=True)
    write_lines(folder / "corpus.jsonl", ({"_id": key, "text": text} for key, text in documents().items()))
    write_lines(
        folder / "queries.jsonl",
        ({"_id": key, "text": text, **(extra or {}).get(key, {})} for key, text in queries().items()),
    )
    rows = [f"{query}\t{doc}\t{level}\n" for query, judged in judgements().items() for doc, level in judged.items()]
    (folder / "qrels/test.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    if meta:
        (folder / "dataset.json").write_text(json.dumps(meta))
    return folder


def write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """JSON Lines."""
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


LEFT = tuple(text or "hello" for text in some_texts(24, seed=5, longest=12))
RIGHT = tuple(text + " dog" if i % 2 else LEFT[(i + 5) % 24] for i, text in enumerate(LEFT))
"""Half of the pairs are alike."""


def sts() -> PairData:
    """Pairs with a similarity."""
    return PairData("likeness", "sts", LEFT, RIGHT, tuple(float(i % 2) * 3 + i % 5 for i in range(24)))


def bitext() -> PairData:
    """Pairs that are translations."""
    return PairData("bitext", "bitext", LEFT, tuple(f"{text} cat" for text in LEFT))


def same_or_not() -> PairData:
    """Pairs with a label."""
    return PairData("same", "pair_classification", LEFT, RIGHT, tuple(float(i % 2) for i in range(24)))


def candidates() -> PairData:
    """Queries with documents that answer them and documents that do not; as many of them as the query's number."""
    texts = list(documents().values())
    rows = tuple(
        Candidates(query, tuple(texts[i : i + 1 + i % 3]), tuple(texts[20 + i : 22 + 2 * i]))
        for i, query in enumerate(LEFT[:8])
    )
    return PairData("candidates", "reranking", candidates=rows)
