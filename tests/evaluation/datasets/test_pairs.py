"""Sets of pairs: what a file's fields make of it, and what is refused."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.pairs import Candidates, PairData, read_pairs
from lagotto.evaluation.instructions import TaskHint

STS = [
    {"sentence1": "a", "sentence2": "b", "score": 1.5},
    {"sentence1": "c", "sentence2": "d", "score": 4},
    {"sentence1": "é", "sentence2": "", "score": 4},
]
LABELS = [{"sentence1": "a", "sentence2": "b", "label": 1}, {"sentence1": "c", "sentence2": "d", "label": 0}]
BITEXT = [{"sentence1": "dog", "sentence2": "狗"}, {"sentence1": "cat", "sentence2": "猫"}]
RERANKING = [
    {"query": "q", "positive": ["a", "b"], "negative": ["c"]},
    {"query": "", "positive": ["d"], "negative": ["e", "f", "g"]},
]


@pytest.fixture
def write(tmp_path):
    def to(name, rows):
        path = tmp_path / name
        if isinstance(rows, str | bytes):
            path.write_bytes(rows.encode() if isinstance(rows, str) else rows)
        elif name.endswith("parquet"):
            pq.write_table(pa.Table.from_pylist(rows), path)
        elif name.endswith(("csv", "tsv")):
            comma = "," if name.endswith("csv") else "\t"
            path.write_text("\n".join([comma.join(rows[0]), *(comma.join(map(str, r.values())) for r in rows)]))
        else:
            content = "\n".join(json.dumps(row) for row in rows).encode()
            path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        return path

    return to


@pytest.mark.parametrize("name", ["sts-b.jsonl", "sts-b.jsonl.gz", "sts-b.csv", "sts-b.tsv", "sts-b.parquet"])
def test_sts_from_every_format(write, name):
    rows = [{**row, "score": float(row["score"])} for row in STS]  # a Parquet column has one type
    data = read_pairs(write(name, rows))
    assert (data.name, data.kind, len(data)) == ("sts-b", "sts", 3)
    assert data.left == ("a", "c", "é")
    assert data.right == ("b", "d", "")
    assert data.gold == (1.5, 4.0, 4.0)
    assert data.task == TaskHint("sts-b", "STS")
    assert data.source.endswith(name)
    assert (data.candidates, data.warnings, data.group) == ((), (), None)


@pytest.mark.parametrize("name", ["p.jsonl", "p.csv", "p.tsv", "p.parquet"])
def test_pair_classification_from_every_format(write, name):
    data = read_pairs(write(name, LABELS))
    assert (data.kind, data.gold, data.task.type) == ("pair_classification", (1.0, 0.0), "PairClassification")


def test_labels_may_be_true_and_false(write):
    rows = [{**row, "label": bool(row["label"])} for row in LABELS]
    assert read_pairs(write("p.jsonl", rows)).gold == (1.0, 0.0)


@pytest.mark.parametrize("name", ["b.jsonl", "b.csv", "b.tsv", "b.parquet"])
def test_bitext_from_every_format(write, name):
    data = read_pairs(write(name, BITEXT))
    assert (data.kind, data.gold, data.task.type) == ("bitext", (), "BitextMining")
    assert (data.left, data.right) == (("dog", "cat"), ("狗", "猫"))


@pytest.mark.parametrize(
    "header", ["en\tzh", "query\tanswer", "text\tscore", "sentence2\tlabel", "sentence1\tsentence2"]
)
def test_a_tsv_of_two_columns_is_bitext_whatever_they_are_called(write, header):
    data = read_pairs(write("tatoeba.TSV", f"\ufeff{header}\r\ndog\t狗\r\n\r\ncat \t猫\r\n"))
    assert (data.name, data.kind) == ("tatoeba", "bitext")
    assert (data.left, data.right) == (("dog", "cat "), ("狗", "猫"))


@pytest.mark.parametrize("name", ["r.jsonl", "r.parquet"])
def test_reranking(write, name):
    data = read_pairs(write(name, RERANKING))
    assert (data.kind, len(data), data.task.type) == ("reranking", 2, "Reranking")
    assert data.candidates == (Candidates("q", ("a", "b"), ("c",)), Candidates("", ("d",), ("e", "f", "g")))
    assert (data.left, data.right, data.gold) == ((), (), ())


def test_a_lone_string_is_a_list_of_one(write):
    assert read_pairs(write("r.csv", "query,positive,negative\nq,a,b\n")).candidates == (
        Candidates("q", ("a",), ("b",)),
    )


def test_queries_without_a_side_are_left_out_with_a_warning(write):
    rows = [
        *RERANKING,
        {"query": "x", "positive": [], "negative": ["a"]},
        {"query": "y", "positive": ["a"], "negative": []},
    ]
    data = read_pairs(write("r.jsonl", rows))
    assert [item.query for item in data.candidates] == ["q", ""]
    assert data.warnings == ("2 queries without a positive or without a negative are left out",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("dev.v2.jsonl", "dev.v2"), ("a.test.tsv", "a.test"), ("x.jsonl.gz", "x"), ("Y.CSV", "Y")],
)
def test_names_keep_all_but_the_ending(write, name, expected):
    rows = (
        BITEXT
        if name.endswith(("jsonl", "gz"))
        else "sentence1,sentence2\na,b\n".replace(",", "\t" if "tsv" in name else ",")
    )
    data = read_pairs(write(name, rows))
    assert data.name == data.task.name == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", "", "no pairs"),
        ("a.csv", "sentence1,sentence2\n", "no pairs"),
        ("a.jsonl", '{"a": "x", "b": "y"}', "fields are a, b; pairs have sentence1 and sentence2"),
        ("a.jsonl", "{}", "fields are ; pairs have"),
        ("a.csv", "left,right\na,b\n", "fields are left, right; pairs have"),
        ("a.tsv", "a\tb\tc\n1\t2\t3\n", "fields are a, b, c"),
        ("a.tsv", "text\ttext\na\tb\n", "fields are text; pairs have"),
        ("a.jsonl", '{"sentence1": "a", "sentence2": 5}', "line 1: `sentence2` is a number, expected a string"),
        ("a.jsonl", '{"sentence1": "a", "sentence2": "b"}\n{"sentence1": "a"}', "line 2: `sentence2` is null"),
        ("a.jsonl", '{"sentence1": ["a"], "sentence2": "b"}', "line 1: `sentence1` is a list"),
        ("a.csv", "sentence1,sentence2,score\na,b,high\n", "line 2: `score` is 'high', expected a number"),
        ("a.csv", "sentence1,sentence2,score\na,b,\n", "line 2: `score` is '', expected a number"),
        ("a.csv", "sentence1,sentence2,score\na,b,nan\n", "line 2: `score` is 'nan', expected a number"),
        ("a.csv", "sentence1,sentence2,score\na,b,inf\n", "line 2: `score` is 'inf', expected a number"),
        ("a.csv", "sentence1,sentence2,score\na,b,3\nc,d,3.0\n", "every score is 3.0, so no correlation"),
        (
            "a.jsonl",
            '{"sentence1": "a", "sentence2": "b", "score": 1}\n\n{"sentence1": "a", "sentence2": "b"}',
            "line 3: `score` is None, expected a number",
        ),
        ("a.jsonl", '{"sentence1": "a", "sentence2": "b", "score": [1]}', r"line 1: `score` is \[1\]"),
        ("a.csv", "sentence1,sentence2,label\na,b,1\nc,d,2\n", r"labels are \[1\.0, 2\.0\]; both 1 \(same\) and 0"),
        ("a.csv", "sentence1,sentence2,label\na,b,1\n", r"labels are \[1\.0\]"),
        ("a.csv", "sentence1,sentence2,label\na,b,entailment\n", "line 2: `label` is 'entailment'"),
        ("a.jsonl", '{"query": 3, "positive": ["a"], "negative": ["b"]}', "line 1: `query` is a number"),
        ("a.jsonl", '{"query": "q", "positive": ["a"]}', "line 1: `negative` is null, expected a list of strings"),
        ("a.jsonl", '{"query": "q", "positive": {"a": 1}, "negative": []}', "line 1: `positive` is an object"),
        ("a.jsonl", '{"query": "q", "positive": ["a", 0], "negative": []}', "line 1: `positive` holds a number"),
        ("a.jsonl", '{"query": "q", "positive": [null], "negative": []}', "line 1: `positive` holds null"),
        ("a.jsonl", '{"query": "q", "positive": ["a"], "negative": []}', "no query has both positive and negative"),
        ("a.jsonl", '{"query": "q", "positive": ["a"], "negative": ["b"]}\n{"query"', "line 2: not valid JSON"),
        ("a.jsonl", b'{"sentence1": "\xff"}', "line 1: not valid UTF-8"),
        ("a.tsv", "en\tde\na\tb\tc\n", "line 2: has 3 fields, the header has 2"),
        ("a.txt", "a\tb\n", "the ending does not tell the format"),
    ],
)
def test_what_is_refused(write, name, content, message):
    path = write(name, content)
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_pairs(path)
    assert str(raised.value).startswith(str(path))


def test_what_a_report_says_of_it(write):
    info = read_pairs(write("r.jsonl", RERANKING)).info()
    assert (info.name, info.kind, info.split) == ("r", "reranking", "test")
    assert (info.documents, info.queries, info.judgements) == (7, 2, 7)
    sts = replace(read_pairs(write("s.jsonl", STS)), group="mine", warnings=("w",)).info()
    assert (sts.documents, sts.queries, sts.judgements, sts.group, sts.warnings) == (3, 3, 3, "mine", ("w",))
    assert read_pairs(write("b.jsonl", BITEXT)).info().judgements == 2
    assert (len(info.fingerprint), info.source) == (32, read_pairs(write("r.jsonl", RERANKING)).source)


def test_the_fingerprint_changes_with_every_text_and_value_and_with_nothing_else(write):
    data = read_pairs(write("s.jsonl", STS))
    again = read_pairs(write("other.jsonl.gz", STS))
    assert data.fingerprint == again.fingerprint
    reranking = read_pairs(write("r.jsonl", RERANKING))
    others = [
        replace(data, left=("a", "c", "e")),
        replace(data, right=("b", "d", " ")),
        replace(data, right=("d", "b", "")),
        replace(data, gold=(1.5, 4.0, 4.000001)),
        replace(data, kind="bitext"),
        replace(data, left=("", "a", "c"), right=("é", "b", "d")),
        reranking,
        replace(reranking, candidates=reranking.candidates[::-1]),
        replace(reranking, candidates=(Candidates("q", ("a",), ("b", "c")), reranking.candidates[1])),
        replace(reranking, candidates=(Candidates("q", ("b", "a"), ("c",)), reranking.candidates[1])),
        PairData("none", "bitext"),
    ]
    prints = {item.fingerprint for item in [data, *others]}
    assert len(prints) == len(others) + 1
