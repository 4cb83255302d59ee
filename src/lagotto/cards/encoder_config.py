"""`EncoderConfig`: the sizes of a BERT-shaped encoder, read from a checkpoint's config.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.core.errors import CheckpointError, UnsupportedModelError

ENCODER_ARCHITECTURES = ("bert", "xlm-roberta")
"""`model_type` values whose graph Lagotto builds itself."""


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """Sizes and switches of a BERT or XLM-RoBERTa encoder; names follow config.json."""

    architecture: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    max_position_embeddings: int
    type_vocab_size: int
    layer_norm_eps: float
    hidden_act: str
    pad_token_id: int
    num_labels: int

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def counts_positions_from_padding(self) -> bool:
        """RoBERTa numbers positions from ``pad_token_id + 1`` and skips padding tokens; BERT from 0."""
        return self.architecture == "xlm-roberta"

    @property
    def max_tokens(self) -> int:
        """Longest sequence the position table allows, special tokens included."""
        lost = self.pad_token_id + 1 if self.counts_positions_from_padding else 0
        return self.max_position_embeddings - lost


def encoder_config(raw: Mapping[str, Any], folder: Path) -> EncoderConfig:
    """Read and check the sizes in config.json's content.

    Raises `UnsupportedModelError` for another architecture or a variant of BERT that is built differently, and
    `CheckpointError` when a size is missing or two contradict each other.
    """
    where = folder / "config.json"
    architecture = raw.get("model_type")
    if architecture not in ENCODER_ARCHITECTURES:
        raise UnsupportedModelError(
            f"{where}: architecture {architecture!r} is not run by this version; "
            f"it runs {' and '.join(ENCODER_ARCHITECTURES)} encoders"
        )
    _refuse_variants(raw, where)
    try:
        config = EncoderConfig(
            architecture=architecture,
            vocab_size=int(raw["vocab_size"]),
            hidden_size=int(raw["hidden_size"]),
            num_hidden_layers=int(raw["num_hidden_layers"]),
            num_attention_heads=int(raw["num_attention_heads"]),
            intermediate_size=int(raw["intermediate_size"]),
            max_position_embeddings=int(raw["max_position_embeddings"]),
            type_vocab_size=int(raw["type_vocab_size"]),
            layer_norm_eps=float(raw.get("layer_norm_eps", 1e-12)),
            hidden_act=str(raw.get("hidden_act", "gelu")),
            pad_token_id=int(raw.get("pad_token_id", 1 if architecture == "xlm-roberta" else 0)),
            num_labels=len(raw["id2label"]) if "id2label" in raw else int(raw.get("num_labels", 2)),
        )
    except KeyError as missing:
        raise CheckpointError(f"{where}: {missing} is missing") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: a size is not a number ({error})") from None
    _check(config, where)
    return config


def _refuse_variants(raw: Mapping[str, Any], where: Path) -> None:
    variant = {
        "position_embedding_type": raw.get("position_embedding_type", "absolute") != "absolute",
        "is_decoder": bool(raw.get("is_decoder", False)),
        "add_cross_attention": bool(raw.get("add_cross_attention", False)),
    }
    for key, unsupported in variant.items():
        if unsupported:
            raise UnsupportedModelError(f"{where}: {key} = {raw[key]!r} is not supported by the encoder graph")
    if raw.get("hidden_act", "gelu") not in ("gelu", "relu", "gelu_new", "gelu_pytorch_tanh"):
        raise UnsupportedModelError(f"{where}: hidden_act {raw['hidden_act']!r} is not supported; gelu and relu are")


def _check(config: EncoderConfig, where: Path) -> None:
    for name in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size"):
        if getattr(config, name) < 1:
            raise CheckpointError(f"{where}: {name} is {getattr(config, name)}, must be at least 1")
    if config.hidden_size % config.num_attention_heads:
        raise CheckpointError(
            f"{where}: hidden_size {config.hidden_size} is not a multiple of "
            f"num_attention_heads {config.num_attention_heads}"
        )
    if config.max_tokens < 1:
        raise CheckpointError(f"{where}: max_position_embeddings {config.max_position_embeddings} leaves no position")
