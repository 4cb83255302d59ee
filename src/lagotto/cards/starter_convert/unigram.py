"""tokenizer.json of an XLM-RoBERTa vocabulary (a SentencePiece unigram model)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lagotto.cards.starter_convert.folder import MAX_LENGTH, added_token, write_json
from lagotto.core.errors import CheckpointError

_SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
    "pad_token": "<pad>",
    "mask_token": "<mask>",
    "cls_token": "<s>",
    "sep_token": "</s>",
}
_TILDE, _SET_ASIDE = "\uff5e", "\ue0f0"  # full-width tilde; a private-use character no text should hold


def write_unigram_tokenizer(
    folder: Path, pieces: Sequence[str], scores: Sequence[float], special: Mapping[str, int]
) -> None:
    """Write tokenizer.json, tokenizer_config.json and special_tokens_map.json.

    `special` gives the ids of ``<s>``, ``<pad>``, ``</s>``, ``<unk>`` and ``<mask>``; raises `CheckpointError` if the
    vocabulary has another piece there.
    """
    for piece, index in special.items():
        if not 0 <= index < len(pieces) or pieces[index] != piece:
            raise CheckpointError(f"piece {index} of the vocabulary is not {piece}")
    write_json(folder / "tokenizer.json", _tokenizer(pieces, scores, special), compact=True)
    write_json(folder / "special_tokens_map.json", _SPECIAL_TOKENS)
    write_json(
        folder / "tokenizer_config.json",
        _SPECIAL_TOKENS
        | {
            # Named so that tokenizer.json is used as it stands; a class of its own would rebuild the normaliser.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": MAX_LENGTH,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )


def _tokenizer(pieces: Sequence[str], scores: Sequence[float], special: Mapping[str, int]) -> dict[str, Any]:
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(piece, index) for piece, index in special.items()],
        "normalizer": {"type": "Sequence", "normalizers": _normalizers()},
        "pre_tokenizer": metaspace,
        "post_processor": _template(special),
        "decoder": metaspace,
        "model": {
            "type": "Unigram",
            "unk_id": special["<unk>"],
            "vocab": [[piece, float(score)] for piece, score in zip(pieces, scores, strict=True)],
            "byte_fallback": False,
        },
    }


def _normalizers() -> list[dict[str, Any]]:
    """SentencePiece's nmt_nfkc in rules the tokenizers library has; unlike NFKC it keeps the full-width tilde."""
    return [
        _replace({"String": _TILDE}, _SET_ASIDE),
        {"type": "Nmt"},
        {"type": "NFKC"},
        _replace({"String": _SET_ASIDE}, _TILDE),
        _replace({"Regex": " {2,}"}, " "),
    ]


def _replace(pattern: Mapping[str, str], content: str) -> dict[str, Any]:
    return {"type": "Replace", "pattern": pattern, "content": content}


def _template(special: Mapping[str, int]) -> dict[str, Any]:
    """``<s> A </s>`` for one text and ``<s> A </s> </s> B </s>`` for two, all of token type 0."""
    begin, end = ({"SpecialToken": {"id": piece, "type_id": 0}} for piece in ("<s>", "</s>"))
    first, second = ({"Sequence": {"id": text, "type_id": 0}} for text in ("A", "B"))
    return {
        "type": "TemplateProcessing",
        "single": [begin, first, end],
        "pair": [begin, first, end, end, second, end],
        "special_tokens": {
            piece: {"id": piece, "ids": [special[piece]], "tokens": [piece]} for piece in ("<s>", "</s>")
        },
    }
