"""Lagotto: embed, rerank, evaluate and serve retrieval models, fast on a CPU.

Importing this package loads nothing heavy; each name below is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lagotto.batch.demand import demand
    from lagotto.batch.long_texts import MultiCls, Windows
    from lagotto.batch.spans import split_spans
    from lagotto.core.judged_values import JudgedRanking, JudgedScores, JudgingReport
    from lagotto.core.span_values import SpanEmbeddings
    from lagotto.core.token_values import MultiVectors, SparseVectors
    from lagotto.core.values import Embeddings, RankedDocument, Ranking, Scores
    from lagotto.evaluation.evaluate import evaluate
    from lagotto.evaluation.results import Report
    from lagotto.flag import (
        BGEM3FlagModel,
        FlagAutoModel,
        FlagAutoReranker,
        FlagICLModel,
        FlagLLMModel,
        FlagLLMReranker,
        FlagModel,
        FlagReranker,
        LayerWiseFlagLLMReranker,
        LightWeightFlagLLMReranker,
    )
    from lagotto.llm.endpoint import ChatEndpoint
    from lagotto.models.embedder import Embedder
    from lagotto.models.examples import Example
    from lagotto.models.judging.prompts import Prompt
    from lagotto.models.judging.reranker import LLMReranker
    from lagotto.models.judging.strategies import Listwise, Pairwise, Pointwise
    from lagotto.models.loading import resolve
    from lagotto.models.reranker import Reranker
    from lagotto.models.score_options import ScoreOptions
    from lagotto.quantization.quantize import quantize
    from lagotto.quantization.report import QuantizationReport

__version__ = "0.1.0"

_HOMES = {
    "Embedder": "lagotto.models.embedder",
    "Example": "lagotto.models.examples",
    "Reranker": "lagotto.models.reranker",
    "LLMReranker": "lagotto.models.judging.reranker",
    "ChatEndpoint": "lagotto.llm.endpoint",
    "Pointwise": "lagotto.models.judging.strategies",
    "Pairwise": "lagotto.models.judging.strategies",
    "Listwise": "lagotto.models.judging.strategies",
    "Prompt": "lagotto.models.judging.prompts",
    "JudgedRanking": "lagotto.core.judged_values",
    "JudgedScores": "lagotto.core.judged_values",
    "JudgingReport": "lagotto.core.judged_values",
    "ScoreOptions": "lagotto.models.score_options",
    "resolve": "lagotto.models.loading",
    "demand": "lagotto.batch.demand",
    "Embeddings": "lagotto.core.values",
    "SparseVectors": "lagotto.core.token_values",
    "MultiVectors": "lagotto.core.token_values",
    "SpanEmbeddings": "lagotto.core.span_values",
    "Windows": "lagotto.batch.long_texts",
    "split_spans": "lagotto.batch.spans",
    "MultiCls": "lagotto.batch.long_texts",
    "BGEM3FlagModel": "lagotto.flag",
    "Scores": "lagotto.core.values",
    "Ranking": "lagotto.core.values",
    "RankedDocument": "lagotto.core.values",
    "evaluate": "lagotto.evaluation.evaluate",
    "Report": "lagotto.evaluation.results",
    "quantize": "lagotto.quantization.quantize",
    "QuantizationReport": "lagotto.quantization.report",
    "FlagModel": "lagotto.flag",
    "FlagReranker": "lagotto.flag",
    "FlagAutoModel": "lagotto.flag",
    "FlagAutoReranker": "lagotto.flag",
    "FlagLLMModel": "lagotto.flag",
    "FlagICLModel": "lagotto.flag",
    "FlagLLMReranker": "lagotto.flag",
    "LayerWiseFlagLLMReranker": "lagotto.flag",
    "LightWeightFlagLLMReranker": "lagotto.flag",
}

__all__ = [
    "BGEM3FlagModel",
    "ChatEndpoint",
    "Embedder",
    "Embeddings",
    "Example",
    "FlagAutoModel",
    "FlagAutoReranker",
    "FlagICLModel",
    "FlagLLMModel",
    "FlagLLMReranker",
    "FlagModel",
    "FlagReranker",
    "JudgedRanking",
    "JudgedScores",
    "JudgingReport",
    "LLMReranker",
    "LayerWiseFlagLLMReranker",
    "LightWeightFlagLLMReranker",
    "Listwise",
    "MultiCls",
    "MultiVectors",
    "Pairwise",
    "Pointwise",
    "Prompt",
    "QuantizationReport",
    "RankedDocument",
    "Ranking",
    "Report",
    "Reranker",
    "ScoreOptions",
    "Scores",
    "SpanEmbeddings",
    "SparseVectors",
    "Windows",
    "__version__",
    "demand",
    "evaluate",
    "quantize",
    "resolve",
    "split_spans",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'lagotto' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
