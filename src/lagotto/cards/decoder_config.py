"""`DecoderConfig`: the sizes and switches of a language model, all that its layers need, read from config.json."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lagotto.core.errors import CheckpointError, UnsupportedModelError

Activation = Literal["silu", "gelu", "gelu_tanh"]

_ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
_GEMMA: dict[str, Any] = {"hidden_act": "gelu_pytorch_tanh", "head_dim": 256, "tie_word_embeddings": True}
_GEMMA2: dict[str, Any] = {
    **_GEMMA,
    "query_pre_attn_scalar": 256,
    "sliding_window": 4096,
    "attn_logit_softcapping": 50.0,
    "final_logit_softcapping": 30.0,
}
_DEFAULTS: dict[str, dict[str, Any]] = {
    "gemma": _GEMMA,
    "gemma2": _GEMMA2,
    "cost_wise_gemma": _GEMMA2,
    "llama": {},
    "mistral": {"sliding_window": 4096},
    "cost_wise_mistral": {"sliding_window": 4096},
    "minicpm": {"tie_word_embeddings": True},
    "qwen2": {},
    "qwen3": {"head_dim": 128},
}
"""What each architecture's configuration class of transformers (or upstream) takes for a key that is not there."""

DECODER_ARCHITECTURES = tuple(_DEFAULTS)
"""Language models whose layers Lagotto computes itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rotary:
    """How fast the angles of rotary positions turn."""

    theta: float
    factor: float = 1.0
    """Positions are divided by it (``linear``), or slow turns are (``llama3``)."""
    low: float | None = None
    """``low_freq_factor`` of ``llama3``; None for any other kind."""
    high: float = 1.0
    original: int = 0
    """Positions the model was trained on before ``llama3`` stretched them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DecoderConfig:
    """A decoder of the Llama kind: RMS norms, rotary positions, grouped key-value heads, a gated feed-forward layer."""

    architecture: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    activation: Activation
    rotary: Rotary
    attention_scale: float
    """What products of queries and keys are multiplied by."""
    qkv_bias: bool
    output_bias: bool
    feed_forward_bias: bool
    head_norms: bool
    """Queries and keys are normalised head by head (Qwen3)."""
    norm_offset: float
    """Added to the weights of norms: 1 for Gemma, whose checkpoints hold the difference from 1."""
    outer_norms: bool
    """What attention and feed-forward give is normalised before it is added (Gemma2)."""
    embedding_scale: float
    residual_scale: float
    """What attention and feed-forward give is multiplied by before it is added (MiniCPM)."""
    attention_softcap: float | None
    logit_softcap: float | None
    windows: tuple[int | None, ...]
    """For each layer how many tokens, itself included, a token sees at most; None: all before it."""
    tied: bool
    """The rows of the vocabulary that a state is compared with are the embeddings."""

    @property
    def parameters(self) -> int:
        """Numbers in embeddings and layers, but for norms and biases."""
        heads = 2 * (self.num_attention_heads + self.num_key_value_heads)
        layer = self.hidden_size * (heads * self.head_dim + 3 * self.intermediate_size)
        return self.vocab_size * self.hidden_size + self.num_hidden_layers * layer


def decoder_config(raw: Mapping[str, Any], folder: Path) -> DecoderConfig:
    """Read config.json's content.

    Raises `UnsupportedModelError` for an architecture or a variant that is not computed here, `CheckpointError` where a
    size is missing or makes no sense.
    """
    where = folder / "config.json"
    architecture = str(raw.get("model_type"))
    if architecture not in _DEFAULTS:
        raise UnsupportedModelError(
            f"{where}: layers of architecture {architecture!r} are not computed here; those of "
            f"{', '.join(DECODER_ARCHITECTURES)} are"
        )
    given = {**_DEFAULTS[architecture], **{key: value for key, value in raw.items() if value is not None}}
    for key in ("attn_logit_softcapping", "final_logit_softcapping", "sliding_window"):
        if key in raw and raw[key] is None:  # switched off, which is not the same as left out
            given.pop(key, None)
    try:
        return _config(architecture, given, where)
    except KeyError as missing:
        raise CheckpointError(f"{where}: {missing} is missing") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: a size is not a number ({error})") from None


