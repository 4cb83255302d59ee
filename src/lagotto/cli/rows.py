"""Read texts, one at a time, from txt, jsonl, csv and parquet files or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import (
    Record,
    csv_records,
    json_kind,
    json_records,
    numbered_lines,
    open_parquet,
    parquet_library,
    parquet_records,
)

ENDINGS = {
    ".txt": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
STDIN = "-"
_LARGEST = 2**63  # ids are written to 64-bit columns


@dataclass(frozen=True, slots=True)
class Row:
    """One text and its id: the row's own, or its number counted from 0."""

    id: int | str
    text: str


@dataclass(frozen=True, slots=True)
class Source:
    """A file of texts (or standard input) and how to read it."""

    path: str
    format: str
    field: str = "text"
    id_field: str | None = None
    """None means: ``id``, where the rows have one."""

    @property
    def name(self) -> str:
        """For messages."""
        return "standard input" if self.path == STDIN else self.path

    def identity(self) -> dict[str, Any] | None:
        """What tells whether a later run reads the same: path, size, time of change. None for a stream."""
        path = Path(self.path)
        if self.path == STDIN or not path.is_file():
            return None
        stat = path.stat()
        return {"path": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}

    def estimate(self) -> int | None:
        """About how many rows there are, for a progress bar; None for a stream."""
        if self.identity() is None:
            return None
        if self.format == "parquet":
            return int(open_parquet(self.path).metadata.num_rows)
        with open(self.path, "rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def rows(self) -> Generator[Row, None, None]:
        """The rows in order. Raises `InvalidInputError` that names file and line of a bad one."""
        kind: type | None = None
        for number, (place, fields) in enumerate(self._records()):
            try:
                found = _id_of(fields, self.id_field)
                if number and type(found) is not kind:
                    raise InvalidInputError(
                        f"has {_kind_of_id(type(found))}, but the rows before have {_kind_of_id(kind)}"
                    )
                kind = type(found)
                yield Row(number if found is None else found, _text_of(fields, self.field))
            except InvalidInputError as error:
                raise InvalidInputError(f"{self.name}, {place}: {error}") from None

    def _records(self) -> Iterator[Record]:
        if self.format == "parquet":
            yield from parquet_records(self.path, (self.field, self.id_field or "id"))
            return
        with self._open() as file:
            lines = numbered_lines(file, self.name)
            if self.format == "jsonl":
                yield from json_records(lines, self.name)
            elif self.format == "csv":
                yield from csv_records(lines, self.name)
            else:
                for number, line in lines:
                    yield f"line {number}", {self.field: line.rstrip("\r\n")}

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(sys.stdin.buffer) if self.path == STDIN else open(self.path, "rb")


def open_source(path: str, format: str, field: str = "text", id_field: str | None = None) -> Source:
    """A source whose format is known. Raises `InvalidInputError` where it can't be told, OSError without the file."""
    if path == STDIN:
        if format == "parquet":
            raise InvalidInputError("parquet can't be read from standard input; name the file")
        if sys.stdin.isatty():
            sys.stderr.write("reading standard input; Ctrl-D ends it\n")
        return Source(path, "txt" if format == "auto" else format, field, id_field)
    ending = Path(path).suffix.lower()
    if format == "auto" and ending not in ENDINGS:
        raise InvalidInputError(
            f"{path}: the ending does not tell the format; give --input-format txt, jsonl, csv or parquet"
        )
    chosen = ENDINGS[ending] if format == "auto" else format
    if chosen == "parquet":
        parquet_library()
    with open(path, "rb"):  # says now, and not after a model was loaded, that it can't be read
        return Source(path, chosen, field, id_field)


def _text_of(fields: Mapping[str, Any], field: str) -> str:
    if field not in fields:
        there = ", ".join(map(repr, list(fields)[:10])) or "no fields"
        raise InvalidInputError(f"no field {field!r}; there is {there}. Choose one with --field")
    text = fields[field]
    if not isinstance(text, str):
        raise InvalidInputError(f"field {field!r} is {json_kind(text)}, expected a string")
    return text


def _id_of(fields: Mapping[str, Any], field: str | None) -> int | str | None:
    value = fields.get(field or "id")
    if value is None and field is not None:
        raise InvalidInputError(f"no id: field {field!r} is missing or empty")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"id is {json_kind(value)}, expected a string or an integer")
    if not -_LARGEST <= value < _LARGEST:
        raise InvalidInputError(f"id {value} does not fit 64 bits; write it as a string")
    return value


def _kind_of_id(kind: type | None) -> str:
    return {int: "an integer id", str: "a string id"}.get(kind or object, "no id")
