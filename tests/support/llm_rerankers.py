"""Tiny random rerankers that are language models, one for each architecture. Importing it skips without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from lagotto import Reranker
from support.checkpoints import CHINESE, DIGITS, LETTERS, PUNCTUATION, WORDS, change_json, write_json, write_weights

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

BACKBONES = ("gemma", "gemma2", "llama", "mistral", "qwen2", "qwen3")
SPECIAL = ("<pad>", "<eos>", "<bos>", "<unk>", "<|im_start|>", "<|im_end|>")
SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 256,
    "rms_norm_eps": 1e-6,
    "pad_token_id": 0,
    "eos_token_id": 1,
    "bos_token_id": 2,
}
OWN: dict[str, dict[str, Any]] = {
    "gemma2": {"attn_logit_softcapping": 1.5, "final_logit_softcapping": 2.0, "query_pre_attn_scalar": 12},
    "mistral": {"sliding_window": 64},
}


def tokenizer() -> Tokenizer:
    """A unigram tokenizer that knows line breaks, and puts ``<bos>`` in front."""
    pieces = ["▁", "\n", *LETTERS, *LETTERS.upper(), *DIGITS, *PUNCTUATION, *dict.fromkeys(CHINESE), "Yes", "No", "yes"]
    pieces += ["no", *(f"▁{word}" for word in WORDS if len(word) > 1)]
    scored = [(token, 0.0) for token in SPECIAL]
    scored += [(piece, -2.0 - 0.01 * number) for number, piece in enumerate(dict.fromkeys(pieces))]
    made = Tokenizer(models.Unigram(scored, unk_id=SPECIAL.index("<unk>")))
    made.normalizer = normalizers.Replace(" ", "▁")
    made.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    made.decoder = decoders.Replace("▁", " ")
    made.add_special_tokens([AddedToken(token, special=True) for token in SPECIAL])
    made.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos> $B:1", special_tokens=[("<bos>", SPECIAL.index("<bos>"))]
    )
    return made


def write_tokenizer(folder: Path, length: int) -> None:
    """tokenizer.json and tokenizer_config.json."""
    made = tokenizer()
    made.save(str(folder / "tokenizer.json"))
    names = {"pad_token": "<pad>", "eos_token": "<eos>", "bos_token": "<bos>", "unk_token": "<unk>"}
    kind = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": length}
    write_json(folder / "tokenizer_config.json", {**kind, **names})


def write_causal(folder: Path, architecture: str, **changes: Any) -> Path:
    """What transformers builds as a causal language model, in float32."""
    sizes = {**SIZES, "vocab_size": tokenizer().get_vocab_size(), "initializer_range": 0.3}
    config = transformers.AutoConfig.for_model(architecture, **{**sizes, **OWN.get(architecture, {}), **changes})
    torch.manual_seed(11)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    with torch.no_grad():
        for _name, weight in model.named_parameters():  # norms and biases that do something
            if weight.ndim == 1:
                weight.add_(torch.randn_like(weight) * 0.2)
    model.save_pretrained(folder)
    change_json(folder / "config.json", dtype=None, torch_dtype=None)
    write_tokenizer(folder, config.max_position_embeddings)
    return folder


def write_layerwise(folder: Path, architecture: str, *, start_layer: int = 1, seed: int = 5, **changes: Any) -> Path:
    """A reranker with a head a layer: ``minicpm``, ``cost_wise_gemma`` or ``cost_wise_mistral``."""
    config = {
        **SIZES,
        "model_type": architecture,
        "vocab_size": tokenizer().get_vocab_size(),
        "start_layer": start_layer,
    }
    own: dict[str, Any] = {
        "minicpm": {
            "architectures": ["LayerWiseMiniCPMForCausalLM"],
            "head_type": "simple",
            "head_multi": True,
            "hidden_act": "silu",
            "scale_emb": 12,
            "scale_depth": 1.4,
            "dim_model_base": 16,
        },
        "cost_wise_gemma": {
            "architectures": ["CostWiseGemmaForCausalLM"],
            "layer_wise": True,
            "layer_sep": 1,
            "hidden_activation": "gelu_pytorch_tanh",
            "attn_logit_softcapping": 1.5,
            "final_logit_softcapping": 2.0,
            "query_pre_attn_scalar": 12,
            "sliding_window": 64,
        },
        "cost_wise_mistral": {
            "architectures": ["CostWiseMistralForCausalLM"],
            "layer_wise": True,
            "layer_sep": 1,
            "hidden_act": "silu",
            "sliding_window": 64,
        },
    }[architecture]
    config |= own | changes
    write_json(folder / "config.json", config)
    write_weights(folder, layerwise_tensors(config, seed))
    write_tokenizer(folder, config["max_position_embeddings"])
    return folder


def layerwise_tensors(config: dict[str, Any], seed: int) -> dict[str, Any]:
    """Random weights by the names that upstream's classes give them."""
    random = np.random.default_rng(seed)
    hidden, inner, width = config["hidden_size"], config["intermediate_size"], config["head_dim"]
    queries, keys = config["num_attention_heads"] * width, config["num_key_value_heads"] * width
    gemma = config["model_type"] == "cost_wise_gemma"
    found: dict[str, Any] = {}

    def matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        found[f"{name}.weight"] = (random.standard_normal((rows, columns)) * scale * columns**-0.5).astype(np.float32)

    def norm(name: str) -> None:
        values = random.standard_normal(hidden) * 0.2 + (0 if gemma else 1)
        found[f"{name}.weight"] = values.astype(np.float32)

    matrix("model.embed_tokens", config["vocab_size"], hidden, 1.0)
    for number in range(config["num_hidden_layers"]):
        name = f"model.layers.{number}"
        matrix(f"{name}.self_attn.q_proj", queries, hidden, 2.0)
        matrix(f"{name}.self_attn.k_proj", keys, hidden, 2.0)
        matrix(f"{name}.self_attn.v_proj", keys, hidden)
        matrix(f"{name}.self_attn.o_proj", hidden, queries)
        matrix(f"{name}.mlp.gate_proj", inner, hidden)
        matrix(f"{name}.mlp.up_proj", inner, hidden)
        matrix(f"{name}.mlp.down_proj", hidden, inner)
        further = ("pre_feedforward_layernorm", "post_feedforward_layernorm") if gemma else ()
        for part in ("input_layernorm", "post_attention_layernorm", *further):
            norm(f"{name}.{part}")
    norm("model.norm")
    for number in range(config["start_layer"], config["num_hidden_layers"] + 1):
        matrix(f"lm_head.{number - config['start_layer']}.linear_head", 1, hidden, 2.0)
    return found


CARDS = {
    "gemma": "BAAI/bge-reranker-v2-gemma",
    "qwen2": "mixedbread-ai/mxbai-rerank-base-v2",
    "qwen3": "Qwen/Qwen3-Reranker-0.6B",
    "minicpm": "BAAI/bge-reranker-v2-minicpm-layerwise",
    "cost_wise_gemma": "BAAI/bge-reranker-v2.5-gemma2-lightweight",
    "cost_wise_mistral": "BAAI/Matroyshka-ReRanker-passage",
}
"""The listed model that a tiny checkpoint of an architecture stands for."""


def open_ranker(folder: Path, architecture: str, **how: Any) -> Reranker:
    """The reranker in float32 on the CPU, by torch unless another engine is asked for."""
    asked: dict[str, Any] = {"engine": "torch", "device": "cpu", "precision": "f32", "threads": 1, **how}
    return Reranker(folder, card=CARDS[architecture], **asked)
