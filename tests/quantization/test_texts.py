"""Calibration texts: what is read of files and data sets, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.quantization.texts import LEAST, Text, sample_pairs, sample_texts
from support.collection import documents, queries, write_collection, write_lines
from support.judged import write

WORDS = [f"text {number}" for number in range(60)]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_texts_of_a_file(tmp_path: Path, name: str) -> None:
    write(tmp_path / name, [{"text": text} for text in WORDS])
    found = sample_texts(tmp_path / name, 100)
    assert {item.text for item in found} == set(WORDS)
    assert {item.role for item in found} == {"document"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", "id,text\n" + "".join(f'{n},"{text}"\n' for n, text in enumerate(WORDS))),
        ("a.tsv", "id\ttext\n" + "".join(f"{n}\t{text}\n" for n, text in enumerate(WORDS))),
        ("a.txt", "\n\n".join(WORDS)),
    ],
)
def test_texts_of_plain_files(tmp_path: Path, name: str, content: str) -> None:
    write(tmp_path / name, content)
    assert {item.text for item in sample_texts(tmp_path / name, 100)} == set(WORDS)


def test_sides_and_titles(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [{"query": f"q{n}", "document": f"d{n}"} for n in range(20)]
    rows += [{"title": f"t{n}", "text": f"x{n}", "query": None} for n in range(20)]
    rows += [{"query": "only"}, {"title": "title", "text": ""}]
    found = sample_texts(write_lines(tmp_path / "a.jsonl", rows), 100)
    assert Text("q3", "query") in found
    assert Text("d3", "document") in found
    assert Text("t4 x4", "document") in found
    assert Text("only", "query") in found
    assert Text("title", "document") in found
    assert len(found) == 62


def test_a_sample_is_spread_over_the_whole_and_the_same_every_time(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ({"text": f"{n}"} for n in range(2000)))
    found = sample_texts(path, 100)
    assert found == sample_texts(path, 100)
    assert len(found) == 100
    quarters = Counter(int(item.text) // 500 for item in found)
    assert min(quarters[n] for n in range(4)) > 10
    assert [item.text for item in found] != sorted((item.text for item in found), key=int)


def test_a_data_set_gives_queries_and_documents_in_any_order(tmp_path: Path) -> None:
    found = sample_texts(write_collection(tmp_path / "mini"), 200)
    assert {item.text for item in found if item.role == "query"} == {text for text in queries().values() if text}
    assert {item.text for item in found if item.role == "document"} <= {text for text in documents().values() if text}
    roles = [item.role for item in found]
    assert roles != sorted(roles)
    assert roles != sorted(roles, reverse=True)


def test_pairs_of_a_file(tmp_path: Path) -> None:
    rows = [{"query": f"q{n}", "text": f"d{n}"} for n in range(40)] + [{"query": "alone"}, {"text": "alone"}]
    found = sample_pairs(write_lines(tmp_path / "a.jsonl", rows), 100)
    assert set(found) == {(f"q{n}", f"d{n}") for n in range(40)}


def test_pairs_of_a_data_set_are_relevant_or_not(tmp_path: Path) -> None:
    rows = {f"d{n}": f"document {n}" for n in range(50)}
    write_lines(tmp_path / "corpus.jsonl", ({"_id": key, "text": text} for key, text in rows.items()))
    write_lines(tmp_path / "queries.jsonl", ({"_id": f"q{n}", "text": f"query {n}"} for n in range(30)))
    write(tmp_path / "qrels.tsv", "".join(f"q{n}\td{n}\t1\n" for n in range(30)))
    found = sample_pairs(tmp_path, 200)
    relevant = [pair for pair in found if pair[0].split()[1] == pair[1].split()[1]]
    assert {pair[1] for pair in relevant} == {f"document {n}" for n in range(30)}
    assert len(relevant) < len(found) <= 60


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": f"{n}"} for n in range(LEAST - 1)], f"holds {LEAST - 1} different texts.*at least {LEAST}"),
        ([{"text": "the same"}] * 100, "holds 1 different texts"),
        ([{"text": " "}, {"text": ""}, {"text": None}] * 50, "holds 0 different texts that are not empty"),
        ([], "holds 0 different texts"),
        (
            [{"text": "a"}, {"body": "b", "id": 3}],
            "line 2: has neither `text`, `document` nor `query`; it has body",
        ),
        ([{"text": "a"}, {}], "line 2: has neither .* it has nothing"),
        ([{"text": ["a"]}], "line 1: `text` is a list, expected a string"),
        ([{"query": 3, "text": "a"}], "line 1: `query` is a number, expected a string"),
        ([{"title": {}, "text": "a"}], "line 1: `title` is an object, expected a string"),
    ],
)
def test_files_that_give_too_little_are_refused(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    path = write_lines(tmp_path / "a.jsonl", rows)
    with pytest.raises(InvalidInputError, match=rf"a\.jsonl.*{message}"):
        sample_texts(path, 100)


def test_texts_are_no_pairs(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "a.jsonl", ({"text": text} for text in WORDS))
    with pytest.raises(InvalidInputError, match="holds 0 different pairs.*A reranker reads both"):
        sample_pairs(path, 100)


def test_places_that_are_no_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="without corpus.jsonl"):
        sample_texts(tmp_path, 100)
    with pytest.raises(InvalidInputError, match="no such file or folder"):
        sample_texts(tmp_path / "nothing.jsonl", 100)
    (tmp_path / "a.pdf").write_text(json.dumps({"text": "a"}))
    with pytest.raises(InvalidInputError, match="the ending does not tell the format"):
        sample_texts(tmp_path / "a.pdf", 100)
