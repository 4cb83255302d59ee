"""Tiny random language models with a tokenizer like Llama's and Mistral's. Importing it skips without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from support.architectures import DECODER, OWN, SIZES, torch, transformers
from support.checkpoints import DIGITS, LETTERS, PUNCTUATION, WORDS, change_json, write_json

MARKS = ("<instruct>", "<query>", "<response>", *(f"<s{number}>" for number in range(1, 17)))
SPECIAL = ("<unk>", "<s>", "</s>")


def llama_tokenizer(*, begin: bool = True, end: bool = True, prepend: bool = True) -> Tokenizer:
    """Characters, some words, bytes for what it does not know; every string begins with a low line for a space."""
    pieces = [*SPECIAL, *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    pieces += [*LETTERS, *LETTERS.upper(), *DIGITS, *PUNCTUATION]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    merges = []
    for word in WORDS:
        known = "▁"
        for letter in word:
            merges.append((known, letter))
            known += letter
            vocabulary.setdefault(known, len(vocabulary))
    merges = list(dict.fromkeys(merges))
    model = models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True, fuse_unk=True)
    tokenizer = Tokenizer(model)
    first = [normalizers.Prepend("▁")] if prepend else []
    tokenizer.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    strip = [decoders.Strip(" ", 1, 0)] if prepend else []
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), *strip]
    )
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in MARKS])
    before, after = "<s>:0 " if begin else "", " </s>:0" if end else ""
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{before}$A:0{after}",
        pair=f"{before}$A:0 $B:1{after}",
        special_tokens=[("<s>", 1), ("</s>", 2)],
    )
    return tokenizer


def write_language_model(
    folder: Path, architecture: str = "mistral", *, begin: bool = True, end: bool = True, **changes: Any
) -> Path:
    """A folder as ``save_pretrained`` writes it: it does not say how to pool, which its card does."""
    tokenizer = llama_tokenizer(begin=begin, end=end)
    sizes = {**SIZES, "vocab_size": tokenizer.get_vocab_size(with_added_tokens=True), "max_position_embeddings": 256}
    own = {**DECODER, **OWN.get(architecture, {}), "bos_token_id": 1, "eos_token_id": 2}
    config = transformers.AutoConfig.for_model(architecture, **{**sizes, **own, **changes})
    torch.manual_seed(5)
    transformers.AutoModel.from_config(config, dtype=torch.float32).save_pretrained(folder)
    change_json(folder / "config.json", dtype=None, torch_dtype=None)
    tokenizer.save(str(folder / "tokenizer.json"))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<unk>"}
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 256, "padding_side": "left", **named},
    )
    return folder


def their_tokenizer(folder: Path) -> Any:
    """The same tokenizer in transformers."""
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        pad_token="<unk>",
        padding_side="left",
    )
