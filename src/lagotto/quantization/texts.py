"""Calibration texts: a sample of what the model will read, as it will read it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import Record, json_kind, numbered_lines, read_records
from lagotto.evaluation.datasets.retrieval import RetrievalData, is_retrieval_folder, read_retrieval

T = TypeVar("T")

LEAST = 32
"""Fewest texts (or pairs) to calibrate on and compare by: steps from fewer would not fit others."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text to embed, and the side it is on."""

    text: str
    role: Literal["query", "document"]


Pair = tuple[str, str]
"""Query and document, for a reranker."""


def sample_texts(source: Path, size: int) -> list[Text]:
    """Up to ``size`` different texts of a file or of a retrieval data set, spread over the whole of it, in any order.

    A file's records (JSON Lines, CSV, TSV, Parquet) hold a ``text`` (with or without a ``title``) or a ``document``,
    which are read as documents, or a ``query``, or both; of a text file each line is a document. Of a data set, a
    quarter are queries. Empty texts are passed over. Raises `InvalidInputError`.
    """
    if is_retrieval_folder(source):
        data = read_retrieval(source)
        queries = _spread(_not_empty(data.queries.values(), "query"), max(1, size // 4))
        documents = _spread(_not_empty(data.corpus.texts(), "document"), size - len(queries))
        found = _spread([*queries, *documents], size)
    else:
        found = _spread((text for query, document in _records(source) for text in _texts(query, document)), size)
    return _enough(found, source, "different texts that are not empty", "")


def sample_pairs(source: Path, size: int) -> list[Pair]:
    """Up to ``size`` different pairs: a file's records with ``query`` and ``document`` (or ``text``), or a data set's.

    Of a data set, half of the pairs are relevant ones and half join a query with a document of another.
    """
    rows: Iterable[Pair] = _pairs(read_retrieval(source)) if is_retrieval_folder(source) else _records(source)
    found = _spread((pair for pair in rows if all(side.strip() for side in pair)), size)
    hint = ". A reranker reads both: each record needs a `query`, and a `document` or `text`"
    return _enough(found, source, "different pairs of a query and a document", hint)


def _not_empty(texts: Iterable[str], role: Literal["query", "document"]) -> Iterator[Text]:
    return (Text(text, role) for text in texts if text.strip())


def _texts(query: str, document: str) -> Iterator[Text]:
    yield from _not_empty([query], "query")
    yield from _not_empty([document], "document")


def _records(source: Path) -> Iterator[Pair]:
    """Query and document of every record, empty where it has none."""
    if source.is_dir():
        raise InvalidInputError(
            f"{source}: is a folder without corpus.jsonl; name a file of texts or a data set's folder"
        )
    if not source.is_file():
        raise InvalidInputError(f"{source}: no such file or folder; name texts like those the model will read")
    for place, fields in _lines(source) if source.suffix.lower() == ".txt" else read_records(source):
        yield _sides(fields, f"{source}, {place}")


def _lines(source: Path) -> Iterator[Record]:
    with source.open("rb") as file:
        for number, line in numbered_lines(file, str(source)):
            yield f"line {number}", {"text": line.strip()}


def _sides(fields: Mapping[str, Any], where: str) -> Pair:
    named = next((name for name in ("document", "text") if name in fields), None)
    if named is None and "query" not in fields:
        raise InvalidInputError(
            f"{where}: has neither `text`, `document` nor `query`; it has {', '.join(map(str, fields)) or 'nothing'}"
        )
    if named is None:
        return _string(fields, "query", where), ""
    parts = (_string(fields, "title", where), _string(fields, named, where))
    return _string(fields, "query", where), " ".join(part for part in parts if part.strip())


def _string(fields: Mapping[str, Any], name: str, where: str) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        raise InvalidInputError(f"{where}: `{name}` is {json_kind(value)}, expected a string")
    return value or ""


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
    """Reservoir sampling with a fixed seed: the same file gives the same model. What comes twice counts once."""
    chosen = random.Random(0)
    kept: list[T] = []
    for number, item in enumerate(items):
        if len(kept) < size:
            kept.append(item)
        elif (place := chosen.randrange(number + 1)) < size:
            kept[place] = item
    different = list(dict.fromkeys(kept))
    chosen.shuffle(different)
    return different


def _enough(found: list[T], source: Path, what: str, hint: str) -> list[T]:
    if len(found) < LEAST:
        raise InvalidInputError(
            f"{source}: holds {len(found)} {what}; calibration needs at least {LEAST}, better some hundreds{hint}"
        )
    return found
