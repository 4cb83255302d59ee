"""`System`: a pipeline as data (retrieve, fuse, rerank), and how a TOML file says it.

::

    [[system]]
    name = "hybrid, reranked"
    top_k = 100                               # hits kept of every query; 1000 by default

    [[system.leg]]
    type = "dense"
    model = "BAAI/bge-base-en-v1.5"
    dimensions = 256                          # Matryoshka
    quantization = "int8"                     # f32, f16, int8, binary
    rescore = 200                             # search quantised, then order so many by the full vectors

    [[system.leg]]
    type = "bm25"
    language = "zh"

    [system.fusion]                           # needed with two legs or more
    method = "rrf"                            # or "weighted"
    weights = [0.7, 0.3]

    [system.rerank]
    model = "BAAI/bge-reranker-base"
    top_k = 50
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.core.quantize import Quantization, check_quantization
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25
from lagotto.search.fusion import RRF_K, Method, Scaling, check_fusion

TOP_K = 1000
"""Hits kept of every query: what trec_eval's whole-run measures and recall@1000 expect."""
RERANK_TOP_K = 100

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class DenseLeg:
    """Exact search with an embedder's vectors."""

    type: ClassVar[str] = "dense"
    model: str
    dimensions: int | None = None
    """Keep the first so many numbers of a vector, then normalise again."""
    quantization: Quantization = "f32"
    rescore: int = 0
    """Find so many (at least `System.top_k`) with the quantised vectors, then order them by the full ones; 0: never."""
    query_prompt: str | None = None
    """Put before every query as it stands, instead of what the card says."""
    document_prompt: str | None = None
    query_instruction: str | None = None
    """Put in by the card's template, instead of the card's or the data set's instruction."""
    precision: str | None = None
    max_length: int | None = None
    revision: str | None = None
    card: str | None = None
    pooling: str | None = None


@dataclass(frozen=True, slots=True)
class Bm25Leg:
    """BM25 over words, stems and segmented Chinese."""

    type: ClassVar[str] = "bm25"
    language: str = "auto"
    k1: float = 1.2
    b: float = 0.75


@dataclass(frozen=True, slots=True)
class Fusion:
    """How legs become one ranking; see `lagotto.search.fusion.fuse`."""

    method: Method = "rrf"
    weights: tuple[float, ...] | None = None
    rrf_k: int = RRF_K
    scaling: Scaling = "min_max"


@dataclass(frozen=True, slots=True)
class Rerank:
    """A reranker that reads the first hits again; the others stay below them in their order."""

    model: str
    top_k: int = RERANK_TOP_K
    max_windows: int | None = 10
    precision: str | None = None
    max_length: int | None = None
    revision: str | None = None
    card: str | None = None


Leg = DenseLeg | Bm25Leg


@dataclass(frozen=True, slots=True)
class System:
    """A pipeline with a name."""

    name: str
    legs: tuple[Leg, ...]
    fusion: Fusion | None = None
    rerank: Rerank | None = None
    top_k: int = TOP_K

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ConfigError("a system has no name")
        if not self.legs and self.rerank is None:
            raise ConfigError(f"system {self.name!r} has no [[system.leg]] that retrieves anything")
        if len(self.legs) > 1 and self.fusion is None:
            raise ConfigError(
                f"system {self.name!r} has {len(self.legs)} legs; say in [system.fusion] how to fuse them"
            )
        if self.fusion is not None and self.fusion.weights and len(self.fusion.weights) != len(self.legs):
            raise ConfigError(
                f"system {self.name!r}: {len(self.fusion.weights)} weights for {len(self.legs)} legs; give one a leg"
            )
        try:
            self._check()
        except InvalidInputError as error:
            raise ConfigError(f"system {self.name!r}: {error}") from None

    def _check(self) -> None:
        """Raise `InvalidInputError` for a number or a choice that would only fail after the work before it."""
        _at_least("top_k", self.top_k, 1)
        if self.fusion is not None and self.legs:
            check_fusion(len(self.legs), **asdict(self.fusion))
        for leg in self.legs:
            if isinstance(leg, DenseLeg):
                check_quantization(leg.quantization)
                _at_least("rescore", leg.rescore, 0)
                _at_least("dimensions", leg.dimensions, 1)
                _at_least("max_length", leg.max_length, 1)
            else:
                Bm25(k1=leg.k1, b=leg.b, analyzer=Analyzer(leg.language))
        if self.rerank is not None:
            _at_least("rerank top_k", self.rerank.top_k, 1)
            _at_least("max_windows", self.rerank.max_windows, 1)
            _at_least("rerank max_length", self.rerank.max_length, 1)

    @property
    def embedder(self) -> DenseLeg | None:
        """The one leg of a system that is an embedder and nothing else."""
        only = self.legs[0] if len(self.legs) == 1 and self.rerank is None else None
        return only if isinstance(only, DenseLeg) else None

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models it uses."""
        dense = [leg.model for leg in self.legs if isinstance(leg, DenseLeg)]
        return tuple(dict.fromkeys([*dense, *([self.rerank.model] if self.rerank else [])]))

    def describe(self) -> dict[str, Any]:
        """What a pipeline file would say, defaults left out where they say nothing."""
        out: dict[str, Any] = {"top_k": self.top_k, "leg": [{"type": leg.type} | _said(leg) for leg in self.legs]}
        if self.fusion is not None:
            out["fusion"] = _said(self.fusion)
        if self.rerank is not None:
            out["rerank"] = _said(self.rerank)
        return out


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
    legs = tuple(_leg(leg, where) for leg in _list(rest.pop("leg", []), f"{where}: leg"))
    fusion, rerank = rest.pop("fusion", None), rest.pop("rerank", None)
    if isinstance(fusion, Mapping) and "weights" in fusion:
        fusion = {**fusion, "weights": tuple(_list(fusion["weights"], f"{where}: weights"))}
    known = {"name": "str", "top_k": "int"}
    if unknown := sorted(set(rest) - set(known)):
        raise ConfigError(f"{where}: unknown keys {unknown}; known are name, top_k, leg, fusion, rerank")
    for key, value in rest.items():
        _check_type(f"{where}: {key}", value, known[key])
    fused = None if fusion is None else _table(Fusion, fusion, f"{where}: fusion")
    reranked = None if rerank is None else _table(Rerank, rerank, f"{where}: rerank")
    try:
        return System(rest.get("name", where), legs, fused, reranked, rest.get("top_k", TOP_K))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None


def _leg(row: object, where: str) -> Leg:
    kinds: dict[str, type[DenseLeg] | type[Bm25Leg]] = {"dense": DenseLeg, "bm25": Bm25Leg}
    rest = _mapping(row, f"{where}: leg")
    kind = rest.pop("type", None)
    if not isinstance(kind, str) or kind not in kinds:
        raise ConfigError(f"{where}: leg type is {kind!r}; allowed are {', '.join(kinds)}")
    return _table(kinds[kind], rest, f"{where}: {kind} leg")


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
    if isinstance(value, bool) or not isinstance(value, allowed):
        raise ConfigError(f"{where} is {value!r}; expected {' or '.join(kind.__name__ for kind in allowed)}")


def _mapping(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}, expected a table")
    return dict(value)


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} is {value!r}, expected a list")
    return value


def _said(part: Leg | Fusion | Rerank) -> dict[str, Any]:
    return {key: value for key, value in asdict(part).items() if value is not None}


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidInputError(f"{name} is {value!r}; give an integer of at least {least}")
