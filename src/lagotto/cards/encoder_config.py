"""`EncoderConfig`: the sizes of a BERT-shaped encoder, read from a checkpoint's config.json, and `read_config`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.cards.architectures import NATIVE_ARCHITECTURES
from lagotto.cards.model_config import ModelConfig, label_count, transformers_config
from lagotto.core.errors import CheckpointError, UnsupportedModelError


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderConfig(ModelConfig):
    """Sizes and switches of a BERT or XLM-RoBERTa encoder, all that its graph needs; names follow config.json."""

    num_hidden_layers: int
    num_attention_heads: int
    intermediate_size: int
    layer_norm_eps: float
    hidden_act: str

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.hidden_size // self.num_attention_heads


def read_config(raw: Mapping[str, Any], folder: Path, *, plain: bool = False) -> ModelConfig:
    """The sizes in config.json's content: an `EncoderConfig` for the two architectures whose graph Lagotto builds.

    ``plain`` is for `transformers_config`. Raises what `encoder_config` and `transformers_config` raise.
    """
    if raw.get("model_type") in NATIVE_ARCHITECTURES:
        return encoder_config(raw, folder)
    return transformers_config(raw, folder, plain=plain)


def encoder_config(raw: Mapping[str, Any], folder: Path) -> EncoderConfig:
    """Read and check the sizes of a BERT or XLM-RoBERTa encoder.

    Raises `UnsupportedModelError` for a variant of BERT that is built differently, and `CheckpointError` when a size
    is missing or two contradict each other.
    """
    where = folder / "config.json"
    architecture = str(raw.get("model_type"))
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
            num_labels=label_count(raw),
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
