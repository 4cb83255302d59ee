"""Corpora: one by one, from a place on, and every way a record can be wrong."""

from __future__ import annotations

import gzip
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.corpus import JsonlCorpus, ListCorpus, ParquetCorpus, open_corpus, text_of

DOCUMENTS = {
    f"d{i}": text for i, text in enumerate(["one", "", "drei\n3", "熊猫 🐼", "\u2028five", " six ", "x" * 5000])
}


def lines_of(documents, key="_id"):
    return [json.dumps({key: name, "text": text}, ensure_ascii=False) for name, text in documents.items()]


def agrees(corpus, documents):
    """Whether a corpus gives these documents in all its ways."""
    texts = list(documents.values())
    assert (len(corpus), list(corpus.ids)) == (len(texts), list(documents))
    assert [corpus.text(place) for place in range(len(texts))] == texts
    assert [corpus.text(place) for place in reversed(range(len(texts)))] == texts[::-1]
    for start in range(len(texts) + 2):
        assert list(corpus.texts(start)) == texts[start:]
    assert list(corpus.texts()) == texts
    return True


@pytest.mark.parametrize("key", ["_id", "id"])
@pytest.mark.parametrize("name", ["c.jsonl", "c.ndjson", "c.JSONL", "c.jsonl.gz", "c.parquet", "c.pq"])
def test_every_format_gives_the_same(tmp_path, name, key):
    path = tmp_path / name
    if name.endswith(("parquet", "pq")):
        pq.write_table(pa.table({key: list(DOCUMENTS), "text": list(DOCUMENTS.values())}), path)
    else:
        content = "\n".join(lines_of(DOCUMENTS, key)).encode()
        path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    assert agrees(open_corpus(path), DOCUMENTS)


@pytest.mark.parametrize(("name", "comma"), [("c.tsv", "\t"), ("c.csv", ",")])
def test_tables_of_text(tmp_path, name, comma):
    (tmp_path / name).write_text("\n".join([f"id{comma}title{comma}text", f"1{comma}T{comma}one", f"2{comma}{comma}"]))
    assert agrees(open_corpus(tmp_path / name), {"1": "T one", "2": ""})


def test_kinds():
    assert agrees(ListCorpus(DOCUMENTS), DOCUMENTS)
    assert agrees(ListCorpus({}), {})


@st.composite
def files(draw):
    """A file of JSON Lines with whatever may stand between and around the objects, and what it holds."""
    texts = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=6))
    documents = {f"d{number}": text for number, text in enumerate(texts)}
    blank = st.sampled_from(["", "\n", " \n", "\r\n", "\t\n\n", "\u00a0\n"])
    end = draw(st.sampled_from(["\n", "\r\n"]))
    parts = [draw(st.sampled_from(["", "\ufeff"]))]
    for line in lines_of(documents):
        parts += [draw(blank), draw(st.sampled_from(["", " "])), line, end]
    parts.append(draw(blank))
    whole = "".join(parts)
    return (whole if draw(st.booleans()) else whole.rstrip("\r\n")), documents


@given(files())
def test_places_agree_in_any_file(tmp_path_factory, case):
    content, documents = case
    path = tmp_path_factory.mktemp("corpus") / "corpus.jsonl"
    path.write_bytes(content.encode())
    assert agrees(JsonlCorpus(path), documents)


def test_a_first_line_that_is_nothing_but_a_byte_order_mark(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_bytes("\ufeff\r\n".encode() + "\n".join(lines_of(DOCUMENTS)).encode())
    assert agrees(JsonlCorpus(path), DOCUMENTS)


def test_a_long_corpus_is_read_as_far_as_it_is_taken(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(lines_of({f"d{i}": f"text {i}" for i in range(2000)})))
    corpus = JsonlCorpus(path)
    texts = corpus.texts(1998)
    assert next(texts) == "text 1998"
    assert corpus.text(3) == "text 3"  # in the midst of it
    assert list(texts) == ["text 1999"]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_parquet_in_row_groups(tmp_path, rows):
    pq.write_table(
        pa.table({"_id": list(DOCUMENTS), "text": list(DOCUMENTS.values()), "vector": [[0.5] * 3] * len(DOCUMENTS)}),
        tmp_path / "c.parquet",
        row_group_size=rows,
    )
    assert agrees(ParquetCorpus(tmp_path / "c.parquet"), DOCUMENTS)


def test_parquet_with_empty_row_groups(tmp_path):
    table = pa.table({"id": list(DOCUMENTS), "text": list(DOCUMENTS.values())})
    with pq.ParquetWriter(tmp_path / "c.parquet", table.schema) as writer:
        for part in (table[:0], table[:2], table[2:2], table[2:], table[:0]):
            writer.write_table(part)
    assert agrees(ParquetCorpus(tmp_path / "c.parquet"), DOCUMENTS)


@pytest.mark.parametrize("content", ["", "\n \n", "\ufeff"])
def test_an_empty_corpus(tmp_path, content):
    (tmp_path / "c.jsonl").write_text(content, encoding="utf-8")
    assert agrees(open_corpus(tmp_path / "c.jsonl"), {})
    pq.write_table(pa.table({"_id": pa.array([], "string"), "text": pa.array([], "string")}), tmp_path / "c.parquet")
    assert agrees(open_corpus(tmp_path / "c.parquet"), {})


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"text": " x "}, " x "),
        ({"title": None, "text": "x"}, "x"),
        ({"title": "", "text": "x"}, "x"),
        ({"title": "T", "text": "x"}, "T x"),
        ({"title": "T", "text": ""}, "T"),
        ({"title": " ", "text": "x"}, "x"),
    ],
)
def test_the_title_stands_before_the_text(fields, text):
    assert text_of(fields, "x") == text


