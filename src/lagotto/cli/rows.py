"""Read texts, one at a time, from txt, jsonl, csv and parquet files or from standard input."""

from __future__ import annotations

import csv
import sys
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from lagotto.core.errors import InvalidInputError, MissingDependencyError

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

Record = tuple[str, Mapping[str, Any]]
"""Where a row stands ("line 7"), and its fields."""


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
            return int(_parquet().ParquetFile(self.path).metadata.num_rows)
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
            yield from self._parquet_records()
            return
        with self._open() as file:
            lines = _decoded(file, self.name)
            if self.format == "jsonl":
                yield from _jsonl(lines, self.name)
            elif self.format == "csv":
                yield from _csv(lines, self.name)
            else:
                for number, line in lines:
                    yield f"line {number}", {self.field: line.rstrip("\r\n")}

    def _open(self) -> AbstractContextManager[BinaryIO]:
        return nullcontext(sys.stdin.buffer) if self.path == STDIN else open(self.path, "rb")

    def _parquet_records(self) -> Iterator[Record]:
        parquet = _parquet()
        try:
            file = parquet.ParquetFile(self.path)
        except ValueError as error:  # pyarrow's ArrowInvalid
            raise InvalidInputError(f"{self.name} is not a parquet file: {error}") from None
        with file:
            names = file.schema_arrow.names
            wanted = [name for name in dict.fromkeys((self.field, self.id_field or "id")) if name in names]
            number = 0
            for batch in file.iter_batches(columns=wanted):
                for fields in batch.to_pylist():
                    yield f"row {number}", fields
                    number += 1


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
        _parquet()
    with open(path, "rb"):  # says now, and not after a model was loaded, that it can't be read
        return Source(path, chosen, field, id_field)


def _parquet() -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError('parquet files need pyarrow: pip install "lagotto[parquet]"') from None
    return pyarrow.parquet


def _decoded(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends; only line feeds end one, as editors and JSON Lines count."""
    for number, raw in enumerate(file, 1):
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidInputError(
                f"{name}, line {number}: not valid UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start}); "
                "convert the file to UTF-8"
            ) from None
        yield number, line.removeprefix("\ufeff") if number == 1 else line


def _jsonl(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Record]:
    import orjson

    for number, line in lines:
        if not line.strip():
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise InvalidInputError(f"{name}, line {number}: not valid JSON: {error}") from None
        if not isinstance(value, dict):
            raise InvalidInputError(f"{name}, line {number}: holds a {type(value).__name__}, expected a JSON object")
        yield f"line {number}", value


def _csv(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Record]:
    csv.field_size_limit(1 << 30)  # the default refuses texts over 128 KiB
    reader = csv.DictReader((line for _, line in lines), restkey="", restval=None, strict=True)
    try:
        for fields in reader:
            if "" in fields and isinstance(fields[""], list):
                raise InvalidInputError(f"{name}, line {reader.line_num}: has more fields than the header")
            yield f"line {reader.line_num}", fields
    except csv.Error as error:
        raise InvalidInputError(f"{name}, line {reader.reader.line_num}: not valid CSV: {error}") from None


def _text_of(fields: Mapping[str, Any], field: str) -> str:
    if field not in fields:
        there = ", ".join(map(repr, list(fields)[:10])) or "no fields"
        raise InvalidInputError(f"no field {field!r}; there is {there}. Choose one with --field")
    text = fields[field]
    if not isinstance(text, str):
        raise InvalidInputError(f"field {field!r} is {_json_kind(text)}, expected a string")
    return text


def _id_of(fields: Mapping[str, Any], field: str | None) -> int | str | None:
    value = fields.get(field or "id")
    if value is None and field is not None:
        raise InvalidInputError(f"no id: field {field!r} is missing or empty")
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidInputError(f"id is {_json_kind(value)}, expected a string or an integer")
    if not -_LARGEST <= value < _LARGEST:
        raise InvalidInputError(f"id {value} does not fit 64 bits; write it as a string")
    return value


def _json_kind(value: object) -> str:
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def _kind_of_id(kind: type | None) -> str:
    return {int: "an integer id", str: "a string id"}.get(kind or object, "no id")
