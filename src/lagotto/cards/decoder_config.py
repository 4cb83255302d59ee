"""`DecoderConfig`: the sizes of a Llama-shaped language model whose graph Lagotto builds itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from lagotto.cards.architectures import NATIVE_DECODERS
from lagotto.cards.model_config import ModelConfig

_MISTRAL_WINDOW = 4096
"""What transformers takes where a Mistral's config.json says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig(ModelConfig):
    """Sizes and switches of Llama, Mistral, Qwen2 and Qwen3, all that their graph needs; names follow config.json."""

    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    rms_norm_eps: float
    rope_theta: float
    """Base of the wavelengths of the rotary positions (Su et al. 2021)."""

    @property
    def has_qkv_bias(self) -> bool:
        """Whether queries, keys and values have a bias."""
        return self.architecture == "qwen2"

    @property
    def normalizes_heads(self) -> bool:
        """Whether each head's queries and keys are normalised before they are rotated."""
        return self.architecture == "qwen3"

    @property
    def parameters(self) -> int:
        """Numbers in embeddings and layers, but for norms."""
        heads = 2 * self.num_attention_heads + 2 * self.num_key_value_heads
        layer = self.hidden_size * (heads * self.head_dim + 3 * self.intermediate_size)
        return self.vocab_size * self.hidden_size + self.num_hidden_layers * layer


def decoder_config(raw: Mapping[str, Any], sizes: ModelConfig) -> DecoderConfig | None:
    """All sizes of the graph; None for a checkpoint that needs what the graph has not, which is left to transformers.

    That are scaled rotary positions, attention within a window that is shorter than the longest text, biases where
    the architecture usually has none, another activation than SiLU, attention in both directions.
    """
    if raw.get("model_type") not in NATIVE_DECODERS or not _plain(raw, sizes.max_position_embeddings):
        return None
    heads = int(raw["num_attention_heads"])
    try:
        config = DecoderConfig(
            **asdict(sizes),
            num_hidden_layers=int(raw["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(raw.get("num_key_value_heads") or heads),
            head_dim=int(raw.get("head_dim") or sizes.hidden_size // heads),
            intermediate_size=int(raw["intermediate_size"]),
            rms_norm_eps=float(raw.get("rms_norm_eps", 1e-6)),
            rope_theta=float(_rope(raw).get("rope_theta", 10_000.0)),
        )
    except (KeyError, TypeError, ValueError):
        return None  # transformers has defaults of its own
    whole = config.num_attention_heads % config.num_key_value_heads == 0 and config.head_dim % 2 == 0
    return config if whole and config.num_hidden_layers > 0 else None


def _rope(raw: Mapping[str, Any]) -> Mapping[str, Any]:
    """How positions are rotated: one table since transformers 5, two keys of the config before."""
    new = raw.get("rope_parameters")
    if isinstance(new, Mapping):
        return new
    return {"rope_theta": raw.get("rope_theta", 10_000.0), **(raw.get("rope_scaling") or {})}


def _plain(raw: Mapping[str, Any], longest: int) -> bool:
    """Whether nothing is asked for that the graph has not."""
    rope = _rope(raw)
    window = raw.get("sliding_window", _MISTRAL_WINDOW if raw["model_type"] == "mistral" else None)
    windowed = raw.get("use_sliding_window", raw["model_type"] == "mistral") and window is not None
    return (
        rope.get("rope_type", rope.get("type", "default")) == "default"
        and rope.get("partial_rotary_factor", 1.0) == 1.0
        and not (windowed and int(window) < longest)
        and raw.get("hidden_act", "silu") == "silu"
        and not raw.get("attention_bias")
        and not raw.get("mlp_bias")
        and raw.get("is_causal", True) is not False
        and raw.get("use_bidirectional_attention") in (None, False)
    )