def test_ids_may_be_integers(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": 0, "text": "a"}\n{"_id": -7, "text": "b"}\n{"id": "0x", "text": "c"}')
    assert list(open_corpus(tmp_path / "c.jsonl").ids) == ["0", "-7", "0x"]
    pq.write_table(pa.table({"id": pa.array([5, 6], "int32"), "text": ["a", "b"]}), tmp_path / "c.parquet")
    assert list(open_corpus(tmp_path / "c.parquet").ids) == ["5", "6"]


def test_beirs_id_is_taken_where_there_are_two(tmp_path):
    (tmp_path / "c.jsonl").write_text('{"_id": "a", "id": "b", "text": ""}\n{"_id": null, "id": "c", "text": ""}')
    assert list(open_corpus(tmp_path / "c.jsonl").ids) == ["a", "c"]


BAD = [
    ('{"text": "a"}', "no id; each record has an `_id`"),
    ('{"_id": null, "text": "a"}', "no id"),
    ('{"_id": true, "text": "a"}', "id is a boolean, expected a string or an integer"),
    ('{"_id": 1.5, "text": "a"}', "id is a number, expected"),
    ('{"_id": ["a"], "text": "a"}', "id is a list"),
    ('{"_id": "", "text": "a"}', "id '' is empty or holds white space"),
    ('{"_id": "a b", "text": "a"}', "id 'a b' is empty or holds white space"),
    ('{"_id": "a\\n", "text": "a"}', "holds white space"),
    ('{"_id": "a\u00a0b", "text": "a"}', "holds white space"),
    ('{"_id": "a\\u0000b", "text": "a"}', "or a zero byte, which run files can't carry"),
    ('{"_id": "d0", "text": "a"}', r"id 'd0' was there before \(record 1\); ids must differ"),
    ('{"_id": "a"}', "`text` is null, expected a string"),
    ('{"_id": "a", "text": 5}', "`text` is a number, expected a string"),
    ('{"_id": "a", "text": ["b"]}', "`text` is a list"),
    ('{"_id": "a", "text": "b", "title": 7}', "`title` is a number, expected a string"),
    ('["_id", "text"]', "holds a list, expected a JSON object"),
    ('{"_id": "a", "text": "b"', "not valid JSON"),
    ('{"_id": "a", "text": "\\ud800"}', "not valid JSON"),
]


@pytest.mark.parametrize("name", ["c.jsonl", "c.jsonl.gz"])
@pytest.mark.parametrize(("line", "message"), BAD)
def test_a_bad_document_is_named_by_its_line(tmp_path, name, line, message):
    path = tmp_path / name
    content = "\n".join([*lines_of(DOCUMENTS)[:2], "", line, ""]).encode()
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    with pytest.raises(InvalidInputError, match=message) as raised:
        open_corpus(path)
    assert str(raised.value).startswith(f"{path}, line 4: ")


def test_a_text_that_is_not_utf_8_is_named_by_its_line(tmp_path):
    (tmp_path / "c.jsonl").write_bytes(b'{"_id": "a", "text": ""}\n{"_id": "b", "text": "\xff"}')
    with pytest.raises(InvalidInputError, match=r"line 2: not valid UTF-8 \(byte 0xff at position 22\)"):
        open_corpus(tmp_path / "c.jsonl")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"_id": ["a", "a"], "text": ["", ""]}, r"row 1: id 'a' was there before \(record 1\)"),
        ({"_id": ["a", None], "text": ["", ""]}, "row 1: no id"),
        ({"_id": ["a"], "text": [None]}, "row 0: `text` is null"),
        ({"_id": ["a"], "text": [b"bytes"]}, "row 0: `text` is a bytes"),
        ({"_id": [0.5], "text": ["a"]}, "row 0: id is a number"),
        ({"body": ["a"]}, "row 0: no id"),
    ],
)
def test_a_bad_parquet_document_is_named_by_its_row(tmp_path, columns, message):
    pq.write_table(pa.table(columns), tmp_path / "c.parquet")
    with pytest.raises(InvalidInputError, match=message):
        open_corpus(tmp_path / "c.parquet")


def test_a_file_that_changed_since_is_noticed(tmp_path):
    path = tmp_path / "c.jsonl"
    path.write_text("\n".join(lines_of(DOCUMENTS)))
    corpus = JsonlCorpus(path)
    path.write_bytes(b"\xff" * 300)
    for read in (lambda: corpus.text(3), lambda: list(corpus.texts(3))):
        with pytest.raises(InvalidInputError, match="not valid UTF-8"):
            read()
    path.write_text("")
    with pytest.raises(InvalidInputError, match="not valid JSON"):
        corpus.text(3)


def test_an_ending_without_a_format(tmp_path):
    (tmp_path / "c.txt").write_text("one\n")
    with pytest.raises(InvalidInputError, match="the ending does not tell the format"):
        open_corpus(tmp_path / "c.txt")
