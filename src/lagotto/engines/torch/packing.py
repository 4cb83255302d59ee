"""Which architectures take packed texts, and the positions their tokens get there."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lagotto.batch.sequences import Batch
from lagotto.cards.architectures import DECODERS
from lagotto.cards.model_config import ModelConfig
from lagotto.cards.schema import Task
from lagotto.engines.places import positions, token_types
from lagotto.engines.torch.attention import Packing, find_kernel

PACKABLE = (
    *("albert", "bert", "camembert", "distilbert", "electra", "ernie", "eurobert", "gte", "modernbert", "nomic_bert"),
    *("roberta", "xlm-roberta", "xlm-roberta-xl"),
    *DECODERS,
)
"""Architectures whose layers know a token's place by ``position_ids`` alone and call attention by its registered name.

Not MPNet and DeBERTa, whose attention adds what depends on two tokens' distance in the row."""

_WIDEST_HEAD = 256  # FlashAttention's limit
_FIRST_RELEASE = 5  # of transformers: before it, several encoders make masks of their own


def can_pack(config: ModelConfig, task: Task) -> bool:
    """Whether texts of this model may be packed: a reranker only where its head reads one token's state."""
    if config.architecture not in PACKABLE or _release() < _FIRST_RELEASE:
        return False
    return task == "embed" or config.architecture in DECODERS or config.architecture == "bert"


def should_pack(config: ModelConfig, task: Task, model: Any, device: str, half: bool) -> bool:
    """Whether packing pays: on a GPU that has a kernel for it. On a CPU padded batches of like lengths are as fast.

    With capped scores (Gemma 2) it always does: the only other way makes a matrix of heads x tokens x tokens.
    """
    if has_soft_cap(model):
        return can_pack(config, task)
    if not device.startswith("cuda") or not half or torch.cuda.get_device_capability(device)[0] < 8:
        return False
    sizes = model.config
    width = getattr(sizes, "head_dim", None) or sizes.hidden_size // sizes.num_attention_heads
    fits = width <= _WIDEST_HEAD and width % 8 == 0
    return fits and can_pack(config, task) and find_kernel() is not None


def has_soft_cap(model: Any) -> bool:
    """Whether a module's attention caps its scores, which torch's fused kernels can't."""
    return getattr(model.config, "attn_logit_softcapping", None) is not None


def pack(batch: Batch, config: ModelConfig, device: str) -> tuple[dict[str, Any], Packing]:
    """A batch as one row without padding: the model's arguments, (1, tokens) each, and where the texts lie."""
    real = np.arange(batch.ids.shape[1]) < batch.lengths[:, None]
    bounds = np.concatenate([[0], np.cumsum(batch.lengths)])
    values: dict[str, NDArray[Any]] = {"input_ids": batch.ids[real], "position_ids": positions(batch.ids, config)[real]}
    if config.type_vocab_size > 0:
        values["token_type_ids"] = token_types(batch, config)[real]
    given = {name: torch.from_numpy(row[None].astype(np.int64)).to(device) for name, row in values.items()}
    return given, Packing(tuple(batch.lengths.tolist()), torch.from_numpy(bounds.astype(np.int32)).to(device))


def _release() -> int:
    import transformers

    return int(transformers.__version__.partition(".")[0])
