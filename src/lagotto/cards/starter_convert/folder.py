"""Write a checkpoint folder in the layout that transformers and sentence-transformers read."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from lagotto.cards.safetensors_writer import write_safetensors
from lagotto.cards.schema import Pooling
from lagotto.cards.splade import STRATEGIES
from lagotto.core.errors import CheckpointError

Shapes = Mapping[str, tuple[int, ...]]
Floats = npt.NDArray[np.float32]
Dtype = Literal["float32", "float16"]

MAX_LENGTH = 512
_WORDPIECE_TOKENS = {
    "unk_token": "[UNK]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "cls_token": "[CLS]",
    "mask_token": "[MASK]",
}


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a converter must know and the source files do not tell."""

    attention_heads: int
    dtype: Dtype = "float32"
    """Precision of the written weights."""
    classification: bool = False
    """Whether the model ends in a pooler and one logit (a reranker) instead of being pooled to a vector."""
    pooling: Pooling = "none"
    prompts: Mapping[str, str] = field(default_factory=dict)
    """Prefixes by sentence-transformers' prompt names, ``query`` and ``document``."""


def write_json(path: Path, value: object, *, compact: bool = False) -> None:
    """Write JSON as UTF-8; `compact` leaves out all white space, which halves a large vocabulary."""
    path.parent.mkdir(exist_ok=True)
    layout: dict[str, Any] = {"separators": (",", ":")} if compact else {"indent": 2}
    path.write_text(json.dumps(value, ensure_ascii=False, **layout) + "\n", encoding="utf-8")


def write_weights(folder: Path, shapes: Shapes, values: Callable[[str], Iterable[Floats]], dtype: Dtype) -> None:
    """Write ``model.safetensors``; see `write_safetensors`."""
    kind = "F32" if dtype == "float32" else "F16"
    write_safetensors(folder / "model.safetensors", {name: (kind, shape) for name, shape in shapes.items()}, values)


def check_shapes(found: Shapes, wanted: Shapes) -> None:
    """Raise `CheckpointError` unless both hold the same names with the same shapes."""
    missing, extra = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    wrong = [
        f"{name} {found[name]} in place of {shape}" for name, shape in wanted.items() if found.get(name, shape) != shape
    ]
    if missing or extra or wrong:
        raise CheckpointError(f"not the expected weights: {missing[:4]=}, {extra[:4]=}, {wrong[:4]=}")


def added_token(content: str, number: int) -> dict[str, Any]:
    """A special token as tokenizer.json lists it."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": content, **flags, "special": True}


def write_modules(folder: Path, recipe: Recipe, dimension: int, max_length: int = MAX_LENGTH) -> None:
    """Write sentence-transformers' module files of an embedder: transformer, pooling, L2 normalisation."""
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    _write_list(folder, "sentence_transformers.models", modules)
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": dimension,
            "pooling_mode_cls_token": recipe.pooling == "cls",
            "pooling_mode_mean_tokens": recipe.pooling == "mean",
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
            **({"pooling_mode_lasttoken": True} if recipe.pooling == "last_token" else {}),
            "include_prompt": True,
        },
    )
    (folder / "2_Normalize").mkdir()
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": max_length, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": dict(recipe.prompts), "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )


def write_splade_modules(folder: Path, recipe: Recipe, vocabulary: int) -> None:
    """Write sentence-transformers' module files of a sparse encoder: masked language model, SPLADE pooling."""
    modules = [("", "MLMTransformer"), ("1_SpladePooling", "SpladePooling")]
    _write_list(folder, "sentence_transformers.sparse_encoder.models", modules)
    strategy = next(name for name, pooling in STRATEGIES.items() if pooling == recipe.pooling)
    write_json(
        folder / "1_SpladePooling" / "config.json",
        {"pooling_strategy": strategy, "activation_function": "relu", "word_embedding_dimension": vocabulary},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_LENGTH, "do_lower_case": False})
    write_json(
        folder / "config_sentence_transformers.json",
        {
            "model_type": "SparseEncoder",
            "prompts": dict(recipe.prompts),
            "default_prompt_name": None,
            "similarity_fn_name": "dot",
        },
    )


def _write_list(folder: Path, package: str, modules: Sequence[tuple[str, str]]) -> None:
    """Write modules.json: folder and class of each module."""
    write_json(
        folder / "modules.json",
        [
            {"idx": index, "name": str(index), "path": path, "type": f"{package}.{module}"}
            for index, (path, module) in enumerate(modules)
        ],
    )


def write_wordpiece_tokenizer(folder: Path, source: Path) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json of an uncased BERT vocabulary."""
    tokenizer = json.loads(source.read_text(encoding="utf-8"))
    # The package fixes both for its own runtime; whoever loads the folder decides for himself.
    tokenizer["padding"] = tokenizer["truncation"] = None
    write_json(folder / "tokenizer.json", tokenizer)
    write_json(folder / "special_tokens_map.json", _WORDPIECE_TOKENS)
    write_json(
        folder / "tokenizer_config.json",
        _WORDPIECE_TOKENS
        | {
            "tokenizer_class": "BertTokenizer",
            "do_lower_case": True,
            "tokenize_chinese_chars": True,
            "strip_accents": None,
            "model_max_length": MAX_LENGTH,
        },
    )
