"""The systems that a few models stand for: each alone, its outputs fused, fused with BM25, rescored, reranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from lagotto.core.errors import InvalidInputError
from lagotto.core.quantize import Quantization, check_quantization
from lagotto.evaluation.pipeline import (
    RERANK_TOP_K,
    RESCORE_TOP_K,
    TOP_K,
    Bm25Leg,
    DenseLeg,
    EncoderLeg,
    Fusion,
    Leg,
    MultiVectorLeg,
    Rerank,
    Rescore,
    SparseLeg,
    System,
)

BM25 = "BM25"


_OUTPUTS: dict[str, type[EncoderLeg]] = {leg.output: leg for leg in (DenseLeg, SparseLeg, MultiVectorLeg)}

Weights = Mapping[str, float]
"""Output -> weight of its score."""


def build_systems(
    models: Sequence[str] = (),
    rerankers: Sequence[str] = (),
    *,
    bm25: bool = False,
    hybrid: bool = False,
    sparse: bool = False,
    multivector: bool = False,
    fuse: Sequence[Weights] = (),
    rescore: Sequence[Weights] = (),
    dimensions: Sequence[int] = (),
    quantization: Sequence[str] = (),
    language: str = "auto",
    top_k: int = TOP_K,
    rescore_top_k: int = RESCORE_TOP_K,
    rerank_top_k: int = RERANK_TOP_K,
) -> tuple[System, ...]:
    """Systems in the order of a report: models, their variants, hybrids, BM25, then all of these with each reranker.

    A reranker without anything that retrieves stands alone (for sets that bring their candidates). Variants with fewer
    ``dimensions`` and other ``quantization`` come beside the full vectors, not instead of them. What is named twice
    counts once.

    ``sparse`` and ``multivector`` search with these outputs of each model. ``fuse`` adds weighted scores of its
    outputs, as they are: ``{"dense": 0.2, "sparse": 0.8}``. ``rescore`` orders the best ``rescore_top_k`` of what was
    fused, or else of the dense search, by such weights: ``{"dense": 0.15, "sparse": 0.5, "multivector": 0.35}``.
    """
    models, rerankers = list(dict.fromkeys(models)), list(dict.fromkeys(rerankers))
    for kind in quantization:
        check_quantization(kind)
    names = short_names([*models, *rerankers])
    found: list[System] = []
    for model in models:
        found += _variants(model, names[model], dimensions, quantization, top_k)
        found += [
            System(f"{names[model]} [{name}]", (_OUTPUTS[name](model),), top_k=top_k)
            for name, wanted in (("sparse", sparse), ("multivector", multivector))
            if wanted
        ]
        fused = [_fused(model, names[model], weights, top_k) for weights in fuse]
        found += fused
        for base in fused or [System(names[model], (DenseLeg(model),), top_k=top_k)]:
            found += [_rescored(base, model, weights, rescore_top_k) for weights in rescore]
    lexical = Bm25Leg(language)
    if hybrid:
        if not models:
            raise InvalidInputError("a hybrid joins a model with BM25; name a model too")
        found += [
            System(f"{names[model]} + {BM25}", (DenseLeg(model), lexical), Fusion(), top_k=top_k) for model in models
        ]
    if bm25 or not (models or rerankers):
        found.append(System(BM25, (lexical,), top_k=top_k))
    reranked = [
        replace(system, name=f"{system.name} → {names[reranker]}", rerank=Rerank(reranker, rerank_top_k))
        for reranker in rerankers
        for system in found
    ]
    alone = [System(names[reranker], (), rerank=Rerank(reranker, rerank_top_k)) for reranker in rerankers if not found]
    return (*found, *reranked, *alone)


def _fused(model: str, name: str, weights: Weights, top_k: int) -> System:
    _check_outputs("fuse", weights)
    if len(weights) < 2:
        raise InvalidInputError(f"fuse is {_said(weights)!r}; give weights of two outputs or more")
    legs = tuple(_OUTPUTS[output](model) for output in weights)
    fusion = Fusion("weighted", tuple(weights.values()), scaling="none")
    return System(f"{name} [{_said(weights)}]", legs, fusion, top_k=top_k)


def _rescored(base: System, model: str, weights: Weights, top_k: int) -> System:
    _check_outputs("rescore", weights)
    rescore = Rescore(model, weights=tuple(weights.get(output, 0) for output in _OUTPUTS), top_k=top_k)
    return replace(base, name=f"{base.name} → {_said(weights)}", rescore=rescore)


def _check_outputs(what: str, weights: Weights) -> None:
    if unknown := [output for output in weights if output not in _OUTPUTS]:
        raise InvalidInputError(f"{what} names {unknown[0]!r}; allowed are {', '.join(_OUTPUTS)}")


def _said(weights: Weights) -> str:
    return " + ".join(f"{output} {weight:g}" for output, weight in weights.items())


def _variants(
    model: str, name: str, dimensions: Sequence[int], quantization: Sequence[str], top_k: int
) -> list[System]:
    kinds = [kind for kind in get_args(Quantization) if kind in quantization and kind != "f32"]
    out = []
    for size in (None, *dict.fromkeys(dimensions)):
        for kind in ("f32", *kinds):
            said = [f"{size}d" if size else "", kind if kind != "f32" else ""]
            notes = ", ".join(filter(None, said))
            legs: tuple[Leg, ...] = (DenseLeg(model, dimensions=size, quantization=kind),)
            out.append(System(f"{name} [{notes}]" if notes else name, legs, top_k=top_k))
    return out


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Model -> what a table calls it: the last part of its name, the whole where that is not enough."""
    short = {model: Path(model.rpartition(":")[2].rstrip("/")).name or model for model in models}
    counts = list(short.values())
    return {model: name if counts.count(name) == 1 else model for model, name in short.items()}
