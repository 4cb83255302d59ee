"""Tiny random SPLADE and ColBERT checkpoints, in the layouts that libraries write."""

from __future__ import annotations

import string
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken

from support.checkpoints import (
    BERT,
    Shape,
    Tensors,
    config_of,
    encoder_tensors,
    tokenizer_for,
    write_json,
    write_tokenizer,
    write_weights,
)

Layout = Literal["pylate", "stanford", "sentence-transformers"]
MARKERS = ("[Q] ", "[D] ")


def masked_lm_tensors(shape: Shape, *, old_names: bool = False, decoder: bool = False) -> Tensors:
    """Weights of ``...ForMaskedLM``; with the layer norms of 2018, or with a matrix of the head's own."""
    random = np.random.default_rng(shape.seed + 2000)

    def normal(*size: int, scale: float) -> NDArray[np.float32]:
        return (random.standard_normal(size) * scale).astype(np.float32)

    bert, bare = shape.architecture == "bert", encoder_tensors(shape)
    prefix, head = ("bert", "cls.predictions") if bert else ("roberta", "lm_head")
    dense, norm = (
        (f"{head}.transform.dense", f"{head}.transform.LayerNorm") if bert else (f"{head}.dense", f"{head}.layer_norm")
    )
    vocabulary = len(bare["embeddings.word_embeddings.weight"])
    out = {f"{prefix}.{name}": tensor for name, tensor in bare.items() if not name.startswith("pooler")}
    out[f"{dense}.weight"] = normal(shape.hidden, shape.hidden, scale=shape.hidden**-0.5)
    out[f"{dense}.bias"] = normal(shape.hidden, scale=0.1)
    out[f"{norm}.weight"], out[f"{norm}.bias"] = 1 + normal(shape.hidden, scale=0.1), normal(shape.hidden, scale=0.1)
    out[f"{head}.bias"] = normal(vocabulary, scale=1.0) - 4  # most weights are 0, as in trained models
    if decoder:
        out[f"{head}.decoder.weight"] = normal(vocabulary, shape.hidden, scale=1.0)
        out[f"{head}.decoder.bias"] = out[f"{head}.bias"].copy()
    if old_names:
        return {
            name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): tensor
            for name, tensor in out.items()
        }
    return out


def write_masked_lm(folder: Path, shape: Shape = BERT, **weights: bool) -> Path:
    """A bare masked-language-model checkpoint; ``weights`` are the arguments of `masked_lm_tensors`."""
    family = "Bert" if shape.architecture == "bert" else "XLMRoberta"
    config = config_of(shape) | {"architectures": [f"{family}ForMaskedLM"]}
    write_json(folder / "config.json", config | {"tie_word_embeddings": not weights.get("decoder", False)})
    write_weights(folder, masked_lm_tensors(shape, **weights))
    write_tokenizer(folder, shape)
    return folder


