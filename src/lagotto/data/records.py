"""Read records one at a time from JSON Lines, CSV, TSV, text and Parquet; whatever is wrong names file and line."""

from __future__ import annotations

import csv
import gzip
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError, MissingDependencyError

Record = tuple[str, Mapping[str, Any]]
"""Where a record stands ("line 7"), and its fields."""

BYTE_ORDER_MARK = "\ufeff"
"""What Windows' editors put in front of UTF-8 files."""
READABLE = (".jsonl", ".ndjson", ".jsonl.gz", ".csv", ".tsv", ".parquet", ".pq")
"""Endings `read_records` knows."""


def read_records(path: Path) -> Iterator[Record]:
    """The records of a file, by its ending. Raises `InvalidInputError` at the first bad one."""
    name, lower = str(path), path.name.lower()
    if lower.endswith((".parquet", ".pq")):
        yield from parquet_records(name)
    elif lower.endswith(".jsonl.gz"):
        with gzip.open(path, "rb") as file:
            try:
                yield from json_records(numbered_lines(file, name), name)
            except (OSError, EOFError, zlib.error) as error:  # a damaged or cut-off archive
                raise InvalidInputError(f"{name} can't be unpacked: {error}") from None
    elif lower.endswith((".jsonl", ".ndjson", ".csv", ".tsv")):
        with path.open("rb") as file:
            lines = numbered_lines(file, name)
            if lower.endswith(".csv"):
                yield from csv_records(lines, name)
            elif lower.endswith(".tsv"):
                yield from tsv_records(lines, name)
            else:
                yield from json_records(lines, name)
    else:
        raise InvalidInputError(f"{name}: the ending does not tell the format; allowed are {', '.join(READABLE)}")


def numbered_lines(file: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Numbered lines with their ends; only line feeds end one, as editors and JSON Lines count."""
    for number, raw in enumerate(file, 1):
        line = decoded(raw, number, name)
        yield number, line.removeprefix(BYTE_ORDER_MARK) if number == 1 else line


def decoded(raw: bytes, number: int, name: str) -> str:
    """A line as text. Raises `InvalidInputError` that names the byte which is not UTF-8."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInputError(
            f"{name}, line {number}: not valid UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start}); "
            "convert the file to UTF-8"
        ) from None


def json_records(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Record]:
    """One JSON object a line; blank lines are passed over."""
    for number, line in lines:
        if line.strip():
            yield f"line {number}", json_object(line, number, name)


def json_object(line: str, number: int, name: str) -> dict[str, Any]:
    """The object on a line. Raises `InvalidInputError` for anything else."""
    import orjson

    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise InvalidInputError(f"{name}, line {number}: not valid JSON: {error}") from None
    if not isinstance(value, dict):
        raise InvalidInputError(f"{name}, line {number}: holds a {type(value).__name__}, expected a JSON object")
    return value


def csv_records(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Record]:
    """Comma-separated values; the first row names the fields."""
    csv.field_size_limit(1 << 30)  # the default refuses texts over 128 KiB
    reader = csv.DictReader((line for _, line in lines), restkey="", restval=None, strict=True)
    try:
        for fields in reader:
            if "" in fields and isinstance(fields[""], list):
                raise InvalidInputError(f"{name}, line {reader.line_num}: has more fields than the header")
            yield f"line {reader.line_num}", fields
    except csv.Error as error:
        raise InvalidInputError(f"{name}, line {reader.reader.line_num}: not valid CSV: {error}") from None


def tsv_records(lines: Iterable[tuple[int, str]], name: str) -> Iterator[Record]:
    """Tab-separated values without quoting, as retrieval data sets write them; the first line names the fields."""
    header: list[str] | None = None
    for number, line in lines:
        cells = line.rstrip("\r\n").split("\t")
        if header is None:
            header = cells
        elif line.strip():
            if len(cells) != len(header):
                raise InvalidInputError(
                    f"{name}, line {number}: has {len(cells)} fields, the header has {len(header)}: {', '.join(header)}"
                )
            yield f"line {number}", dict(zip(header, cells, strict=True))


def parquet_records(name: str, columns: Iterable[str] | None = None) -> Iterator[Record]:
    """The rows of a Parquet file, batch by batch; ``columns`` are read where they are there, all by default."""
    with open_parquet(name) as file:
        names = file.schema_arrow.names
        wanted = None if columns is None else [column for column in dict.fromkeys(columns) if column in names]
        number = 0
        for rows in _batches(file, wanted, name):
            for fields in rows:
                yield f"row {number}", fields
                number += 1


def _batches(file: Any, columns: list[str] | None, name: str) -> Iterator[list[dict[str, Any]]]:
    try:
        for batch in file.iter_batches(columns=columns):
            yield batch.to_pylist()
    except (OSError, ValueError) as error:  # damaged pages; strings that are not UTF-8
        raise InvalidInputError(f"{name} can't be read: {error}") from None


def open_parquet(name: str) -> Any:
    """pyarrow's ``ParquetFile``. Raises `InvalidInputError` for another file, `MissingDependencyError`."""
    try:
        return parquet_library().ParquetFile(name)
    except ValueError as error:  # pyarrow's ArrowInvalid
        raise InvalidInputError(f"{name} is not a parquet file: {error}") from None


def parquet_library() -> Any:
    """``pyarrow.parquet``. Raises `MissingDependencyError` without it."""
    try:
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError('parquet files need pyarrow: pip install "lagotto[parquet]"') from None
    return pyarrow.parquet


def json_kind(value: object) -> str:
    """What a value is, in JSON's words, for messages."""
    names = {bool: "a boolean", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")