def _config(architecture: str, given: Mapping[str, Any], where: Path) -> DecoderConfig:
    hidden, layers, heads = (int(given[key]) for key in ("hidden_size", "num_hidden_layers", "num_attention_heads"))
    gemma, gemma2 = "gemma" in architecture, architecture in ("gemma2", "cost_wise_gemma")
    width = int(given.get("head_dim") or hidden // heads)
    biased = bool(given.get("attention_bias", False))
    config = DecoderConfig(
        architecture=architecture,
        vocab_size=int(given["vocab_size"]),
        hidden_size=hidden,
        intermediate_size=int(given["intermediate_size"]),
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=int(given.get("num_key_value_heads", heads)),
        head_dim=width,
        rms_norm_eps=float(given.get("rms_norm_eps", 1e-6)),
        activation=_activation(given, gemma, where),
        rotary=_rotary(given, where),
        attention_scale=float(given["query_pre_attn_scalar"] if gemma2 else width) ** -0.5,
        qkv_bias=architecture == "qwen2" or biased,
        output_bias=architecture != "qwen2" and biased,
        feed_forward_bias=bool(given.get("mlp_bias", False)),
        head_norms=architecture == "qwen3",
        norm_offset=1.0 if gemma else 0.0,
        outer_norms=gemma2,
        embedding_scale=math.sqrt(hidden) if gemma else float(given.get("scale_emb", 1.0)),
        residual_scale=float(given["scale_depth"]) / math.sqrt(layers) if "scale_depth" in given else 1.0,
        attention_softcap=_cap(given, "attn_logit_softcapping") if gemma2 else None,
        logit_softcap=_cap(given, "final_logit_softcapping") if gemma2 else None,
        windows=_windows(architecture, given, layers),
        tied=bool(given.get("tie_word_embeddings", False)),
    )
    for name in ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "head_dim"):
        if getattr(config, name) < 1:
            raise CheckpointError(f"{where}: {name} is {getattr(config, name)}, must be at least 1")
    if config.num_key_value_heads < 1 or heads % config.num_key_value_heads:
        raise CheckpointError(
            f"{where}: num_attention_heads {heads} is not a multiple of num_key_value_heads "
            f"{config.num_key_value_heads}"
        )
    return config


def _activation(given: Mapping[str, Any], gemma: bool, where: Path) -> Activation:
    name = str(given.get("hidden_activation") or given.get("hidden_act", "silu"))
    if gemma and name == "gelu":  # an old value of Gemma's own releases, which were trained with the approximation
        return "gelu_tanh"
    if name not in _ACTIVATIONS:
        raise UnsupportedModelError(f"{where}: activation {name!r} is not supported; {', '.join(_ACTIVATIONS)} are")
    return _ACTIVATIONS[name]


def _rotary(given: Mapping[str, Any], where: Path) -> Rotary:
    """transformers 5 writes one table, 4 wrote the base apart from how it is stretched."""
    told = given.get("rope_parameters") or given.get("rope_scaling") or {}
    theta = float(told.get("rope_theta", given.get("rope_theta", 10_000.0)))
    kind = str(told.get("rope_type", told.get("type", "default")))
    if float(told.get("partial_rotary_factor", given.get("partial_rotary_factor", 1.0))) != 1.0:
        raise UnsupportedModelError(f"{where}: partial rotary positions are not supported")
    if kind == "default":
        return Rotary(theta=theta)
    if kind == "linear":
        return Rotary(theta=theta, factor=float(told["factor"]))
    if kind == "llama3":
        return Rotary(
            theta=theta,
            factor=float(told["factor"]),
            low=float(told["low_freq_factor"]),
            high=float(told["high_freq_factor"]),
            original=int(told["original_max_position_embeddings"]),
        )
    raise UnsupportedModelError(f"{where}: rotary positions of kind {kind!r}; default, linear and llama3 are supported")


def _windows(architecture: str, given: Mapping[str, Any], layers: int) -> tuple[int | None, ...]:
    size = given.get("sliding_window")
    if size is None or architecture in ("llama", "gemma", "minicpm"):
        return (None,) * layers
    if "layer_types" in given:
        slides = [kind == "sliding_attention" for kind in given["layer_types"]]
        if len(slides) != layers:
            raise ValueError(f"{len(slides)} layer_types for {layers} layers")
    elif architecture in ("gemma2", "cost_wise_gemma"):
        slides = [number % 2 == 0 for number in range(layers)]
    elif architecture in ("qwen2", "qwen3"):
        first = int(given.get("max_window_layers", 28)) if given.get("use_sliding_window", False) else layers
        slides = [number >= first for number in range(layers)]
    else:
        slides = [True] * layers
    if architecture in ("qwen2", "qwen3") and not given.get("use_sliding_window", False):
        slides = [False] * layers
    return tuple(int(size) if slide else None for slide in slides)


def _cap(given: Mapping[str, Any], key: str) -> float | None:
    return None if given.get(key) is None else float(given[key])
