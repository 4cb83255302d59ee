"""`System`: a pipeline as data (retrieve, fuse, rescore, rerank)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.core.quantize import Quantization, check_quantization
from lagotto.heads.similarity import M3_WEIGHTS, check_weights
from lagotto.llm.endpoint import CONCURRENCY
from lagotto.models.judging.opening import open_llm_reranker
from lagotto.models.judging.reranker import LLMReranker
from lagotto.models.score_options import ScoreOptions
from lagotto.models.token_outputs import OutputName
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25
from lagotto.search.fusion import RRF_K, Method, Scaling, check_fusion

TOP_K = 1000
"""Hits kept of every query: what trec_eval's whole-run measures and recall@1000 expect."""
RERANK_TOP_K = 100
RESCORE_TOP_K = 200
"""Hits scored again: the pool of BGE-M3's own evaluation on MLDR."""


@dataclass(frozen=True, slots=True)
class Encoder:
    """An embedder, how it is opened and how texts are written for it; parts with equal ones share the encoding."""

    model: str
    query_prompt: str | None = None
    """Put before every query as it stands, instead of what the card says."""
    document_prompt: str | None = None
    query_instruction: str | None = None
    """Put in by the card's template, instead of the card's or the data set's instruction."""
    task: str | None = None
    """A task that the card names, whose prompts are those of queries and documents."""
    query_examples: str | None = None
    """File of worked examples for a model with in-context learning (bge-en-icl)."""
    precision: str | None = None
    max_length: int | None = None
    revision: str | None = None
    card: str | None = None
    pooling: str | None = None
    adapter: str | None = None
    """A LoRA adapter on the model."""

    @property
    def encoder(self) -> Encoder:
        """This part of a pipeline as an embedder and no more."""
        return Encoder(**{field.name: getattr(self, field.name) for field in fields(Encoder)})


@dataclass(frozen=True, slots=True)
class DenseLeg(Encoder):
    """Exact search with an embedder's vectors."""

    type: ClassVar[str] = "dense"
    output: ClassVar[OutputName] = "dense"
    dimensions: int | None = None
    """Keep the first so many numbers of a vector, then normalise again."""
    quantization: Quantization = "f32"
    rescore: int = 0
    """Find so many (at least `System.top_k`) with the quantised vectors, then order them by the full ones; 0: never."""


@dataclass(frozen=True, slots=True)
class SparseLeg(Encoder):
    """Exact search with an embedder's sparse vectors: a weight a token (SPLADE, BGE-M3's lexical weights)."""

    type: ClassVar[str] = "sparse"
    output: ClassVar[OutputName] = "sparse"


@dataclass(frozen=True, slots=True)
class MultiVectorLeg(Encoder):
    """Exact late interaction over the whole corpus: a vector a token (ColBERT, BGE-M3). `Rescore` is for large ones."""

    type: ClassVar[str] = "multivector"
    output: ClassVar[OutputName] = "multivector"


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
class Rescore(Encoder):
    """The first hits in the order of an embedder's dense, sparse and multi-vector scores together; others stay below.

    Token vectors are made of the hits alone, so that a corpus may be far larger than one whose token vectors fit on a
    disk.
    """

    weights: tuple[float, ...] = M3_WEIGHTS
    """Of the dense, the sparse and the multi-vector score, in this order; what has weight 0 is not computed."""
    top_k: int = RESCORE_TOP_K

    @property
    def outputs(self) -> frozenset[OutputName]:
        """What the embedder is asked for."""
        names: tuple[OutputName, ...] = ("dense", "sparse", "multivector")
        return frozenset(name for name, weight in zip(names, self.weights, strict=True) if weight)


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
    adapter: str | None = None
    """A LoRA adapter on the model."""
    cutoff_layer: int | None = None
    """Of a language model, as the rest: the layer its score is read after."""
    compress_layers: tuple[int, ...] | None = None
    compress_ratio: int | None = None
    instruction: str | None = None
    prompt: str | None = None

    @property
    def options(self) -> ScoreOptions:
        """What a language model is asked; see `ScoreOptions`."""
        return ScoreOptions(
            cutoff_layers=self.cutoff_layer,
            compress_layers=self.compress_layers,
            compress_ratio=self.compress_ratio,
            instruction=self.instruction,
            prompt=self.prompt,
        )


