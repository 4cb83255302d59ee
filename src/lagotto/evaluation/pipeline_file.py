"""`read_pipelines`: the `System` values that a TOML file says.

::

    [[system]]
    name = "hybrid, reranked"
    top_k = 100                               # hits kept of every query; 1000 by default

    [[system.leg]]
    type = "dense"                            # or "sparse", "multivector": another output of an embedder
    model = "BAAI/bge-m3"
    dimensions = 256                          # Matryoshka; this and the next two of dense legs only
    quantization = "int8"                     # f32, f16, int8, binary
    rescore = 200                             # search quantised, then order so many by the full vectors

    [[system.leg]]
    type = "bm25"
    language = "zh"

    [system.fusion]                           # needed with two legs or more
    method = "rrf"                            # or "weighted"
    weights = [0.7, 0.3]

    [system.rescore]                          # the first hits by an embedder's outputs together
    model = "BAAI/bge-m3"
    weights = [0.4, 0.2, 0.4]                 # dense, sparse, multi-vector
    top_k = 200

    [system.rerank]
    model = "BAAI/bge-reranker-base"
    top_k = 50

A reranker may be a language model behind an OpenAI-compatible endpoint, see `LLMRerank`::

    [system.rerank]
    llm = "http://127.0.0.1:11434/v1"         # a key comes from the environment's LAGOTTO_LLM_API_KEY
    model = "qwen3:8b"
    strategy = "listwise"                     # or "pairwise", "pointwise"
    permutations = 4
    top_k = 50
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from lagotto.core.errors import ConfigError
from lagotto.evaluation.pipeline import (
    TOP_K,
    Bm25Leg,
    DenseLeg,
    Fusion,
    Leg,
    LLMRerank,
    MultiVectorLeg,
    Rerank,
    Rescore,
    SparseLeg,
    System,
)

T = TypeVar("T")

_LEGS: dict[str, type[Leg]] = {kind.type: kind for kind in (DenseLeg, SparseLeg, MultiVectorLeg, Bm25Leg)}
_PARTS = ("name", "top_k", "leg", "fusion", "rescore", "rerank")


def read_pipelines(path: Path) -> tuple[System, ...]:
    """The systems of a TOML file. Raises `ConfigError` that names the file, the table and what it may hold."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # Windows' editors put a mark in front
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    rows = tables.get("system")
    if set(tables) != {"system"} or not isinstance(rows, list) or not rows:
        raise ConfigError(
            f"{path}: holds {', '.join(sorted(tables)) or 'nothing'}; a pipeline file is made of [[system]] tables"
        )
    return tuple(_system(row, f"{path}, system {number}") for number, row in enumerate(rows, 1))


def _system(row: object, where: str) -> System:
    rest = _mapping(row, where)
    if unknown := sorted(set(rest) - set(_PARTS)):
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {', '.join(_PARTS)}")
    for key, expected in (("name", "str"), ("top_k", "int")):
        if key in rest:
            _check_type(f"{where}: {key}", rest[key], expected)
    legs = tuple(_leg(leg, where) for leg in _list(rest.get("leg", []), f"{where}: leg"))
    fused = _part(Fusion, rest, "fusion", where)
    rescored = _part(Rescore, rest, "rescore", where)
    asks = isinstance(rest.get("rerank"), Mapping) and "llm" in rest["rerank"]
    reranked = _part(LLMRerank, rest, "rerank", where) if asks else _part(Rerank, rest, "rerank", where)
    try:
        return System(rest.get("name", where), legs, fused, reranked, rest.get("top_k", TOP_K), rescored)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _leg(row: object, where: str) -> Leg:
    rest = _mapping(row, f"{where}: leg")
    kind = rest.pop("type", None)
    if not isinstance(kind, str) or kind not in _LEGS:
        raise ConfigError(f"{where}: leg type is {kind!r}; allowed are {', '.join(_LEGS)}")
    return _table(_LEGS[kind], rest, f"{where}: {kind} leg")


def _part(kind: type[T], system: Mapping[str, Any], name: str, where: str) -> T | None:
    row = system.get(name)
    if isinstance(row, Mapping):
        lists = [key for key in ("weights", "compress_layers") if key in row]
        row = {**row, **{key: tuple(_list(row[key], f"{where}: {key}")) for key in lists}}
    return None if row is None else _table(kind, row, f"{where}: {name}")


def _table(kind: type[T], row: object, where: str) -> T:
    """A dataclass from a table; unknown keys and wrong types are errors."""
    known = {field.name: field.type for field in fields(kind)}  # type: ignore[arg-type]  # every kind is a dataclass
    row = _mapping(row, where)
    if unknown := sorted(set(row) - set(known)):
        raise ConfigError(f"{where}: unknown keys {unknown}; known are {', '.join(known)}")
    for key, value in row.items():
        _check_type(f"{where}: {key}", value, str(known[key]))
    if "model" in known and not row.get("model"):
        raise ConfigError(f"{where}: no model; name a folder, a hub id or starter:NAME")
    return kind(**row)


def _check_type(where: str, value: object, annotation: str) -> None:
    allowed: tuple[type, ...] = (str,)
    if annotation.startswith("int"):
        allowed = (int,)
    elif annotation.startswith("float"):
        allowed = (int, float)
    elif annotation.startswith("tuple"):
        allowed = (tuple,)
    elif annotation.startswith("bool"):
        allowed = (bool,)
    if (isinstance(value, bool) and bool not in allowed) or not isinstance(value, allowed):
        raise ConfigError(f"{where} is {value!r}; expected {' or '.join(kind.__name__ for kind in allowed)}")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}, expected a table")
    return dict(value)


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is {value!r}, expected a list")
    return value
