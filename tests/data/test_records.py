"""Records from every format, and every way a file can be wrong; the command's rows are read by the same code."""

from __future__ import annotations

import gzip
import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.data.records import (
    READABLE,
    json_kind,
    json_object,
    numbered_lines,
    open_parquet,
    parquet_records,
    read_records,
)

ROWS = [{"id": "a", "text": "one"}, {"id": "b", "text": "zwei, 三"}]
JSONL = '{"id": "a", "text": "one"}\n{"id": "b", "text": "zwei, 三"}\n'
CSV = 'id,text\na,one\nb,"zwei, 三"\n'
TSV = "id\ttext\na\tone\nb\tzwei, 三\n"


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def fields(path):
    return [dict(record) for _, record in read_records(path)]


def places(path):
    return [place for place, _ in read_records(path)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.ndjson", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet", "a.pq"])
@pytest.mark.parametrize("upper", [False, True])
def test_every_format_reads_to_the_same_records(file, tmp_path, name, upper):
    assert name[1:] in READABLE
    path = tmp_path / (name.upper() if upper else name)
    if name.endswith((".parquet", ".pq")):
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    else:
        content = JSONL if "json" in name else CSV if name.endswith("csv") else TSV
        path.write_bytes(gzip.compress(content.encode()) if name.endswith("gz") else content.encode())
    assert fields(path) == ROWS


def test_places_count_lines_of_the_file_and_rows_of_a_table(file, tmp_path):
    assert places(file("a.jsonl", '\n{"id": 1}\n \n{"id": 2}')) == ["line 2", "line 4"]
    assert places(file("a.tsv", "id\ttext\n\na\tb\n")) == ["line 3"]
    assert places(file("a.csv", 'id,text\n1,"two\nlines"\n2,x\n')) == ["line 3", "line 4"]
    pq.write_table(pa.table({"id": [1, 2]}), tmp_path / "a.parquet")
    assert places(tmp_path / "a.parquet") == ["row 0", "row 1"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
def test_marks_of_windows_are_no_part_of_the_data(file, name):
    content = {"a.jsonl": JSONL, "a.csv": CSV, "a.tsv": TSV}[name]
    assert fields(file(name, "\ufeff" + content.replace("\n", "\r\n"))) == ROWS


def test_only_line_feeds_end_lines():
    lines = list(numbered_lines(io.BytesIO("a\u2028b\u0085c\vd\n\re".encode()), "x"))
    assert lines == [(1, "a\u2028b\u0085c\vd\n"), (2, "\re")]


def test_a_byte_order_mark_counts_at_the_beginning_only():
    assert list(numbered_lines(["\ufeffa\n".encode(), "\ufeffb".encode()], "x")) == [(1, "a\n"), (2, "\ufeffb")]


def test_a_line_of_megabytes(file):
    long = "熊" * 1_000_000
    assert fields(file("a.jsonl", f'{{"text": "{long}"}}')) == [{"text": long}]
    assert fields(file("a.tsv", f"text\tid\n{long}\t1")) == [{"text": long, "id": "1"}]


def test_tsv_has_no_quoting(file):
    assert fields(file("a.tsv", 'a\tb\n"x\t y"\n\t\n')) == [{"a": '"x', "b": ' y"'}]


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.tsv"])
@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_has_no_records(file, name, content):
    assert fields(file(name, content)) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "{}\n[1]\n", "line 2: holds a list, expected a JSON object"),
        ("a.jsonl", '{}\n\n{"a": 1', "line 3: not valid JSON"),
        ("a.jsonl", '{"a": NaN}', "line 1: not valid JSON"),
        ("a.jsonl", '{"a": 1}\r{"a": 2}', "line 1: not valid JSON"),
        ("a.jsonl", "[" * 100_000, "line 1: not valid JSON"),
        ("a.jsonl", b'{}\n{"a": "\xe9"}', r"line 2: not valid UTF-8 \(byte 0xe9 at position 7\); convert"),
        ("a.jsonl", "{}\n".encode("utf-16"), "line 1: not valid UTF-8"),
        ("a.tsv", "a\tb\n1\t2\n1\n", "line 3: has 1 fields, the header has 2: a, b"),
        ("a.tsv", b"a\tb\n1\t\xff\n", "line 2: not valid UTF-8"),
        ("a.csv", "a,b\n1,2,3\n", "line 2: has more fields than the header"),
        ("a.csv", 'a\n"open\n', "not valid CSV"),
        ("a.csv", "a\nx\ry\n", "not valid CSV"),
    ],
)
def test_a_bad_line_is_named(file, name, content, message):
    path = file(name, content)
    with pytest.raises(InvalidInputError, match=message) as raised:
        fields(path)
    assert str(raised.value).startswith(f"{path}, line ")


