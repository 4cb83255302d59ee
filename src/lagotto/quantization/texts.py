"""Calibration texts: a sample of what the model will read, as it will read it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import read_records
from lagotto.evaluation.datasets.retrieval import RetrievalData, is_retrieval_folder, read_retrieval

T = TypeVar("T")

LEAST = 32
"""Fewest calibration texts (or pairs): steps from fewer would not fit others."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed, and the side it is on."""

    text: str
    role: Literal["query", "document"]


Pair = tuple[str, str]
"""Query and document, for a reranker."""


def sample_texts(source: Path, size: int) -> list[Text]:
    """Up to ``size`` texts of a file or of a retrieval data set, spread over the whole of it.

    A file's records (JSON Lines, CSV, TSV, Parquet) hold a ``text`` (with or without a ``title``) or a ``document``,
    which are read as documents, or a ``query``, or both. Of a data set, a quarter are queries. Raises
    `InvalidInputError`.
    """
    if is_retrieval_folder(source):
        data = read_retrieval(source)
        queries = _spread((Text(query, "query") for query in data.queries.values()), max(1, size // 4))
        documents = _spread((Text(text, "document") for text in data.corpus.texts()), size - len(queries))
        found = queries + documents
    else:
        found = _spread((text for fields in _records(source) for text in _texts(fields)), size)
    return _enough(found, source, "texts")


def sample_pairs(source: Path, size: int) -> list[Pair]:
    """Up to ``size`` pairs: a file's records with ``query`` and ``document`` (or ``text``), or pairs of a data set.

    Of a data set, half of the pairs are relevant ones and half join a query with a document of another.
    """
    if is_retrieval_folder(source):
        found = _spread(_pairs(read_retrieval(source)), size)
    else:
        rows = _records(source)
        found = _spread(((q, d) for fields in rows if (q := _query(fields)) and (d := _document(fields))), size)
    return _enough(found, source, "pairs of a query and a document")


def _records(source: Path) -> Iterator[Mapping[str, Any]]:
    if source.is_dir():
        raise InvalidInputError(
            f"{source}: is a folder without corpus.jsonl; name a file of texts or a data set's folder"
        )
    if not source.is_file():
        raise InvalidInputError(f"{source}: no such file or folder; name texts like those the model will read")
    for where, fields in read_records(source):
        if not (_query(fields) or _document(fields)):
            raise InvalidInputError(
                f"{source}, {where}: has neither text, document nor query (it has {', '.join(fields) or 'nothing'})"
            )
        yield fields


def _texts(fields: Mapping[str, Any]) -> Iterator[Text]:
    if query := _query(fields):
        yield Text(query, "query")
    if document := _document(fields):
        yield Text(document, "document")


def _query(fields: Mapping[str, Any]) -> str:
    value = fields.get("query")
    return value if isinstance(value, str) and value.strip() else ""


def _document(fields: Mapping[str, Any]) -> str:
    parts = [fields.get("title"), fields.get("document") or fields.get("text")]
    return " ".join(part for part in parts if isinstance(part, str) and part.strip())


def _pairs(data: RetrievalData) -> Iterator[Pair]:
    places = {key: place for place, key in enumerate(data.corpus.ids)}
    chosen = random.Random(0)
    for query, judged in data.qrels.items():
        relevant = [key for key, level in judged.items() if level > 0 and key in places]
        for key in relevant[:4]:
            text = data.queries[query]
            yield text, data.corpus.text(places[key])
            yield text, data.corpus.text(chosen.randrange(len(data.corpus)))


def _spread(items: Iterable[T], size: int) -> list[T]:
    """Reservoir sampling with a fixed seed, so that the same file gives the same model."""
    chosen = random.Random(0)
    kept: list[T] = []
    for number, item in enumerate(items):
        if len(kept) < size:
            kept.append(item)
        elif (place := chosen.randrange(number + 1)) < size:
            kept[place] = item
    chosen.shuffle(kept)
    return kept


def _enough(found: list[T], source: Path, what: str) -> list[T]:
    if len(found) < LEAST:
        raise InvalidInputError(
            f"{source}: holds {len(found)} {what}; calibration needs at least {LEAST}, better some hundreds"
        )
    return found
