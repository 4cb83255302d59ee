"""tokenizer.json of a byte-level BPE vocabulary, from the facts of a GGUF file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lagotto.cards.starter_convert.folder import added_token, write_json
from lagotto.core.errors import CheckpointError

_NORMAL, _CONTROL = 1, 3
_NAMES = {"bos_token": "bos", "eos_token": "eos", "pad_token": "padding", "unk_token": "unknown"}


def write_bpe_tokenizer(folder: Path, facts: Mapping[str, Any], max_length: int) -> None:
    """Write tokenizer.json, tokenizer_config.json (chat template included) and special_tokens_map.json.

    Raises `CheckpointError` for another kind of vocabulary, `KeyError` for a fact that is not there.
    """
    kind, rules = facts["tokenizer.ggml.model"], facts["tokenizer.ggml.pre"]
    if (kind, rules) != ("gpt2", "smollm"):
        raise CheckpointError(f"its vocabulary is {kind!r} with rules {rules!r}; 'gpt2' with 'smollm' is read")
    tokens, kinds = facts["tokenizer.ggml.tokens"], facts["tokenizer.ggml.token_type"]
    if set(kinds) - {_NORMAL, _CONTROL} or len(kinds) != len(tokens):
        raise CheckpointError("its vocabulary has tokens that are neither normal nor for control")
    if facts.get("tokenizer.ggml.add_bos_token") or facts.get("tokenizer.ggml.add_eos_token"):
        raise CheckpointError("its vocabulary puts tokens around texts, which is not read")
    control = {number: tokens[number] for number, kind in enumerate(kinds) if kind == _CONTROL}
    write_json(folder / "tokenizer.json", _tokenizer(tokens, control, facts["tokenizer.ggml.merges"]), compact=True)
    names = {name: tokens[facts[f"tokenizer.ggml.{key}_token_id"]] for name, key in _NAMES.items()}
    write_json(folder / "special_tokens_map.json", names)
    write_json(
        folder / "tokenizer_config.json",
        names
        | {
            # Named so that tokenizer.json is used as it stands; a class of its own would take other rules for digits.
            "tokenizer_class": "PreTrainedTokenizerFast",
            "model_max_length": max_length,
            "chat_template": facts["tokenizer.chat_template"],
            "clean_up_tokenization_spaces": False,
            "model_input_names": ["input_ids", "attention_mask"],
        },
    )


def _tokenizer(tokens: list[str], control: Mapping[int, str], merges: list[str]) -> dict[str, Any]:
    """Digits one by one, then GPT-2's rules: what llama.cpp does for ``smollm``, and the published tokenizer.json."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(token, number) for number, token in control.items()],
        "normalizer": None,
        "pre_tokenizer": {
            "type": "Sequence",
            "pretokenizers": [{"type": "Digits", "individual_digits": True}, byte_level],
        },
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: number for number, token in enumerate(tokens)},
            "merges": [pair.split(" ", 1) for pair in merges],
        },
    }
