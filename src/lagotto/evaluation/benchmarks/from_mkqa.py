"""MKQA: questions in 26 languages, whose answers are to be found in an English Wikipedia (the corpus of BEIR's NQ).

The questions are those that BGE-M3 was measured by: the 6,619 with a short answer, without those that can't be
answered, are answered by yes or no, or need a paragraph. As there, passages are in lower case with plain punctuation.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import json_records, numbered_lines
from lagotto.evaluation.benchmarks.from_ir_datasets import fetched, load_dataset
from lagotto.evaluation.benchmarks.hub import fetch, values
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Query, Source

_PLAIN = {
    "'": "\u2018\u2019\u201a\u201b\u055a\ua78b\ua78c\uff07`\u00b4\u2032\u2035",
    '"': "\u201c\u201d\u201e\u201f",
    "''": "\u2033\u2036",
    "'''": "\u2034\u2037",
    "''''": "\u2057",
    "-": "\u2010\u2011\u2043\u2012\u2013\u2014\u2015\u2212\uff0d\u207b",
    "/": "\u2044\u2215",
    "...": "\u2026",
    " ": "\u000b\u000c\u0085",
    "": "\u00ad\u0001\u0002\u0003\u0004\u0005\u0006\u0007\u0008\u000e\u000f\u0011\u0012\u0013\u0014\u0015\u0016"
    "\u0017\u0018\u0019\u001a\u001b",
}
_TABLE = str.maketrans({character: plain for plain, characters in _PLAIN.items() for character in characters})


def open_mkqa(benchmark: Benchmark, offline: bool) -> Source:
    """The source of a language. Queries have answers instead of judgements."""
    archive = fetch(benchmark.arguments["repository"], [benchmark.arguments["archive"]], offline)
    name = benchmark.arguments["dataset"]
    dataset, origin = load_dataset(name, offline)

    def passage(record: Any) -> Document:
        return Document(record.doc_id, plain(record.text), plain(record.title))

    return Source(
        origin=f"{archive.origin} and {origin}",
        documents=lambda: map(passage, fetched(name, dataset.docs_iter)),
        queries=lambda: _questions(archive.files[0], benchmark.arguments["questions"]),
        judgements=lambda: (),
    )


def plain(text: str) -> str:
    """Lower case, with one kind of quotation mark, hyphen and slash, and without control characters.

    >>> plain("The \u201cOld\u00ad Man\u201d \u2014 Hemingway\u2019s\u2026")
    'the "old man" - hemingway\\'s...'
    """
    return text.translate(_TABLE).replace(" . . . ", " ... ").lower()


def _questions(archive: Path, name: str) -> Iterator[Query]:
    """The questions in one file of the archive, in whichever folder it lies."""
    with zipfile.ZipFile(archive) as packed:
        member = next((entry for entry in packed.namelist() if entry.rpartition("/")[2] == name), None)
        if member is None:
            raise InvalidInputError(f"{archive}: holds no {name}, but {', '.join(packed.namelist())}")
        where = f"{archive}, {member}"
        with packed.open(member) as file:
            for place, fields in json_records(numbered_lines(file, where), where):
                key, text, answers = values(fields, ("id", "question", "answers"), f"{where}, {place}")
                yield Query(str(key), text, answers=tuple(str(answer) for answer in answers))
