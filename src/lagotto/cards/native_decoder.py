"""Which language models have a graph for OpenVINO: embedders and rerankers of the Llama kind in their plain form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lagotto.cards.adapter import CONFIG_FILE
from lagotto.cards.architectures import NATIVE_DECODERS
from lagotto.cards.decoder_config import DecoderConfig, decoder_config
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import CheckpointError, UnsupportedModelError


def plain_use(card: ModelCard) -> bool:
    """Whether a model gives one vector of states that see what stands before them, or the score of one answer."""
    if card.task == "rerank":
        return card.heads == ("yes_logit",)
    return not card.bidirectional and card.pooling != "last_tokens_mean"


def native_decoder(raw: Mapping[str, Any], folder: Path, card: ModelCard, longest: int) -> DecoderConfig | None:
    """The sizes of the graph; None for a checkpoint that needs what the graph has not, which is left to torch.

    That are attention within a window shorter than the ``longest`` text, rotary positions scaled otherwise than
    linearly or as Llama 3's, biases where the architecture usually has none, attention in both directions.
    """
    if raw.get("model_type") not in NATIVE_DECODERS or not plain_use(card):
        return None
    try:
        config = decoder_config(raw, folder)
    except (CheckpointError, UnsupportedModelError):
        return None  # transformers has defaults of its own, and says what is wrong
    plain = (
        all(window is None or window >= longest for window in config.windows)
        and config.qkv_bias == (config.architecture == "qwen2")
        and not (config.output_bias or config.feed_forward_bias)
        and config.head_dim % 2 == 0
        and not (folder / CONFIG_FILE).is_file()  # an adapter beside the weights, of which torch tells more
        and raw.get("is_causal", True) is not False
        and raw.get("use_bidirectional_attention") in (None, False)
    )
    return config if plain else None