def write_splade(folder: Path, shape: Shape = BERT, settings: dict[str, Any] | None = None, **pooling: Any) -> Path:
    """The same in sentence-transformers' layout; ``pooling`` are keys of ``SpladePooling``'s config."""
    write_masked_lm(folder, shape)
    write_module_list(folder, [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")])
    write_json(
        folder / "1_SpladePooling/config.json", {"pooling_strategy": "max", "activation_function": "relu"} | pooling
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": shape.tokens, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json", {"model_type": "SparseEncoder", "prompts": {}} | (settings or {})
    )
    return folder


def write_module_list(folder: Path, modules: Sequence[tuple[str, str]]) -> None:
    """Write modules.json, with the class paths that sentence-transformers (and PyLate, for Dense) write."""
    packages = {
        "MLMTransformer": "sparse_encoder.models",
        "SpladePooling": "sparse_encoder.models",
        "MultiVectorMask": "multi_vector_encoder.modules.multi_vector_mask",
        "Normalize": "base.modules.normalize",
        "Dense": "base.modules.dense",
    }
    rows = [
        {
            "idx": number,
            "name": str(number),
            "path": path,
            "type": f"sentence_transformers.{packages.get(kind, 'models')}.{kind}",
        }
        for number, (path, kind) in enumerate(modules)
    ]
    write_json(folder / "modules.json", rows)


def projection(shape: Shape, width: int, seed: int = 11) -> NDArray[np.float32]:
    """(width, hidden) random weights of a ColBERT projection."""
    return (np.random.default_rng(seed).standard_normal((width, shape.hidden)) * 0.3).astype(np.float32)


def write_colbert(
    folder: Path,
    shape: Shape = BERT,
    layout: Layout = "pylate",
    *,
    width: int = 8,
    attend: bool = False,
    **settings: Any,
) -> Path:
    """A ColBERT checkpoint whose queries have 12 tokens and documents 24; ``settings`` are keys of its own config."""
    markers = ("[unused0]", "[unused1]") if layout == "stanford" else MARKERS
    tensors = _with_markers(folder, shape, markers)
    size = {"vocab_size": len(tensors["embeddings.word_embeddings.weight"])}
    if layout == "stanford":
        prefix = "bert" if shape.architecture == "bert" else "roberta"
        whole = {f"{prefix}.{name}": tensor for name, tensor in tensors.items()}
        write_weights(folder, whole | {"linear.weight": projection(shape, width)})
        write_json(folder / "config.json", config_of(shape) | size | {"architectures": ["HF_ColBERT"]})
        own = {"query_maxlen": 12, "doc_maxlen": 24, "attend_to_mask_tokens": attend, "mask_punctuation": True}
        write_json(folder / "artifact.metadata", own | settings)
        return folder
    write_weights(folder, tensors)
    write_json(folder / "config.json", config_of(shape) | size)
    write_weights(folder / "1_Dense", {"linear.weight": projection(shape, width)})
    dense = {
        "in_features": shape.hidden,
        "out_features": width,
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
    }
    write_json(folder / "1_Dense/config.json", dense | {"module_input_name": "token_embeddings"})
    limits: dict[str, Any] = {"max_seq_length": shape.tokens, "do_lower_case": False}
    if layout == "pylate":
        write_module_list(folder, [("", "Transformer"), ("1_Dense", "Dense")])
        own = {"query_prefix": markers[0], "document_prefix": markers[1], "query_length": 12, "document_length": 24}
        own |= {
            "attend_to_expansion_tokens": attend,
            "do_query_expansion": True,
            "skiplist_words": list(string.punctuation),
        }
        write_json(
            folder / "config_sentence_transformers.json", {"model_type": "ColBERT", "prompts": {}} | own | settings
        )
        write_json(folder / "sentence_bert_config.json", limits)
        return folder
    modules = [
        ("", "Transformer"),
        ("1_Dense", "Dense"),
        ("2_MultiVectorMask", "MultiVectorMask"),
        ("3_Normalize", "Normalize"),
    ]
    write_module_list(folder, modules)
    write_json(
        folder / "2_MultiVectorMask/config.json",
        {"skiplist_words": list(string.punctuation), "skiplist_tasks": ["document"]},
    )
    write_json(folder / "3_Normalize/config.json", {"module_input_name": "token_embeddings"})
    expansion = {"strategy": "fixed", "attend": attend, "length": 12, "token": None}
    write_json(
        folder / "sentence_bert_config.json", limits | {"query_expansion": expansion, "document_length": 24} | settings
    )
    prompts = dict(zip(("query", "document"), markers, strict=True))
    write_json(folder / "config_sentence_transformers.json", {"model_type": "MultiVectorEncoder", "prompts": prompts})
    return folder


def _with_markers(folder: Path, shape: Shape, markers: Sequence[str]) -> Tensors:
    """Write the tokenizer with two more tokens; gives an encoder with embeddings for them."""
    write_tokenizer(folder, shape)
    tokenizer = tokenizer_for(shape)
    tokenizer.add_special_tokens([AddedToken(marker, normalized=False, special=True) for marker in markers])
    tokenizer.save(str(folder / "tokenizer.json"))
    tensors = encoder_tensors(shape)
    words = tensors["embeddings.word_embeddings.weight"]
    more = np.random.default_rng(17).standard_normal((len(markers), shape.hidden)).astype(np.float32)
    tensors["embeddings.word_embeddings.weight"] = np.concatenate([words, more])
    return tensors
