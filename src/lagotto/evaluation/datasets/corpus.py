"""Corpora of any size: ids in memory, texts on disk."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import (
    BYTE_ORDER_MARK,
    decoded,
    json_kind,
    json_object,
    open_parquet,
    parquet_records,
    read_records,
)


class Corpus(Protocol):
    """Documents in a fixed order, which their places (0, 1, ...) count."""

    @property
    def ids(self) -> Sequence[str]:
        """Every document's id."""
        ...

    def __len__(self) -> int: ...

    def texts(self, start: int = 0) -> Iterator[str]:
        """Texts in order, from a place on; read as far as they are taken."""
        ...

    def text(self, place: int) -> str:
        """One document's text."""
        ...


class ListCorpus:
    """Documents in memory."""

    def __init__(self, documents: Mapping[str, str]) -> None:
        self.ids: Sequence[str] = tuple(documents)
        self._texts = tuple(documents.values())

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, start: int = 0) -> Iterator[str]:
        """Texts in order, from a place on."""
        yield from self._texts[start:]

    def text(self, place: int) -> str:
        """One document's text."""
        return self._texts[place]


class JsonlCorpus:
    """A ``corpus.jsonl``: ids and the places of the lines are kept, the texts stay in the file.

    Reading it checks every line; raises `InvalidInputError` that names the first bad one.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        ids: dict[str, int] = {}
        self._offsets = array("q")
        for offset, number, line in self._lines():
            fields = json_object(line, number, str(path))
            add_id(ids, fields, f"{path}, line {number}")
            text_of(fields, f"{path}, line {number}")
            self._offsets.append(offset)
        self.ids: Sequence[str] = tuple(ids)

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, start: int = 0) -> Iterator[str]:
        """Texts in order, from a place on."""
        if start < len(self):
            for _, number, line in self._lines(self._offsets[start]):
                yield text_of(json_object(line, number, str(self._path)), str(self._path))

    def text(self, place: int) -> str:
        """One document's text."""
        with self._path.open("rb") as file:
            file.seek(self._offsets[place])
            line = decoded(file.readline(), place + 1, str(self._path)).removeprefix(BYTE_ORDER_MARK)
        return text_of(json_object(line, place + 1, str(self._path)), str(self._path))

    def _lines(self, offset: int = 0) -> Iterator[tuple[int, int, str]]:
        """(byte offset, line number, line) of lines that are not blank."""
        with self._path.open("rb") as file:
            file.seek(offset)
            for number, raw in enumerate(file, 1):
                line = decoded(raw, number, str(self._path))
                if offset == 0:
                    line = line.removeprefix(BYTE_ORDER_MARK)
                if line.strip():
                    yield offset, number, line
                offset += len(raw)


class ParquetCorpus:
    """A ``corpus.parquet``: ids are kept, texts are read by row groups."""

    def __init__(self, path: Path) -> None:
        self._path = path
        ids: dict[str, int] = {}
        for place, fields in parquet_records(str(path)):
            add_id(ids, fields, f"{path}, {place}")
            text_of(fields, f"{path}, {place}")
        self.ids: Sequence[str] = tuple(ids)
        with open_parquet(str(path)) as file:
            counts = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
        self._starts = array("q", [sum(counts[:number]) for number in range(len(counts))])
        self._group = lru_cache(maxsize=2)(self._read_group)

    def __len__(self) -> int:
        return len(self.ids)

    def texts(self, start: int = 0) -> Iterator[str]:
        """Texts in order, from a place on."""
        for number, (_, fields) in enumerate(parquet_records(str(self._path))):
            if number >= start:
                yield text_of(fields, str(self._path))

    def text(self, place: int) -> str:
        """One document's text."""
        number = max(number for number, start in enumerate(self._starts) if start <= place)
        return text_of(self._group(number)[place - self._starts[number]], str(self._path))

    def _read_group(self, number: int) -> list[dict[str, Any]]:
        with open_parquet(str(self._path)) as file:
            rows: list[dict[str, Any]] = file.read_row_group(number).to_pylist()
        return rows


def open_corpus(path: Path) -> Corpus:
    """The corpus in a file, by its ending: jsonl and parquet stay on disk, others are read into memory."""
    name = path.name.lower()
    if name.endswith((".jsonl", ".ndjson")):
        return JsonlCorpus(path)
    if name.endswith((".parquet", ".pq")):
        return ParquetCorpus(path)
    places: dict[str, int] = {}
    documents: dict[str, str] = {}
    for place, fields in read_records(path):
        where = f"{path}, {place}"
        documents[add_id(places, fields, where)] = text_of(fields, where)
    return ListCorpus(documents)


def add_id(ids: dict[str, int], fields: Mapping[str, Any], where: str) -> str:
    """Take a record's id (``_id`` or ``id``) into ``ids``. Raises `InvalidInputError` for none, or one twice."""
    found = [fields[name] for name in ("_id", "id") if fields.get(name) is not None]
    if not found:
        raise InvalidInputError(f"{where}: no id; each record has an `_id` (BEIR) or `id` (FlagEmbedding)")
    value = str(found[0]) if isinstance(found[0], int) and not isinstance(found[0], bool) else found[0]
    if not isinstance(value, str):
        raise InvalidInputError(f"{where}: id is {json_kind(found[0])}, expected a string or an integer")
    if not value or any(character.isspace() or character == "\0" for character in value):
        raise InvalidInputError(
            f"{where}: id {value!r} is empty or holds white space or a zero byte, which run files can't carry"
        )
    if value in ids:
        raise InvalidInputError(f"{where}: id {value!r} was there before (record {ids[value] + 1}); ids must differ")
    ids[value] = len(ids)
    return value


def text_of(fields: Mapping[str, Any], where: str) -> str:
    """Title, a space, text; the title where there is one. Raises `InvalidInputError` without a ``text``."""
    text, title = fields.get("text"), fields.get("title")
    if not isinstance(text, str):
        raise InvalidInputError(f"{where}: `text` is {json_kind(text)}, expected a string")
    if title is not None and not isinstance(title, str):
        raise InvalidInputError(f"{where}: `title` is {json_kind(title)}, expected a string")
    return f"{title} {text}".strip() if title else text
