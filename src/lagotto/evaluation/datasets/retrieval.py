"""`RetrievalData`: a corpus, queries and judgements, from a folder.

Three layouts, each with JSON Lines (plain or gzipped) or Parquet files::

    BEIR             corpus.jsonl  queries.jsonl       qrels/SPLIT.tsv
    FlagEmbedding    corpus.jsonl  SPLIT_queries.jsonl SPLIT_qrels.jsonl
    one split        corpus.jsonl  queries.jsonl       qrels.tsv

Documents have an id (``_id`` or ``id``), ``text`` and perhaps ``title``; queries an id and ``text``, perhaps
``excluded_ids`` (documents that must not count as hits, as in BRIGHT) and ``answers`` (strings, as in MKQA);
judgements ``query-id corpus-id score`` or ``qid docid relevance``, or TREC's four columns without a header.
A ``dataset.json`` may add name, task, task_type, instruction, language, group and measures.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import READABLE, json_kind, json_object, numbered_lines, read_records
from lagotto.evaluation.datasets.corpus import Corpus, add_id, open_corpus
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.measures import LARGEST_LEVEL, parse_measure
from lagotto.evaluation.results import DatasetInfo

ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson", ".parquet", ".pq", ".tsv", ".csv", ".trec", ".txt")
"""In the order they are looked for."""
_PAIR_NAMES = (("query-id", "corpus-id", "score"), ("qid", "docid", "relevance"), ("query_id", "corpus_id", "score"))
_RECORDS = tuple(ending for ending in READABLE if ending != ".tsv")
META = "dataset.json"


@dataclass(frozen=True)
class RetrievalData:
    """A corpus with queries and judgements."""

    name: str
    corpus: Corpus
    queries: Mapping[str, str]
    """Query id -> text; only queries that have judgements (or answers)."""
    qrels: Mapping[str, Mapping[str, int]]
    """Query id -> document id -> relevance; above 0 is relevant."""
    split: str = "test"
    excluded: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Query id -> documents that must not appear among its hits."""
    answers: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Query id -> strings, one of which a good passage contains; judged by text where there are no qrels."""
    task: TaskHint = field(default_factory=lambda: TaskHint(type="Retrieval"))
    language: str = ""
    """ISO code of the queries, where it is known."""
    group: str | None = None
    measures: tuple[str, ...] = ()
    """Measures this benchmark is reported by; the evaluation's own where it has none."""
    source: str = ""
    warnings: tuple[str, ...] = ()

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over everything that decides the figures. Reads the corpus once."""
        digest = hashlib.sha256()
        for key, text in zip(self.corpus.ids, self.corpus.texts(), strict=True):
            digest.update(f"{len(key)} {len(text)} {key}{text}".encode())
        excluded = {query: sorted(ids) for query, ids in self.excluded.items()}
        rest = [dict(self.queries), self.qrels, excluded, dict(self.answers)]
        digest.update(json.dumps(rest, sort_keys=True, ensure_ascii=False, default=dict).encode())
        return digest.hexdigest()[:32]

    def info(self) -> DatasetInfo:
        """What a report says of it."""
        return DatasetInfo(
            name=self.name,
            kind="retrieval",
            split=self.split,
            documents=len(self.corpus),
            queries=len(self.queries),
            judgements=sum(len(judged) for judged in self.qrels.values()),
            fingerprint=self.fingerprint,
            language=self.language,
            source=self.source,
            group=self.group,
            warnings=self.warnings,
        )


def is_retrieval_folder(folder: Path) -> bool:
    """Whether a folder holds a corpus file."""
    return _find(folder, "corpus") is not None


def read_retrieval(folder: Path, split: str | None = None) -> RetrievalData:
    """Read a folder in one of the layouts above.

    ``split`` may be left out where there is ``test``, or only one. Raises `InvalidInputError` that names file, line
    and cure.
    """
    corpus_file = _find(folder, "corpus")
    if corpus_file is None:
        raise InvalidInputError(f"{folder}: no corpus file; there should be corpus.jsonl or corpus.parquet")
    splits = _splits(folder)
    chosen = _choose(splits, split, folder)
    queries_file, qrels_file = splits[chosen]
    meta = _meta(folder)
    corpus = open_corpus(corpus_file)
    if not len(corpus):
        raise InvalidInputError(f"{corpus_file}: no documents")
    texts, excluded, answers = _queries(queries_file)
    qrels = {} if qrels_file is None else read_judgements(qrels_file)
    unknown = [query for query in qrels if query not in texts]
    _check(texts, qrels, unknown, answers, corpus, qrels_file or queries_file)
    warnings = _warnings(texts, qrels, unknown, answers, corpus, excluded)
    judged = [query for query in texts if query in (qrels or answers)]
    return RetrievalData(
        name=meta.get("name") or folder.resolve().name,
        corpus=corpus,
        queries={query: texts[query] for query in judged},
        qrels={query: qrels[query] for query in judged if query in qrels},
        split=chosen,
        excluded={query: excluded[query] for query in judged if query in excluded},
        answers={query: answers[query] for query in judged if query in answers},
        task=TaskHint(meta.get("task", ""), meta.get("task_type", "Retrieval"), meta.get("instruction", "")),
        language=meta.get("language", ""),
        group=meta.get("group"),
        measures=_strings(meta, "measures", str(folder / META)),
        source=meta.get("source") or str(folder),
        warnings=tuple(warnings),
    )


def _find(folder: Path, stem: str) -> Path | None:
    return next((folder / (stem + end) for end in ENDINGS if (folder / (stem + end)).is_file()), None)


def _splits(folder: Path) -> dict[str, tuple[Path, Path | None]]:
    """Split -> its queries and its judgements (None where queries bring answers instead)."""
    shared = _find(folder, "queries")
    found: dict[str, tuple[Path, Path | None]] = {}
    for path in sorted(folder.iterdir()):
        stem, _, end = path.name.partition(".")
        if stem.endswith("_queries") and f".{end}" in ENDINGS:
            split = stem.removesuffix("_queries")
            found[split] = (path, _find(folder, f"{split}_qrels"))
    if shared is not None:
        for path in sorted((folder / "qrels").iterdir()) if (folder / "qrels").is_dir() else ():
            split, _, end = path.name.partition(".")
            if f".{end}" in ENDINGS:
                found[split] = (shared, path)
        if not found:
            found["test"] = (shared, _find(folder, "qrels"))
    if not found:
        raise InvalidInputError(f"{folder}: no queries; there should be queries.jsonl or test_queries.jsonl")
    return found


def _choose(splits: Mapping[str, object], split: str | None, folder: Path) -> str:
    if split is None and (len(splits) == 1 or "test" in splits):
        return "test" if "test" in splits else next(iter(splits))
    if split is None or split not in splits:
        asked = "several splits" if split is None else f"no split {split!r}"
        raise InvalidInputError(f"{folder}: {asked}; there are {', '.join(sorted(splits))}. Choose one with --split")
    return split


def _meta(folder: Path) -> dict[str, Any]:
    path = folder / META
    if not path.is_file():
        return {}
    known = ("name", "task", "task_type", "instruction", "language", "group", "measures", "source")
    with path.open("rb") as file:
        text = "".join(line for _, line in numbered_lines(file, str(path)))
    meta = json_object(text, 1, str(path))
    if unknown := sorted(set(meta) - set(known)):
        raise InvalidInputError(f"{path}: unknown keys {unknown}; known are {', '.join(known)}")
    for key, value in meta.items():
        if key != "measures" and not isinstance(value, str):
            raise InvalidInputError(f"{path}: {key} is {json_kind(value)}, expected a string")
        if key in ("name", "group") and not str(value).isprintable():
            raise InvalidInputError(f"{path}: {key} {value!r} holds characters that can't be shown; give a plain name")
    for measure in _strings(meta, "measures", str(path)):
        parse_measure(measure)
    return meta


def _queries(path: Path) -> tuple[dict[str, str], dict[str, frozenset[str]], dict[str, tuple[str, ...]]]:
    """Texts, excluded documents and answers, by query id."""
    ids: dict[str, int] = {}
    texts: dict[str, str] = {}
    excluded: dict[str, frozenset[str]] = {}
    answers: dict[str, tuple[str, ...]] = {}
    for place, fields in read_records(path):
        where = f"{path}, {place}"
        query = add_id(ids, fields, where)
        text = fields.get("text")
        if not isinstance(text, str):
            raise InvalidInputError(f"{where}: the text of query {query!r} is {json_kind(text)}, expected a string")
        texts[query] = text
        if values := _strings(fields, "excluded_ids", where):
            excluded[query] = frozenset(values)
        if values := _strings(fields, "answers", where):
            answers[query] = values
    return texts, excluded, answers


def _strings(fields: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    values = fields.get(name)
    if values is None:
        return ()
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise InvalidInputError(f"{where}: `{name}` is not a list of strings")
    return tuple(values)


def read_judgements(path: Path) -> dict[str, dict[str, int]]:
    """Query id -> document id -> relevance, from a file of whatever layout. Raises `InvalidInputError`."""
    qrels: dict[str, dict[str, int]] = {}
    for where, query, document, score in _judgements(path):
        judged = qrels.setdefault(query, {})
        if judged.setdefault(document, score) != score:
            raise InvalidInputError(
                f"{where}: query {query!r} and document {document!r} are judged {score} here and "
                f"{judged[document]} before; keep one"
            )
    return qrels


def _judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """(place, query id, document id, relevance) of every judgement in a file."""
    if not path.name.lower().endswith(_RECORDS):  # TREC's files have any ending, or none
        yield from _text_judgements(path)
        return
    names: tuple[str, str, str] | None = None
    for place, fields in read_records(path):
        where = f"{path}, {place}"
        names = names or next((chosen for chosen in _PAIR_NAMES if all(name in fields for name in chosen)), None)
        if names is None or not all(name in fields for name in names):
            choices = " or ".join(", ".join(chosen) for chosen in _PAIR_NAMES)
            raise InvalidInputError(f"{where}: a judgement has {choices}; found {', '.join(fields) or 'nothing'}")
        query, document = (_id(fields[name], name, where) for name in names[:2])
        yield where, query, document, _relevance(fields[names[2]], where)


def _id(value: object, name: str, where: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise InvalidInputError(f"{where}: `{name}` is {json_kind(value)}, expected a string or an integer")
    return str(value)


def _text_judgements(path: Path) -> Iterator[tuple[str, str, str, int]]:
    """BEIR's three columns with or without their header, or TREC's ``query 0 document relevance``."""
    with path.open("rb") as file:
        for number, line in numbered_lines(file, str(path)):
            where = f"{path}, line {number}"
            cells = line.split("\t") if line.count("\t") in (2, 3) else line.split()
            cells = [cell.strip() for cell in cells]
            if not line.strip() or (number == 1 and tuple(cells) in _PAIR_NAMES):
                continue
            if len(cells) not in (3, 4):
                raise InvalidInputError(
                    f"{where}: has {len(cells)} fields; a judgement is `query-id TAB corpus-id TAB score` "
                    "or TREC's `query-id 0 corpus-id score`"
                )
            yield where, cells[0], cells[-2], _relevance(cells[-1], where)


def _relevance(value: object, where: str) -> int:
    try:
        number = float(str(value))
    except ValueError:
        number = float("nan")
    if not number.is_integer():  # inf and nan are none either
        raise InvalidInputError(f"{where}: relevance {value!r} is no integer; 0 is not relevant, more is more relevant")
    if abs(number) > LARGEST_LEVEL:
        raise InvalidInputError(f"{where}: relevance {value!r} is too large; levels go up to {LARGEST_LEVEL}")
    return int(number)


def _check(
    texts: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    unknown: Sequence[str],
    answers: Mapping[str, object],
    corpus: Corpus,
    path: Path,
) -> None:
    """Refuse what makes figures impossible."""
    if unknown and len(unknown) == len(qrels):
        raise InvalidInputError(
            f"{path}: none of the judged queries is in the queries file, {unknown[0]!r} for one; "
            "the two files do not belong together"
        )
    if not qrels and not answers:
        raise InvalidInputError(f"{path}: no judgements, so there is nothing to measure")
    documents = set(corpus.ids)
    judged = [(document, level) for query in texts for document, level in qrels.get(query, {}).items()]
    if judged and not any(document in documents for document, _ in judged):
        raise InvalidInputError(
            f"{path}: none of the judged documents is in the corpus, {judged[0][0]!r} for one; "
            "the two files do not belong together"
        )
    if qrels and not any(level > 0 for _, level in judged):
        raise InvalidInputError(f"{path}: no document is judged relevant (above 0), so there is nothing to measure")


def _warnings(
    texts: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    unknown: Sequence[str],
    answers: Mapping[str, object],
    corpus: Corpus,
    excluded: Mapping[str, frozenset[str]],
) -> list[str]:
    """Say what makes figures smaller, or leaves something out."""
    documents = set(corpus.ids)
    known = {query: judged for query, judged in qrels.items() if query in texts}
    warnings = []
    if unknown:
        warnings.append(
            f"{len(unknown)} judged queries are not in the queries file ({unknown[0]!r} for one) and are left out"
        )
    if missing := [(query, doc) for query, judged in known.items() for doc in judged if doc not in documents]:
        warnings.append(
            f"{len(missing)} judgements name documents that are not in the corpus ({missing[0][1]!r} for query "
            f"{missing[0][0]!r}, for one); they can't be found and lower every system's figures"
        )
    if without := [query for query, judged in known.items() if not any(level > 0 for level in judged.values())]:
        warnings.append(
            f"{len(without)} queries have no relevant document ({without[0]!r} for one); "
            "they count as 0, as in trec_eval"
        )
    if empty := [query for query, text in texts.items() if not text.strip() and query in (qrels or answers)]:
        warnings.append(
            f"{len(empty)} queries are empty ({empty[0]!r} for one); they are kept, and find what they find"
        )
    if unjudged := sum(1 for query in texts if query not in (qrels or answers)):
        warnings.append(f"{unjudged} queries have no judgements and are left out, as in trec_eval")
    if strange := sum(1 for ids in excluded.values() for document in ids if document not in documents):
        warnings.append(f"{strange} excluded documents are not in the corpus")
    return warnings
