"""Which architectures run, and on which engine: `model_type` values of config.json.

The table is written down rather than asked of transformers, so that reading a card imports nothing.
"""

from __future__ import annotations

from typing import Literal

EngineName = Literal["openvino", "torch"]
"""An engine by the name that ``engine=`` takes."""

NATIVE_ARCHITECTURES = ("bert", "xlm-roberta")
"""Encoders whose graph Lagotto builds itself, for OpenVINO."""

LARGEST_NATIVE_DECODER = 2_000_000_000
"""Parameters of a language model up to which the CPU engine is chosen for it: its graph is built in float32."""

NATIVE_DECODERS = ("gemma", "llama", "mistral", "qwen2", "qwen3")
"""Language models whose graph Lagotto builds for OpenVINO too, as far as `DecoderConfig` goes."""

DECODERS = ("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3")
"""Language models: a token sees those before it (all, if trained so), and the last one's state stands for the text."""

OWN_DECODERS = ("cost_wise_gemma", "cost_wise_mistral", "minicpm")
"""Language models that transformers does not build: BGE's rerankers, whose layers `lagotto.engines.torch` computes."""

TORCH_ARCHITECTURES = (
    "albert",
    "bert",
    "camembert",
    "deberta",
    "deberta-v2",
    "distilbert",
    "electra",
    "ernie",
    "eurobert",
    "gemma3_text",
    "gte",
    "modernbert",
    "mpnet",
    "nomic_bert",
    "roberta",
    "xlm-roberta",
    "xlm-roberta-xl",
    *DECODERS,
)
"""What transformers builds without code from the checkpoint, and is held to transformers' own forward by a test."""

POSITIONS_FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
"""The family of RoBERTa: positions count from ``pad_token_id + 1`` and skip padding tokens, wherever they stand."""


def engine_for(architecture: str) -> EngineName | None:
    """The engine that runs an architecture by default on a CPU; None for one that no engine runs.

    >>> engine_for("bert"), engine_for("qwen3"), engine_for("clip")
    ('openvino', 'torch', None)
    """
    if architecture in NATIVE_ARCHITECTURES:
        return "openvino"
    return "torch" if architecture in (*TORCH_ARCHITECTURES, *OWN_DECODERS) else None
