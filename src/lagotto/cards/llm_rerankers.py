"""What a folder says of a reranker that is a language model, beside its card: which layers have a head."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from lagotto.cards.schema import LLM_HEADS, ModelCard
from lagotto.core.errors import CheckpointError, UnsupportedModelError

Counted = Literal["all", "texts", "passage"]
"""What ``max_length`` limits.

- ``all``: the whole sequence (Qwen3-Reranker).
- ``texts``: query, separator and passage; what stands around them comes on top (mxbai-rerank-v2).
- ``passage``: the passage, and opening, query, separator and passage together to ``max_length`` and the length of the
  closing; the closing comes on top. So FlagEmbedding lays out its LLM rerankers.
"""


def is_llm_reranker(card: ModelCard) -> bool:
    """Whether a card is of a language model that reads pairs in a prompt."""
    return bool(set(card.heads) & set(LLM_HEADS))


def has_layers(card: ModelCard) -> bool:
    """Whether a score may be read after several layers."""
    return bool({"layerwise", "lightweight"} & set(card.heads))


def allowed_layers(card: ModelCard) -> tuple[int, ...]:
    """The layers a score may be read after; none for a model with one head."""
    if not has_layers(card):
        return ()
    options = card.options
    return tuple(range(int(options["start_layer"]), int(options["layers"]) + 1, int(options["layer_sep"])))


def folder_options(card: ModelCard, raw: Mapping[str, Any], folder: Path) -> Mapping[str, Any]:
    """The card's options with what config.json says of layers and heads put in; the folder's word counts.

    Raises `UnsupportedModelError` for heads over the whole vocabulary, `CheckpointError` for layers that make no sense.
    """
    if not has_layers(card):
        return card.options
    where = folder / "config.json"
    if raw.get("head_type", "simple") != "simple" or not raw.get("head_multi", True) or not raw.get("layer_wise", True):
        raise UnsupportedModelError(
            f"{where}: only heads of one number a layer are run (head_type 'simple', head_multi and layer_wise true), "
            f"not head_type {raw.get('head_type', 'simple')!r}, head_multi {raw.get('head_multi', True)}, layer_wise "
            f"{raw.get('layer_wise', True)}"
        )
    try:
        layers = int(raw["num_hidden_layers"])
        start = int(raw.get("start_layer", card.options["start_layer"]))
        step = int(raw.get("layer_sep", card.options["layer_sep"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: num_hidden_layers, start_layer, layer_sep: {error!r}") from None
    if not 1 <= start <= layers or step < 1:
        raise CheckpointError(f"{where}: start_layer {start} and layer_sep {step} do not fit {layers} layers")
    changed: dict[str, Any] = {"layers": layers, "start_layer": start, "layer_sep": step}
    if layers != card.options["layers"]:  # a smaller model of the same kind
        last = max(range(start, layers + 1, step))
        changed["cutoff_layers"] = [last]
    if "compress_layers" in card.options:
        changed["compress_layers"] = [n for n in card.options["compress_layers"] if n < layers]
    return {**card.options, **changed}
