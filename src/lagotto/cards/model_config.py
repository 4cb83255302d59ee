"""`ModelConfig`: what Lagotto itself needs to know of a checkpoint's config.json, whatever the architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lagotto.cards.architectures import (
    NATIVE_ARCHITECTURES,
    OWN_DECODERS,
    POSITIONS_FROM_PADDING,
    TORCH_ARCHITECTURES,
)
from lagotto.core.errors import CheckpointError, UnsupportedModelError

_CODE = ("AutoModel", "AutoModelForSequenceClassification")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes that batches, limits and outputs depend on; names follow config.json."""

    architecture: str
    """``model_type``."""
    vocab_size: int
    hidden_size: int
    max_position_embeddings: int
    type_vocab_size: int
    """Token types, which tell the texts of a pair apart; 0 where the architecture has none."""
    pad_token_id: int
    """What fills a batch behind its texts."""
    num_labels: int

    @property
    def counts_positions_from_padding(self) -> bool:
        """RoBERTa numbers positions from ``pad_token_id + 1`` and skips padding tokens; others count from 0."""
        return self.architecture in POSITIONS_FROM_PADDING

    @property
    def max_tokens(self) -> int:
        """Longest sequence the positions allow, special tokens included."""
        lost = self.pad_token_id + 1 if self.counts_positions_from_padding else 0
        return self.max_position_embeddings - lost


def hidden_size(raw: Mapping[str, Any]) -> Any:
    """Width of the hidden states, as config.json has it (DistilBERT calls it ``dim``); None where it is missing."""
    return raw.get("hidden_size", raw.get("dim"))


def label_count(raw: Mapping[str, Any]) -> int:
    """Classes of the head; transformers' default of 2 where nothing says otherwise."""
    return len(raw["id2label"]) if "id2label" in raw else int(raw.get("num_labels", 2))


def transformers_config(raw: Mapping[str, Any], folder: Path, *, plain: bool = False) -> ModelConfig:
    """Read the sizes of an architecture that transformers builds; the details of its graph are left to transformers.

    ``plain`` says that the architecture's own graph is known to be right, whatever code config.json names.
    Raises `UnsupportedModelError` for an architecture that no engine runs or a checkpoint that brings code of its own,
    `CheckpointError` when a size is missing or makes no sense.
    """
    where = folder / "config.json"
    architecture = raw.get("model_type")
    if architecture not in (*TORCH_ARCHITECTURES, *OWN_DECODERS):
        raise UnsupportedModelError(
            f"{where}: architecture {architecture!r} is not run by this version; it runs "
            f"{' and '.join(NATIVE_ARCHITECTURES)} encoders, and with torch also "
            f"{', '.join(name for name in TORCH_ARCHITECTURES if name not in NATIVE_ARCHITECTURES)}"
        )
    code = sorted(set(raw.get("auto_map") or ()) & set(_CODE))
    if code and not plain and architecture not in OWN_DECODERS:  # what theirs does is written here
        raise UnsupportedModelError(
            f"{where}: auto_map asks for Python code of the checkpoint's own ({', '.join(code)}), which Lagotto never "
            f"executes; a plain {architecture} may compute something else. Remove auto_map if you know it does not, or "
            "pass card= with the listed model it was made from"
        )
    try:
        config = ModelConfig(
            architecture=architecture,
            vocab_size=int(raw["vocab_size"]),
            hidden_size=int(_required(hidden_size(raw), "hidden_size")),
            max_position_embeddings=int(raw["max_position_embeddings"]),
            type_vocab_size=int(raw.get("type_vocab_size", 0)),
            pad_token_id=_pad_id(raw, architecture),
            num_labels=label_count(raw),
        )
    except KeyError as missing:
        raise CheckpointError(f"{where}: {missing} is missing") from None
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: a size is not a number ({error})") from None
    for name in ("vocab_size", "hidden_size", "max_tokens"):
        if getattr(config, name) < 1:
            raise CheckpointError(f"{where}: {name} is {getattr(config, name)}, must be at least 1")
    return config


def _required(value: Any, name: str) -> Any:
    if value is None:
        raise KeyError(name)
    return value


def _pad_id(raw: Mapping[str, Any], architecture: str) -> int:
    """The padding token; where there is none (language models) any token does, since it is masked: the end token."""
    pad = raw.get("pad_token_id")
    if architecture in POSITIONS_FROM_PADDING:  # positions depend on it
        return 1 if pad is None else int(pad)
    if pad is not None and int(pad) >= 0:  # Llama writes -1 for none
        return int(pad)
    end = raw.get("eos_token_id")
    first = end[0] if isinstance(end, list) and end else end
    return int(first) if isinstance(first, int) else 0