@dataclass(frozen=True, slots=True)
class LLMRerank:
    """A language model behind an OpenAI-compatible endpoint that orders the first hits again; the others stay below.

    What is None is as the strategy, `LLMReranker` and `ChatEndpoint` have it.
    """

    llm: str
    """The endpoint's base address."""
    model: str
    """The name the endpoint knows the model by."""
    top_k: int = RERANK_TOP_K
    strategy: str = "listwise"
    window: int | None = None
    step: int | None = None
    passes: int | None = None
    permutations: int | None = None
    aggregation: str | None = None
    seed: int | None = None
    both_orders: bool | None = None
    max_calls: int | None = None
    judgement: str | None = None
    answers: str | None = None
    language: str | None = None
    max_characters: int | None = None
    reasks: int | None = None
    malformed: str | None = None
    key_variable: str | None = None
    """Environment variable that holds the key."""
    key_file: str | None = None
    """File that holds it."""
    reasoning_model: bool | None = None
    """Send what OpenAI's reasoning models take: no temperature, and ``max_completion_tokens``."""
    temperature: float | None = None
    max_tokens: int | None = None
    timeout: float | None = None
    concurrency: int | None = None
    """Requests, and queries, at once."""

    @property
    def side_by_side(self) -> int:
        """How many queries are asked about at once."""
        return CONCURRENCY if self.concurrency is None else self.concurrency

    def open(self) -> LLMReranker:
        """The reranker. Raises `InvalidInputError` and `ConfigError` for what can't be."""
        options = {
            key: value for key, value in asdict(self).items() if key not in ("llm", "model", "top_k", "strategy")
        }
        return open_llm_reranker(self.llm, self.model, self.strategy, options)


EncoderLeg = DenseLeg | SparseLeg | MultiVectorLeg
Leg = EncoderLeg | Bm25Leg


@dataclass(frozen=True, slots=True)
class System:
    """A pipeline with a name."""

    name: str
    legs: tuple[Leg, ...]
    fusion: Fusion | None = None
    rerank: Rerank | LLMRerank | None = None
    top_k: int = TOP_K
    rescore: Rescore | None = None
    """Comes before `rerank`."""

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
        if self.rescore is not None and not self.legs:
            raise ConfigError(f"system {self.name!r} has hits to rescore and no [[system.leg]] that finds any")
        try:
            self._check()
        except (InvalidInputError, ConfigError) as error:
            raise ConfigError(f"system {self.name!r}: {error}") from None

    def _check(self) -> None:
        """Raise `InvalidInputError` for a number or a choice that would only fail after the work before it."""
        _at_least("top_k", self.top_k, 1)
        if self.fusion is not None and self.legs:
            check_fusion(len(self.legs), **asdict(self.fusion))
        for leg in self.legs:
            if isinstance(leg, Bm25Leg):
                Bm25(k1=leg.k1, b=leg.b, analyzer=Analyzer(leg.language))
            else:
                _at_least("max_length", leg.max_length, 1)
            if isinstance(leg, DenseLeg):
                check_quantization(leg.quantization)
                _at_least("rescore", leg.rescore, 0)
                _at_least("dimensions", leg.dimensions, 1)
        if self.rescore is not None:
            check_weights(self.rescore.weights)
            _at_least("rescore top_k", self.rescore.top_k, 1)
            _at_least("rescore max_length", self.rescore.max_length, 1)
        if self.rerank is not None:
            _at_least("rerank top_k", self.rerank.top_k, 1)
        if isinstance(self.rerank, LLMRerank):
            self.rerank.open().close()  # connects to nothing
        elif self.rerank is not None:
            _at_least("max_windows", self.rerank.max_windows, 1)
            _at_least("rerank max_length", self.rerank.max_length, 1)

    @property
    def embedder(self) -> DenseLeg | None:
        """The one leg of a system that is an embedder's vectors and nothing else."""
        only = self.legs[0] if len(self.legs) == 1 and self.rerank is None and self.rescore is None else None
        return only if isinstance(only, DenseLeg) else None

    @property
    def encoders(self) -> tuple[EncoderLeg | Rescore, ...]:
        """The parts that are an embedder's."""
        legs = tuple(leg for leg in self.legs if not isinstance(leg, Bm25Leg))
        return legs if self.rescore is None else (*legs, self.rescore)

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models it uses."""
        named = [part.model for part in self.encoders]
        return tuple(dict.fromkeys([*named, *([self.rerank.model] if self.rerank else [])]))

    def describe(self) -> dict[str, Any]:
        """What a pipeline file would say, defaults left out where they say nothing."""
        out: dict[str, Any] = {"top_k": self.top_k, "leg": [{"type": leg.type} | _said(leg) for leg in self.legs]}
        if self.fusion is not None:
            out["fusion"] = _said(self.fusion)
        if self.rescore is not None:
            out["rescore"] = _said(self.rescore)
        if self.rerank is not None:
            out["rerank"] = _said(self.rerank)
        return out


def _said(part: Leg | Fusion | Rescore | Rerank | LLMRerank) -> dict[str, Any]:
    return {key: value for key, value in asdict(part).items() if value is not None}


def _at_least(name: str, value: int | None, least: int) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise InvalidInputError(f"{name} is {value!r}; give an integer of at least {least}")