def test_lines_before_a_bad_one_are_given(file):
    records = read_records(file("a.jsonl", '{"a": 1}\nno\n'))
    assert next(records) == ("line 1", {"a": 1})
    with pytest.raises(InvalidInputError, match="line 2"):
        next(records)


@pytest.mark.parametrize("damage", ["no archive", "cut off", "wrong bytes", "wrong sum"])
def test_a_damaged_archive(file, damage):
    whole = bytearray(gzip.compress(b"".join(b'{"a": %d}\n' % (i * 7919) for i in range(2000))))
    if damage == "no archive":
        whole = bytearray(JSONL.encode())
    elif damage == "cut off":
        whole = whole[: len(whole) // 2]
    elif damage == "wrong bytes":
        whole[20:40] = bytes(20)
    else:
        whole[-8] ^= 1
    path = file("a.jsonl.gz", bytes(whole))
    with pytest.raises(InvalidInputError, match="can't be unpacked"):
        fields(path)


def test_bad_json_in_an_archive_names_the_line(file):
    with pytest.raises(InvalidInputError, match=r"a\.jsonl\.gz, line 2: not valid JSON"):
        fields(file("a.jsonl.gz", gzip.compress(b"{}\n{\n")))


@pytest.mark.parametrize("name", ["a.json", "a", "jsonl", "a.jsonl.bz2", "a.txt", "a.jsonl ", "a.tsv.gz"])
def test_an_ending_that_tells_nothing_names_those_that_do(file, name):
    with pytest.raises(InvalidInputError, match=r"allowed are \.jsonl, \.ndjson, \.jsonl\.gz"):
        fields(file(name, JSONL))


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.csv", "a.tsv", "a.parquet"])
def test_a_missing_file_is_the_systems_own_error(tmp_path, name):
    with pytest.raises(FileNotFoundError, match=name):
        fields(tmp_path / name)


def test_parquet_columns_are_read_where_they_are_there(tmp_path):
    pq.write_table(pa.table({"id": ["a"], "text": ["one"], "more": [[1, 2]]}), tmp_path / "a.parquet")
    read = [dict(row) for _, row in parquet_records(str(tmp_path / "a.parquet"), ("text", "absent", "text"))]
    assert read == [{"text": "one"}]
    assert fields(tmp_path / "a.parquet") == [{"id": "a", "text": "one", "more": [1, 2]}]


def test_parquet_rows_count_on_over_row_groups(tmp_path):
    pq.write_table(pa.table({"id": list(range(10))}), tmp_path / "a.parquet", row_group_size=3)
    assert list(read_records(tmp_path / "a.parquet")) == [(f"row {i}", {"id": i}) for i in range(10)]


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no table at all, whatever the ending says"])
def test_not_a_parquet_file(file, content):
    path = file("a.parquet", content)
    with pytest.raises(InvalidInputError, match=r"a\.parquet is not a parquet file"):
        open_parquet(str(path))


def test_a_parquet_file_with_damaged_pages(tmp_path):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [f"text number {i}" for i in range(1000)]}), path)
    content = bytearray(path.read_bytes())
    for place in range(200, 260):
        content[place] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InvalidInputError, match=r"a\.parquet can't be read"):
        fields(path)


def test_parquet_strings_that_are_not_utf_8(tmp_path):
    column = pa.Array.from_buffers(pa.string(), 1, [None, pa.py_buffer(b"\0\0\0\0\2\0\0\0"), pa.py_buffer(b"\xff\xfe")])
    pq.write_table(pa.table({"text": column}), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match="can't be read: 'utf-8' codec can't decode"):
        fields(tmp_path / "a.parquet")


def test_without_pyarrow_the_extra_is_named(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "lagotto\[parquet\]"'):
        fields(file("a.parquet", ""))


def test_json_objects():
    assert json_object(' {"a": "熊"} ', 1, "x") == {"a": "熊"}
    with pytest.raises(InvalidInputError, match="x, line 7: holds a str, expected a JSON object"):
        json_object('"a"', 7, "x")


@pytest.mark.parametrize(
    ("value", "name"),
    [(None, "null"), (True, "a boolean"), (1, "a number"), (0.5, "a number"), ([], "a list"), ({}, "an object")],
)
def test_values_in_jsons_words(value, name):
    assert json_kind(value) == name
    assert json_kind(b"") == "a bytes"
