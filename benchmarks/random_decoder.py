"""Language models that embed or rerank, with random weights: to measure speed without trained ones.

    python benchmarks/random_decoder.py --width WIDTH --like CHECKPOINT OUT [--kind gemma|lightweight|embedder]

The tokenizer's files come from the checkpoint given with --like. ``gemma`` has the shape of bge-reranker-v2-gemma,
scaled down, and the logit of Yes as its score; ``lightweight`` that of bge-reranker-v2.5-gemma2-lightweight, with a
head a layer; ``embedder`` that of Qwen3-Embedding, whose vector is the last token's state.
"""

import argparse
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import random_checkpoint

WIDTHS = {  # hidden, layers, heads, width of a head, feed-forward
    "mini": (64, 4, 4, 16, 128),
    "small": (512, 12, 8, 64, 2048),
    "gemma-2b": (2048, 18, 8, 256, 16384),
    "qwen3-0.6b": (1024, 28, 16, 128, 3072),
}
KINDS = {  # model_type, class
    "gemma": ("gemma", "GemmaForCausalLM"),
    "lightweight": ("cost_wise_gemma", "CostWiseGemmaForCausalLM"),
    "embedder": ("qwen3", "Qwen3ForCausalLM"),
}
CARDS = {"gemma": "BAAI/bge-reranker-v2-gemma", "lightweight": "BAAI/bge-reranker-v2.5-gemma2-lightweight"}
START = 2
"""The first layer with a head."""


def shapes(config: dict, kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors, as transformers' and upstream's classes name them."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    queries = config["num_attention_heads"] * config["head_dim"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    yield "model.embed_tokens.weight", (config["vocab_size"], hidden)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if kind == "lightweight":
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    for i in range(config["num_hidden_layers"]):
        layer = f"model.layers.{i}"
        yield f"{layer}.self_attn.q_proj.weight", (queries, hidden)
        yield f"{layer}.self_attn.k_proj.weight", (keys, hidden)
        yield f"{layer}.self_attn.v_proj.weight", (keys, hidden)
        yield f"{layer}.self_attn.o_proj.weight", (hidden, queries)
        yield f"{layer}.mlp.gate_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.up_proj.weight", (inner, hidden)
        yield f"{layer}.mlp.down_proj.weight", (hidden, inner)
        yield from ((f"{layer}.{norm}.weight", (hidden,)) for norm in norms)
        if kind == "embedder":
            yield from ((f"{layer}.self_attn.{part}_norm.weight", (config["head_dim"],)) for part in "qk")
    yield "model.norm.weight", (hidden,)
    if kind == "lightweight":
        for number in range(config["num_hidden_layers"] - START + 1):
            yield f"lm_head.{number}.linear_head.weight", (1, hidden)


def make(out: Path, width: str, like: Path, kind: str = "gemma", seed: int = 7, layers: int | None = None) -> Path:
    """Make the folder `out` unless it holds a finished checkpoint already; returns it. `layers` are the width's own."""
    if (out / "config.json").exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    hidden, own, heads, head, inner = WIDTHS[width]
    vocabulary = json.loads((like / "config.json").read_text())["vocab_size"]
    config = {
        "model_type": KINDS[kind][0], "architectures": [KINDS[kind][1]], "num_hidden_layers": layers or own,
        "vocab_size": vocabulary, "hidden_size": hidden, "intermediate_size": inner,
        "num_attention_heads": heads, "num_key_value_heads": 1, "head_dim": head, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
        "hidden_act": "gelu_pytorch_tanh", "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": True,
    }  # fmt: skip
    if kind == "embedder":
        del config["hidden_activation"]
        config |= {"hidden_act": "silu", "num_key_value_heads": heads // 2, "rope_theta": 1e6, "sliding_window": None}
    if kind == "lightweight":
        config |= {"layer_wise": True, "start_layer": START, "layer_sep": 1, "query_pre_attn_scalar": head}
    for name in random_checkpoint.TOKENIZER:
        if (like / name).exists():
            shutil.copy(like / name, out / name)
    tokenizer = json.loads((out / "tokenizer_config.json").read_text())
    first = tokenizer.get("cls_token", "[CLS]")  # an encoder's tokenizer names no token that begins a text
    changed = tokenizer | {"model_max_length": 8192, "bos_token": first}
    (out / "tokenizer_config.json").write_text(json.dumps(changed))
    norms = ("norm",) if kind == "embedder" else ()  # Gemma's are differences from 1
    random_checkpoint.write_weights(out / "model.safetensors", list(shapes(config, kind)), seed, norms)
    if kind == "embedder":
        random_checkpoint.write_modules(out, hidden, "pooling_mode_lasttoken")
    (out / "config.json").write_text(json.dumps(config, indent=1))
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", choices=list(WIDTHS), default="small")
    parser.add_argument("--like", type=Path, required=True)
    parser.add_argument("--kind", choices=list(KINDS), default="gemma")
    options = parser.parse_args()
    print(make(options.out, options.width, options.like, options.kind))


if __name__ == "__main__":
    main()
