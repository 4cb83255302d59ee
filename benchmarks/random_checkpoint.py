"""A BERT checkpoint of any width, or BGE-M3's encoder, with random weights: to measure speed without trained ones.

    python benchmarks/random_checkpoint.py --width base|large --like CHECKPOINT OUT [--kind encoder|reranker|m3]

The tokenizer's files and the vocabulary's size come from the checkpoint given with --like. The folder holds
model.safetensors (f32), config.json and, for an encoder, the files by which sentence-transformers finds its pooling.
"""

import argparse
import json
import shutil
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np

WIDTHS = {
    "mini": (64, 2, 2, 128),
    "small": (384, 12, 12, 1536),
    "base": (768, 12, 12, 3072),
    "large": (1024, 24, 16, 4096),
}
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")
M3 = {
    "model_type": "xlm-roberta", "architectures": ["XLMRobertaModel"], "max_position_embeddings": 8194,
    "type_vocab_size": 1, "layer_norm_eps": 1e-5, "bos_token_id": 0, "pad_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]


def shapes(config: dict, kind: str) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes of the tensors, as `BertModel` or `BertForSequenceClassification` names them."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    prefix = "bert." if kind == "reranker" else ""

    def linear(name: str, out: int, inp: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", (out, inp)
        yield f"{name}.bias", (out,)

    def norm(name: str) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.LayerNorm.weight", (hidden,)
        yield f"{name}.LayerNorm.bias", (hidden,)

    tables = {"word": "vocab_size", "position": "max_position_embeddings", "token_type": "type_vocab_size"}
    for table, rows in tables.items():
        yield f"{prefix}embeddings.{table}_embeddings.weight", (config[rows], hidden)
    yield from norm(f"{prefix}embeddings")
    for i in range(config["num_hidden_layers"]):
        layer = f"{prefix}encoder.layer.{i}"
        for part in ("query", "key", "value"):
            yield from linear(f"{layer}.attention.self.{part}", hidden, hidden)
        yield from linear(f"{layer}.attention.output.dense", hidden, hidden)
        yield from norm(f"{layer}.attention.output")
        yield from linear(f"{layer}.intermediate.dense", inner, hidden)
        yield from linear(f"{layer}.output.dense", hidden, inner)
        yield from norm(f"{layer}.output")
    yield from linear(f"{prefix}pooler.dense", hidden, hidden)
    if kind == "reranker":
        yield from linear("classifier", 1, hidden)


def write_weights(
    file: Path, tensors: list[tuple[str, tuple[int, ...]]], seed: int, norms: tuple[str, ...] = ("LayerNorm",)
) -> None:
    """Write a safetensors file one tensor at a time: weights ~ N(0, 0.04), biases 0, and those about 1 whose names
    hold one of `norms`."""
    draw, header, at = np.random.default_rng(seed), {}, 0
    for name, shape in tensors:
        size = 4 * int(np.prod(shape))
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with file.open("wb") as out:
        out.write(struct.pack("<Q", len(head)) + head)
        for name, shape in tensors:
            values = np.zeros(shape, np.float32)
            if not name.endswith("bias"):
                values = draw.standard_normal(shape, dtype=np.float32) * np.float32(0.04)
                values += np.float32(any(norm in name for norm in norms))
            out.write(values.tobytes())


def write_modules(out: Path, hidden: int, pooling: str) -> None:
    """The files by which sentence-transformers finds an embedder's pooling: a switch of its, ``pooling_mode_...``."""
    for name in ("1_Pooling", "2_Normalize"):
        (out / name).mkdir(exist_ok=True)
    switches = {"pooling_mode_cls_token": False, "pooling_mode_mean_tokens": False} | {pooling: True}
    (out / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": hidden, **switches}))
    (out / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 512, "do_lower_case": False}))
    (out / "modules.json").write_text(json.dumps(MODULES))


def make(out: Path, width: str, like: Path, kind: str = "encoder", seed: int = 7) -> Path:
    """Make the folder `out` unless it holds a finished checkpoint already; returns it."""
    if (out / ("modules.json" if kind == "encoder" else "config.json")).exists():
        return out
    out.mkdir(parents=True, exist_ok=True)
    hidden, layers, heads, inner = WIDTHS[width]
    config = json.loads((like / "config.json").read_text())
    config |= {"hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads}
    config |= {"intermediate_size": inner, "model_type": "bert"}
    config["architectures"] = ["BertForSequenceClassification" if kind == "reranker" else "BertModel"]
    if kind == "m3":
        config |= M3
    if kind == "reranker":
        config |= {"id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        config["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity"}
    for name in TOKENIZER:
        if (like / name).exists():
            shutil.copy(like / name, out / name)
    if kind == "m3":
        tokenizer = json.loads((out / "tokenizer_config.json").read_text())
        (out / "tokenizer_config.json").write_text(json.dumps(tokenizer | {"model_max_length": 8192}))
    write_weights(out / "model.safetensors", list(shapes(config, kind)), seed)
    (out / "config.json").write_text(json.dumps(config, indent=1))
    if kind == "encoder":
        write_modules(out, hidden, "pooling_mode_cls_token")
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--width", choices=list(WIDTHS), default="large")
    parser.add_argument("--like", type=Path, required=True)
    parser.add_argument("--kind", choices=["encoder", "reranker", "m3"], default="encoder")
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    print(make(options.out, options.width, options.like, options.kind, options.seed))


if __name__ == "__main__":
    main()
