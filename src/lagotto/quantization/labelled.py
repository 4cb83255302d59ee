"""nDCG@10 on labelled sets, before and after, by the project's own evaluator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lagotto.cards.schema import Head, ModelCard
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.open import Data, open_data
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.evaluate import evaluate
from lagotto.evaluation.measures import measuring_library
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, EncoderLeg, MultiVectorLeg, Rerank, SparseLeg, System
from lagotto.evaluation.progress import Silence, Watcher
from lagotto.models.loading import Options
from lagotto.quantization.gate import Quality

RERANK_TOP_K = 50
"""Hits of BM25 that a reranker orders anew."""
_NDCG = "ndcg@10"
_DEPTH = 100  # hits kept of every query; the measure looks at ten
_LEGS: dict[Head, type[EncoderLeg]] = {"dense": DenseLeg, "sparse": SparseLeg, "multi_vector": MultiVectorLeg}

DataNames = str | Path | Data | Sequence[str | Path | Data]


def open_labelled(names: DataNames, options: Options, watcher: Watcher) -> tuple[RetrievalData, ...]:
    """Retrieval sets with judgements. Raises `InvalidInputError` for others, `MissingDependencyError`."""
    listed = [names] if isinstance(names, str | Path | Data) else list(names)
    if not listed:
        return ()
    measuring_library()  # says now that it is missing, and not after the model was converted
    found = []
    for data in open_data(listed, cache=options.cache_dir, offline=options.offline, say=watcher.say):
        if not isinstance(data, RetrievalData) or not data.qrels:
            raise InvalidInputError(
                f"{data.name} has no judgements of retrieval; nDCG@10 needs a labelled retrieval set"
            )
        found.append(data)
    return tuple(found)


def measure(
    card: ModelCard, data: RetrievalData, model: str | Path, int8: Path, options: Options, watcher: Watcher
) -> Quality:
    """nDCG@10 of both models on a labelled set; a reranker orders BM25's best anew."""
    systems = [
        _system(card, "original", str(model), "f32", options),
        _system(card, "int8", str(int8), "int8", options),
    ]
    shown = not isinstance(watcher, Silence)
    report = evaluate(data, pipeline=systems, measures=[_NDCG], options=options, progress=shown)
    values = report.values(_NDCG)
    return Quality(data.name, values["original", data.name], values["int8", data.name])


def _system(card: ModelCard, name: str, model: str, precision: str, options: Options) -> System:
    told: dict[str, Any] = {"precision": precision, "card": options.card}
    if card.task == "embed":
        return System(name, (_LEGS[card.heads[0]](model, pooling=options.pooling, **told),), top_k=_DEPTH)
    return System(name, (Bm25Leg(),), rerank=Rerank(model, RERANK_TOP_K, **told), top_k=_DEPTH)
