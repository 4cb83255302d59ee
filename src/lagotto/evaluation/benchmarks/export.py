"""Write a source as a folder that `read_retrieval` reads; it is there as a whole, or not at all."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.benchmarks.registry import Benchmark
from lagotto.evaluation.benchmarks.sources import Document, Query, Source
from lagotto.evaluation.datasets.retrieval import META, is_retrieval_folder

Say = Callable[[str], None]
Qrels = dict[str, dict[str, int]]
CORPUS = "corpus.jsonl"
_EVERY = 100_000
"""Documents between two reports."""


def export(benchmark: Benchmark, source: Source, target: Path, say: Say, *, same_corpus: Path | None = None) -> None:
    """Write a benchmark into ``target``, a folder that is not there yet.

    ``same_corpus`` is a corpus file of another benchmark that holds what this one's would hold; it is linked rather
    than written again where the disk can do that. Documents and queries go through one at a time; ids and judgements
    stay in memory.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.parent / f".{target.name}.{secrets.token_hex(4)}.part"
    folder.mkdir()
    try:
        _write(benchmark, source, folder, say, same_corpus)
        try:
            folder.rename(target)
        except OSError:
            if not is_retrieval_folder(target):  # if it is, another process has been faster, and its work is as good
                raise
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(f"{benchmark.name}: ready in {target}")


def _write(benchmark: Benchmark, source: Source, folder: Path, say: Say, same_corpus: Path | None) -> None:
    say(f"{benchmark.name}: fetching from {source.origin}")
    qrels = _judgements(source)
    ids: set[str] = set()
    if same_corpus is None or not _link(same_corpus, folder / CORPUS):
        ids = _write_corpus(benchmark, source.documents(), folder / CORPUS, say)
    asked = _queries(benchmark, source, qrels, ids)
    written = _write_lines(folder / "queries.jsonl", (_query_fields(query) for query in asked.values()))
    if not written:
        raise InvalidInputError(f"{benchmark.name}: {source.origin} has no query with a judgement or an answer")
    say(f"{benchmark.name}: {written:,} queries")
    if left := len(qrels.keys() - asked.keys()):
        say(f"{benchmark.name}: left out {left:,} judged queries whose text is not there")
    if qrels:
        _write_qrels(folder / "qrels" / f"{benchmark.split}.tsv", {query: qrels[query] for query in asked})
    meta = json.dumps(_meta(benchmark, source), indent=2, ensure_ascii=False)
    (folder / META).write_text(meta + "\n", encoding="utf-8")


def _judgements(source: Source) -> Qrels:
    """Query -> document -> relevance. A pair judged twice keeps the last, as with BEIR's and mteb's own readers."""
    qrels: Qrels = {}
    for query, document, relevance in source.judgements():
        qrels.setdefault(_run_id(query), {})[_run_id(document)] = relevance
    return qrels


def _link(file: Path, place: Path) -> bool:
    """One file with two names, where the disk can do that."""
    try:
        os.link(file, place)
    except OSError:
        return False
    return True


def _write_corpus(benchmark: Benchmark, documents: Iterable[Document], path: Path, say: Say) -> set[str]:
    """Write the documents; the first of those with the same id. Gives their ids."""
    ids: set[str] = set()
    twice = 0

    def fields() -> Iterator[Mapping[str, Any]]:
        nonlocal twice
        for document in documents:
            key = _run_id(document.id)
            if key in ids:
                twice += 1
                continue
            ids.add(key)
            if len(ids) % _EVERY == 0:
                say(f"{benchmark.name}: {len(ids):,} documents")
            yield {"_id": key, "title": document.title, "text": document.text}

    written = _write_lines(path, fields())
    say(f"{benchmark.name}: {written:,} documents")
    if twice:
        say(f"{benchmark.name}: left out {twice:,} documents whose id was there before")
    return ids


def _queries(benchmark: Benchmark, source: Source, qrels: Qrels, ids: set[str]) -> dict[str, Query]:
    """Queries that can be scored, by their id; the first of those with the same id."""
    asked: dict[str, Query] = {}
    for query in source.queries():
        key = _run_id(query.id)
        excluded = {_run_id(document) for document in query.excluded}
        if benchmark.exclude_self and key in ids:
            excluded.add(key)
        if key in qrels or query.answers:
            asked.setdefault(key, query._replace(id=key, excluded=tuple(sorted(excluded))))
    return asked


def _query_fields(query: Query) -> Mapping[str, Any]:
    fields: dict[str, Any] = {"_id": query.id, "text": query.text}
    if query.excluded:
        fields["excluded_ids"] = query.excluded
    if query.answers:
        fields["answers"] = query.answers
    return fields


def _write_lines(path: Path, records: Iterable[Mapping[str, Any]]) -> int:
    """JSON Lines; gives how many."""
    import orjson

    count = 0
    with path.open("wb") as file:
        for fields in records:
            try:
                line = orjson.dumps(fields)
            except orjson.JSONEncodeError:  # half of a surrogate pair, which is not Unicode text
                line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace")
            file.write(line + b"\n")
            count += 1
    return count


def _write_qrels(path: Path, qrels: Qrels) -> None:
    path.parent.mkdir()
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("query-id\tcorpus-id\tscore\n")
        for query, judged in qrels.items():
            file.writelines(f"{query}\t{document}\t{relevance}\n" for document, relevance in judged.items())


def _meta(benchmark: Benchmark, source: Source) -> Mapping[str, Any]:
    meta = {
        "name": benchmark.name,
        "task": benchmark.task,
        "task_type": "Retrieval",
        "instruction": benchmark.instruction,
        "language": benchmark.language,
        "group": benchmark.group,
        "measures": benchmark.measures,
        "source": source.origin,
    }
    return {key: value for key, value in meta.items() if value}


def _run_id(value: str) -> str:
    """An id as run files and judgements can carry it: white space is written as in addresses (``%20``)."""
    if not value:
        raise InvalidInputError("a document or query of the source has an empty id")
    if not any(character.isspace() for character in value):
        return value
    return "".join(quote(character) if character.isspace() else character for character in value)
