"""`PairData`: sets of text pairs (STS, bitext, pair classification) and of queries with candidates (reranking).

A file's fields say which it is:

    reranking             query, positive (list), negative (list)
    STS                   sentence1, sentence2, score
    pair classification   sentence1, sentence2, label (1 or 0)
    bitext                sentence1, sentence2; or a TSV of two columns, whatever its header calls them

JSON Lines, CSV, TSV (with a header) and Parquet are read.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.data.records import READABLE, json_kind, read_records
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.results import DatasetInfo, Kind

_TYPES: Mapping[str, str] = {
    "sts": "STS",
    "bitext": "BitextMining",
    "pair_classification": "PairClassification",
    "reranking": "Reranking",
}


@dataclass(frozen=True)
class Candidates:
    """A query with documents that answer it and documents that do not."""

    query: str
    positive: tuple[str, ...]
    negative: tuple[str, ...]


@dataclass(frozen=True)
class PairData:
    """Pairs of texts with a gold value each, or queries with candidates."""

    name: str
    kind: Kind
    left: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    gold: tuple[float, ...] = ()
    """STS: similarity; pair classification: 1 or 0; bitext: none."""
    candidates: tuple[Candidates, ...] = ()
    """Reranking only."""
    task: TaskHint = field(default_factory=TaskHint)
    source: str = ""
    group: str | None = None
    warnings: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.candidates) or len(self.left)

    @cached_property
    def fingerprint(self) -> str:
        """32 hex digits over texts and gold values."""
        rows = [(item.query, item.positive, item.negative) for item in self.candidates]
        text = json.dumps([self.kind, self.left, self.right, self.gold, rows], ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def info(self) -> DatasetInfo:
        """What a report says of it."""
        documents = sum(len(item.positive) + len(item.negative) for item in self.candidates)
        return DatasetInfo(
            name=self.name,
            kind=self.kind,
            split="test",
            documents=documents or len(self.right),
            queries=len(self),
            judgements=documents or len(self.gold) or len(self),
            fingerprint=self.fingerprint,
            source=self.source,
            group=self.group,
            warnings=self.warnings,
        )


def read_pairs(path: Path) -> PairData:
    """Read a file of pairs. Raises `InvalidInputError` that names the line of the first bad one."""
    rows = list(read_records(path))
    if not rows:
        raise InvalidInputError(f"{path}: no pairs")
    kind, columns = _shape(path, list(rows[0][1]))
    task = TaskHint(_name(path), _TYPES[kind])
    if kind == "reranking":
        candidates = tuple(_candidates(record, f"{path}, {place}") for place, record in rows)
        usable = tuple(item for item in candidates if item.positive and item.negative)
        if not usable:
            raise InvalidInputError(f"{path}: no query has both positive and negative documents")
        left_out = len(candidates) - len(usable)
        note = (f"{left_out} queries without a positive or without a negative are left out",) if left_out else ()
        return PairData(task.name, kind, candidates=usable, task=task, source=str(path), warnings=note)
    left, right = (tuple(_text(record, name, f"{path}, {place}") for place, record in rows) for name in columns)
    gold: tuple[float, ...] = ()
    if kind == "sts":
        gold = tuple(_number(record, "score", f"{path}, {place}") for place, record in rows)
        if len(set(gold)) < 2:
            raise InvalidInputError(f"{path}: every score is {gold[0]}, so no correlation can be computed")
    elif kind == "pair_classification":
        gold = tuple(_number(record, "label", f"{path}, {place}") for place, record in rows)
        if set(gold) != {0.0, 1.0}:
            raise InvalidInputError(f"{path}: labels are {sorted(set(gold))[:5]}; both 1 (same) and 0 must be there")
    return PairData(task.name, kind, left, right, gold, task=task, source=str(path))


def _name(path: Path) -> str:
    """The file's name without its ending, which may have two parts (``.jsonl.gz``)."""
    ending = max((end for end in READABLE if path.name.lower().endswith(end)), key=len)
    return path.name[: -len(ending)]


def _shape(path: Path, fields: Sequence[str]) -> tuple[Kind, Sequence[str]]:
    """What the pairs are for, and the names of their two texts."""
    if path.name.lower().endswith(".tsv") and len(fields) == 2:
        return "bitext", fields
    if "query" in fields:
        return "reranking", ()
    if "sentence1" in fields and "sentence2" in fields:
        kind: Kind = "sts" if "score" in fields else "pair_classification" if "label" in fields else "bitext"
        return kind, ("sentence1", "sentence2")
    raise InvalidInputError(
        f"{path}: fields are {', '.join(fields)}; pairs have sentence1 and sentence2 (with score, label or neither), "
        "or query, positive and negative"
    )


def _text(record: Mapping[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise InvalidInputError(f"{where}: `{name}` is {json_kind(value)}, expected a string")
    return value


def _number(record: Mapping[str, Any], name: str, where: str) -> float:
    try:
        number = float(record[name])
    except (KeyError, TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise InvalidInputError(f"{where}: `{name}` is {record.get(name)!r}, expected a number")
    return number


def _candidates(record: Mapping[str, Any], where: str) -> Candidates:
    query = _text(record, "query", where)
    sides = []
    for name in ("positive", "negative"):
        values = record.get(name)
        values = [values] if isinstance(values, str) else values
        if not isinstance(values, list):
            raise InvalidInputError(f"{where}: `{name}` is {json_kind(values)}, expected a list of strings")
        if strange := [value for value in values if not isinstance(value, str)]:
            raise InvalidInputError(f"{where}: `{name}` holds {json_kind(strange[0])}, expected a list of strings")
        sides.append(tuple(values))
    return Candidates(query, *sides)
