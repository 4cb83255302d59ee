"""Reading rows: every format, every way a row can be wrong."""

from __future__ import annotations

import io
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lagotto.cli.rows import Row, open_source
from lagotto.core.errors import InvalidInputError, MissingDependencyError


def read(path, **options):
    return list(open_source(str(path), options.pop("format", "auto"), **options).rows())


@pytest.fixture
def file(tmp_path):
    def write(name: str, content: str | bytes):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_txt_is_a_row_a_line(file):
    rows = read(file("a.txt", "\ufeffone\r\n\n三\u2028still 三"))
    assert rows == [Row(0, "one"), Row(1, ""), Row(2, "三\u2028still 三")]


def test_jsonl(file):
    path = file("a.jsonl", '{"text": "one", "id": "a"}\n\n{"id": "b", "text": "two", "more": [1]}\n')
    assert read(path) == [Row("a", "one"), Row("b", "two")]


def test_jsonl_with_other_fields(file):
    path = file("a.ndjson", '{"body": "one", "key": 7}\n{"body": "two", "key": -8}')
    assert read(path, field="body", id_field="key") == [Row(7, "one"), Row(-8, "two")]
    assert read(path, field="body") == [Row(0, "one"), Row(1, "two")]


def test_csv(file):
    path = file("a.csv", 'id,text\r\n1,"two\nlines, ""quoted"""\r\n\r\n2,熊猫\r\n')
    assert read(path) == [Row("1", 'two\nlines, "quoted"'), Row("2", "熊猫")]


def test_csv_takes_long_texts(file):
    long = "x" * 300_000
    assert read(file("a.csv", f"text\n{long}\n")) == [Row(0, long)]


def test_parquet(tmp_path):
    pq.write_table(pa.table({"id": [5, 6], "text": ["one", "两"], "other": [0.1, 0.2]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == [Row(5, "one"), Row(6, "两")]
    assert open_source(str(tmp_path / "a.parquet"), "auto").estimate() == 2


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.csv"])
def test_an_empty_file_has_no_rows(file, name):
    assert read(file(name, "")) == []


def test_standard_input_is_txt_unless_told_otherwise(monkeypatch):
    def give(content: bytes) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))

    give("一\n二\n".encode())
    assert read("-") == [Row(0, "一"), Row(1, "二")]
    give(b'{"text": "one"}')
    source = open_source("-", "jsonl")
    assert list(source.rows()) == [Row(0, "one")]
    assert source.identity() is None
    assert source.estimate() is None
    with pytest.raises(InvalidInputError, match="parquet can't be read from standard input"):
        open_source("-", "parquet")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", b"fine\n\xff\xfe", r"line 2: not valid UTF-8 \(byte 0xff at position 0\)"),
        ("a.jsonl", '{"text": "a"}\n{"text": ', "line 2: not valid JSON"),
        ("a.jsonl", '{"text": "\\ud800"}', "line 1: not valid JSON"),
        ("a.jsonl", '["a"]', "line 1: holds a list, expected a JSON object"),
        ("a.jsonl", '\n{"body": "a"}', "line 2: no field 'text'; there is 'body'. Choose one with --field"),
        ("a.jsonl", "{}", "line 1: no field 'text'; there is no fields"),
        ("a.jsonl", '{"text": 5}', "line 1: field 'text' is a number, expected a string"),
        ("a.jsonl", '{"text": null}', "line 1: field 'text' is null, expected a string"),
        ("a.jsonl", '{"text": "a", "id": 1.5}', "line 1: id is a number, expected a string or an integer"),
        ("a.jsonl", '{"text": "a", "id": true}', "line 1: id is a boolean"),
        ("a.jsonl", '{"text": "a", "id": 9223372036854775808}', "line 1: id 9223372036854775808 does not fit 64 bits"),
        (
            "a.jsonl",
            '{"text": "a", "id": 1}\n{"text": "b"}',
            "line 2: has no id, but the rows before have an integer id",
        ),
        (
            "a.jsonl",
            '{"text": "a"}\n{"text": "b", "id": "x"}',
            "line 2: has a string id, but the rows before have no id",
        ),
        ("a.csv", "id,text\n1,a,b\n", "line 2: has more fields than the header"),
        ("a.csv", "id,text\n1\n", "line 2: field 'text' is null"),
        ("a.csv", "id,body\n1,a\n", "line 2: no field 'text'; there is 'id', 'body'"),
        ("a.csv", 'text\nfine\n"open\n', "line 3: not valid CSV"),
    ],
)
def test_a_bad_row_is_named(file, name, content, message):
    path = file(name, content)
    with pytest.raises(InvalidInputError, match=message) as raised:
        read(path)
    assert str(raised.value).startswith(f"{path}, line ")


def test_an_id_field_that_was_asked_for_must_be_there(file):
    with pytest.raises(InvalidInputError, match="line 1: no id: field 'key' is missing or empty"):
        read(file("a.jsonl", '{"text": "a", "id": 1}'), id_field="key")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"text": ["a", None]}, "row 1: field 'text' is null"),
        ({"text": [1]}, "row 0: field 'text' is a number"),
        ({"body": ["a"]}, "row 0: no field 'text'"),
    ],
)
def test_a_bad_parquet_row_is_named(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "a.parquet")
    with pytest.raises(InvalidInputError, match=message):
        read(tmp_path / "a.parquet")


def test_not_a_parquet_file(file):
    with pytest.raises(InvalidInputError, match="is not a parquet file"):
        read(file("a.parquet", "no"))


def test_parquet_without_pyarrow(file, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "lagotto\[parquet\]"'):
        open_source(str(file("a.parquet", "")), "auto")


def test_an_ending_that_tells_nothing(file):
    path = file("a.dat", "one")
    with pytest.raises(InvalidInputError, match="give --input-format"):
        open_source(str(path), "auto")
    assert read(path, format="txt") == [Row(0, "one")]


def test_identity_changes_with_the_file(file):
    path = file("a.txt", "one")
    before = open_source(str(path), "auto").identity()
    assert before == open_source(str(path), "auto").identity()
    path.write_text("two or more")
    assert before != open_source(str(path), "auto").identity()
