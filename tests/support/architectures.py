"""Tiny random checkpoints of what transformers builds, one for each architecture. Importing it skips without torch."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from support.checkpoints import BERT, XLMR, Shape, change_json, vocabulary_size, write_modules, write_tokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

FROM_PADDING = ("camembert", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "initializer_range": 0.3,
}
DECODER = {"num_key_value_heads": 1, "head_dim": 16, "pad_token_id": None, "bos_token_id": None, "eos_token_id": 3}
OWN: dict[str, dict[str, Any]] = {
    "albert": {"embedding_size": 16},
    "deberta": {"relative_attention": True, "pos_att_type": ["c2p", "p2c"], "position_biased_input": False},
    "deberta-v2": {
        "relative_attention": True,
        "pos_att_type": ["c2p", "p2c"],
        "position_buckets": 16,
        "norm_rel_ebd": "layer_norm",
        "share_att_key": True,
        "position_biased_input": False,
    },
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 48, "initializer_range": 0.3},
    "electra": {"embedding_size": 16},
    "modernbert": {
        "num_hidden_layers": 4,
        "local_attention": 8,
        "global_attn_every_n_layers": 2,
        **{f"{name}_token_id": None for name in ("bos", "eos", "cls", "sep")},
    },
    "gemma": DECODER,
    "gemma2": {**DECODER, "sliding_window": 8, "attn_logit_softcapping": 0.5, "query_pre_attn_scalar": 16},
    "gemma3_text": {**DECODER, "use_bidirectional_attention": True, "sliding_window": 8},
    "llama": DECODER,
    "mistral": {**DECODER, "sliding_window": 8},
    "qwen2": DECODER,
    "qwen3": DECODER,
}
POSITIONS = 64


def shape_of(architecture: str) -> Shape:
    """Which of the tests' tokenizers goes with it, and how long a text may be."""
    base = XLMR if architecture in FROM_PADDING else BERT
    return replace(base, positions=POSITIONS + (2 if architecture in FROM_PADDING else 0))


def write_architecture(
    folder: Path, architecture: str, *, pooling: str = "mean", classifier: bool = False, **changes: Any
) -> Path:
    """An embedder in sentence-transformers' layout, or a classifier of one label."""
    shape = shape_of(architecture)
    sizes = {"vocab_size": vocabulary_size(shape), "pad_token_id": shape.pad_id, "num_labels": 1}
    sizes |= {"max_position_embeddings": shape.positions} | (SIZES if architecture != "distilbert" else {})
    config = transformers.AutoConfig.for_model(architecture, **{**sizes, **OWN.get(architecture, {}), **changes})
    torch.manual_seed(7)
    kind = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
    kind.from_config(config, dtype=torch.float32).save_pretrained(folder)
    change_json(folder / "config.json", dtype=None, torch_dtype=None)
    write_tokenizer(folder, shape)
    if not classifier:
        write_modules(folder, shape, pooling=pooling)
    return folder


def reference_model(folder: Path, *, classifier: bool = False) -> Any:
    """The same folder in transformers, in float32, with plain attention."""
    kind = transformers.AutoModelForSequenceClassification if classifier else transformers.AutoModel
    return kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


def model_type(folder: Path) -> str:
    """What config.json says it is."""
    return str(json.loads((folder / "config.json").read_text())["model_type"])
