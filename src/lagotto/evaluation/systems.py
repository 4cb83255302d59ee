"""The systems that a few models stand for: each alone, with the reranker, fused with BM25, cut and quantised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import get_args

from lagotto.core.errors import InvalidInputError
from lagotto.core.quantize import Quantization, check_quantization
from lagotto.evaluation.pipeline import RERANK_TOP_K, TOP_K, Bm25Leg, DenseLeg, Fusion, Leg, Rerank, System

BM25 = "BM25"


def build_systems(
    models: Sequence[str] = (),
    rerankers: Sequence[str] = (),
    *,
    bm25: bool = False,
    hybrid: bool = False,
    dimensions: Sequence[int] = (),
    quantization: Sequence[str] = (),
    language: str = "auto",
    top_k: int = TOP_K,
    rerank_top_k: int = RERANK_TOP_K,
) -> tuple[System, ...]:
    """Systems in the order of a report: models, their variants, hybrids, BM25, then all of these with each reranker.

    A reranker without anything that retrieves stands alone (for sets that bring their candidates). Variants with fewer
    ``dimensions`` and other ``quantization`` come beside the full vectors, not instead of them. What is named twice
    counts once.
    """
    models, rerankers = list(dict.fromkeys(models)), list(dict.fromkeys(rerankers))
    for kind in quantization:
        check_quantization(kind)
    names = short_names([*models, *rerankers])
    found: list[System] = []
    for model in models:
        found += _variants(model, names[model], dimensions, quantization, top_k)
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
