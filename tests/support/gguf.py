"""Write miniature GGUF files: a Llama model with a byte-level BPE vocabulary."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
F32, Q4_1, Q8_0 = 0, 3, 8
HIDDEN, INNER, HEADS, KEY_HEADS, LAYERS = 64, 96, 4, 2, 2
CONTROL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
TOKENS = [*CONTROL, *map(chr, range(33, 127)), "Ġ", "Ċ", "he", "ll", "hell", "hello", "Ġw", "Ye", "Yes", "No"]
MERGES = ["h e", "l l", "he ll", "hell o", "Ġ w", "Y e", "Ye s", "N o"]
FACTS: Mapping[str, Any] = {
    "general.architecture": "llama",
    "general.name": "miniature",
    "llama.block_count": LAYERS,
    "llama.context_length": 128,
    "llama.embedding_length": HIDDEN,
    "llama.feed_forward_length": INNER,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": KEY_HEADS,
    "llama.rope.freq_base": 100000.0,
    "llama.rope.dimension_count": HIDDEN // HEADS,
    "llama.attention.layer_norm_rms_epsilon": 1e-5,
    "tokenizer.ggml.add_bos_token": False,
    "tokenizer.ggml.model": "gpt2",
    "tokenizer.ggml.pre": "smollm",
    "tokenizer.ggml.tokens": TOKENS,
    "tokenizer.ggml.token_type": [3] * len(CONTROL) + [1] * (len(TOKENS) - len(CONTROL)),
    "tokenizer.ggml.merges": MERGES,
    "tokenizer.ggml.bos_token_id": 1,
    "tokenizer.ggml.eos_token_id": 2,
    "tokenizer.ggml.unknown_token_id": 0,
    "tokenizer.ggml.padding_token_id": 2,
    "tokenizer.chat_template": "{{ messages }}",
}
LAYER = {
    "attn_q": (HIDDEN, HIDDEN),
    "attn_k": (HIDDEN // HEADS * KEY_HEADS, HIDDEN),
    "attn_v": (HIDDEN // HEADS * KEY_HEADS, HIDDEN),
    "attn_output": (HIDDEN, HIDDEN),
    "attn_norm": (HIDDEN,),
    "ffn_norm": (HIDDEN,),
    "ffn_gate": (INNER, HIDDEN),
    "ffn_up": (INNER, HIDDEN),
    "ffn_down": (HIDDEN, INNER),
}


def tensors() -> dict[str, tuple[int, Floats]]:
    """Kind and numbers of every tensor, as published files have them: norms plain, embeddings Q8_0, the rest Q4_1."""
    rng = np.random.default_rng(0)
    shapes = {f"blk.{n}.{part}.weight": shape for n in range(LAYERS) for part, shape in LAYER.items()}
    shapes |= {"token_embd.weight": (len(TOKENS), HIDDEN), "output_norm.weight": (HIDDEN,)}
    kinds = {name: F32 if "norm" in name else Q8_0 if name.startswith("token") else Q4_1 for name in shapes}
    return {name: (kinds[name], rng.standard_normal(shape).astype(np.float32)) for name, shape in shapes.items()}


def quantised(kind: int, values: Floats) -> tuple[bytes, Floats]:
    """The bytes of a tensor, block by block, and the numbers that they stand for."""
    if kind == F32:
        return values.astype("<f4").tobytes(), values
    content, meant = b"", []
    for block in values.reshape(-1, 32):
        if kind == Q8_0:
            scale = np.float16(np.abs(block).max() / 127)
            levels = np.round(block / np.float32(scale)).clip(-127, 127).astype(np.int8)
            content += scale.tobytes() + levels.tobytes()
            meant.append(levels.astype(np.float32) * np.float32(scale))
        else:
            least, scale = np.float16(block.min()), np.float16((block.max() - block.min()) / 15)
            steps = np.round((block - np.float32(least)) / np.float32(scale)).clip(0, 15).astype(np.uint8)
            content += scale.tobytes() + least.tobytes() + (steps[:16] | steps[16:] << 4).tobytes()
            meant.append(steps.astype(np.float32) * np.float32(scale) + np.float32(least))
    return content, np.array(meant, np.float32).reshape(values.shape)


def write_gguf(
    path: Path, given: Mapping[str, tuple[int, Floats]] | None = None, facts: Mapping[str, Any] | None = None
) -> dict[str, Floats]:
    """Write a file, ``facts`` over `FACTS` (None leaves one out); gives the numbers that its tensors stand for."""
    known = {name: value for name, value in {**FACTS, **(facts or {})}.items() if value is not None}
    given = tensors() if given is None else given
    head = b"GGUF" + struct.pack("<IQQ", 3, len(given), len(known))
    head += b"".join(_string(name) + _value(value) for name, value in known.items())
    meant, data = {}, b""
    for name, (kind, values) in given.items():
        content, meant[name] = quantised(kind, values)
        sizes = values.shape[::-1]
        head += _string(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
        data += content + bytes(-len(content) % 32)
    path.write_bytes(head + bytes(-len(head) % 32) + data)
    return meant


def _string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def _value(value: bool | int | float | str | Sequence[Any]) -> bytes:
    if isinstance(value, list):
        return struct.pack("<I", 9) + _value(value[0])[:4] + struct.pack("<Q", len(value)) + b"".join(
            _value(one)[4:] for one in value
        )  # fmt: skip
    if isinstance(value, str):
        return struct.pack("<I", 8) + _string(value)
    kind, layout = {bool: (7, "?"), int: (4, "I"), float: (6, "f")}[type(value)]
    return struct.pack(f"<I{layout}", kind, value)
