"""Tiny random checkpoints, written without torch and transformers.

Every function is seeded: the same arguments give the same files. Linear layers are scaled by their width, so that
attention and activations do real work and two texts get clearly different vectors.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

Tensors = dict[str, NDArray[np.float32]]
Architecture = Literal["bert", "xlm-roberta"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
DIGITS = "0123456789"
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
WORDS = [
    "the",
    "of",
    "and",
    "to",
    "in",
    "is",
    "a",
    "for",
    "what",
    "how",
    "who",
    "where",
    "dog",
    "cat",
    "panda",
    "bear",
    "giant",
    "animal",
    "paris",
    "france",
    "city",
    "capital",
    "river",
    "water",
    "fire",
    "search",
    "find",
    "query",
    "document",
    "passage",
    "answer",
    "model",
    "vector",
    "text",
    "word",
    "hello",
    "world",
    "blue",
    "red",
    "green",
    "good",
    "bad",
    "big",
    "small",
    "old",
    "new",
    "day",
    "night",
]
CHINESE = "的一是不了人我在有他这中大来上国你好什么熊猫动物巴黎城市水火天山月日书学文字"

BERT_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
XLMR_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>")

POOLING_SWITCHES = {
    "cls": "pooling_mode_cls_token",
    "mean": "pooling_mode_mean_tokens",
    "max": "pooling_mode_max_tokens",
    "mean_sqrt_len": "pooling_mode_mean_sqrt_len_tokens",
    "last_token": "pooling_mode_lasttoken",
}


@dataclass(frozen=True)
class Shape:
    """Sizes of a random encoder; the defaults are those of the tiny fixtures."""

    architecture: Architecture = "bert"
    hidden: int = 32
    layers: int = 2
    heads: int = 2
    inner: int = 64
    positions: int = 64
    types: int = 2
    activation: str = "gelu"
    epsilon: float = 1e-12
    labels: int = 1
    seed: int = 0

    @property
    def pad_id(self) -> int:
        return 1 if self.architecture == "xlm-roberta" else 0

    @property
    def tokens(self) -> int:
        """Longest sequence the position table allows."""
        return self.positions - (self.pad_id + 1 if self.architecture == "xlm-roberta" else 0)


BERT = Shape()
XLMR = Shape("xlm-roberta", positions=66, types=1, epsilon=1e-5, seed=1)


@dataclass(frozen=True)
class DenseLayer:
    """A sentence-transformers Dense module to write after the pooling."""

    width: int = 16
    activation: str = "torch.nn.modules.activation.Tanh"
    bias: bool = True
    seed: int = field(default=7)


def wordpiece_tokenizer() -> Tokenizer:
    """BERT's tokenizer, uncased, with some 250 pieces; any text tokenises, foreign scripts to [UNK]."""
    pieces = [*BERT_SPECIAL, *LETTERS, *DIGITS, *PUNCTUATION]
    pieces += [f"##{character}" for character in LETTERS + DIGITS]
    pieces += [f"##{ending}" for ending in ("ing", "ed", "er", "s" * 2, "ly")]
    pieces += [*(word for word in WORDS if len(word) > 1), *dict.fromkeys(CHINESE)]
    vocabulary = {piece: number for number, piece in enumerate(dict.fromkeys(pieces))}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]", max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in BERT_SPECIAL])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return tokenizer


def unigram_tokenizer() -> Tokenizer:
    """XLM-RoBERTa's tokenizer: Unigram over words marked by a low line, ``<pad>`` with id 1."""
    pieces = ["▁", *LETTERS, *LETTERS.upper(), *DIGITS, *PUNCTUATION, *dict.fromkeys(CHINESE)]
    pieces += [f"▁{word}" for word in WORDS if len(word) > 1]
    scored = [(token, 0.0) for token in XLMR_SPECIAL]
    scored += [(piece, -2.0 - 0.01 * number) for number, piece in enumerate(dict.fromkeys(pieces))]
    tokenizer = Tokenizer(models.Unigram(scored, unk_id=XLMR_SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.add_special_tokens([*(AddedToken(token, special=True) for token in XLMR_SPECIAL)])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0 </s>:0",
        pair="<s>:0 $A:0 </s>:0 </s>:0 $B:0 </s>:0",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


def tokenizer_for(shape: Shape) -> Tokenizer:
    """The tokenizer that goes with an architecture."""
    return unigram_tokenizer() if shape.architecture == "xlm-roberta" else wordpiece_tokenizer()


def vocabulary_size(shape: Shape) -> int:
    """Pieces of that tokenizer, added tokens included."""
    return int(tokenizer_for(shape).get_vocab_size(with_added_tokens=True))


def encoder_tensors(shape: Shape) -> Tensors:
    """Random weights of a bare encoder, by transformers' names, pooler included."""
    random = np.random.default_rng(shape.seed)

    def normal(*size: int, scale: float) -> NDArray[np.float32]:
        return (random.standard_normal(size) * scale).astype(np.float32)

    out: Tensors = {}

    def linear(name: str, size_in: int, size_out: int) -> None:
        out[f"{name}.weight"] = normal(size_out, size_in, scale=size_in**-0.5)
        out[f"{name}.bias"] = normal(size_out, scale=0.1)

    def layer_norm(name: str) -> None:
        out[f"{name}.weight"] = 1 + normal(shape.hidden, scale=0.1)
        out[f"{name}.bias"] = normal(shape.hidden, scale=0.1)

    out["embeddings.word_embeddings.weight"] = normal(vocabulary_size(shape), shape.hidden, scale=1.0)
    out["embeddings.position_embeddings.weight"] = normal(shape.positions, shape.hidden, scale=0.3)
    out["embeddings.token_type_embeddings.weight"] = normal(shape.types, shape.hidden, scale=0.5)
    layer_norm("embeddings.LayerNorm")
    for layer in range(shape.layers):
        name = f"encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            linear(f"{name}.attention.self.{part}", shape.hidden, shape.hidden)
        linear(f"{name}.attention.output.dense", shape.hidden, shape.hidden)
        layer_norm(f"{name}.attention.output.LayerNorm")
        linear(f"{name}.intermediate.dense", shape.hidden, shape.inner)
        linear(f"{name}.output.dense", shape.inner, shape.hidden)
        layer_norm(f"{name}.output.LayerNorm")
    linear("pooler.dense", shape.hidden, shape.hidden)
    return out


def classifier_tensors(shape: Shape) -> Tensors:
    """Random weights of ``...ForSequenceClassification``: encoder under its prefix, then the head."""
    random = np.random.default_rng(shape.seed + 1000)
    bare = encoder_tensors(shape)
    scale = 2 * shape.hidden**-0.5

    def head(name: str, size_out: int) -> Tensors:
        weight = (random.standard_normal((size_out, shape.hidden)) * scale).astype(np.float32)
        return {f"{name}.weight": weight, f"{name}.bias": (random.standard_normal(size_out) * 0.1).astype(np.float32)}

    if shape.architecture == "bert":
        return {f"bert.{name}": tensor for name, tensor in bare.items()} | head("classifier", shape.labels)
    encoder = {f"roberta.{name}": tensor for name, tensor in bare.items() if not name.startswith("pooler")}
    return encoder | head("classifier.dense", shape.hidden) | head("classifier.out_proj", shape.labels)


def config_of(shape: Shape, *, classifier: bool = False) -> dict[str, Any]:
    """What transformers would write to config.json."""
    family = "Bert" if shape.architecture == "bert" else "XLMRoberta"
    config: dict[str, Any] = {
        "architectures": [f"{family}{'ForSequenceClassification' if classifier else 'Model'}"],
        "model_type": shape.architecture,
        "vocab_size": vocabulary_size(shape),
        "hidden_size": shape.hidden,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "intermediate_size": shape.inner,
        "max_position_embeddings": shape.positions,
        "type_vocab_size": shape.types,
        "layer_norm_eps": shape.epsilon,
        "hidden_act": shape.activation,
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "pad_token_id": shape.pad_id,
        "position_embedding_type": "absolute",
    }
    if shape.architecture == "xlm-roberta":
        config |= {"bos_token_id": 0, "eos_token_id": 2}
    if classifier:
        config["id2label"] = {str(number): f"LABEL_{number}" for number in range(shape.labels)}
        config["label2id"] = {f"LABEL_{number}": number for number in range(shape.labels)}
    return config


def write_json(path: Path, value: object) -> None:
    """Write JSON, making the folder it lies in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def change_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object in a file; None removes one."""
    value = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    value |= changes
    write_json(path, {key: item for key, item in value.items() if item is not None})


def write_weights(folder: Path, tensors: Mapping[str, NDArray[Any]]) -> None:
    """Write ``model.safetensors``."""
    folder.mkdir(parents=True, exist_ok=True)
    safetensors.numpy.save_file(dict(tensors), str(folder / "model.safetensors"), metadata={"format": "pt"})


def write_tokenizer(folder: Path, shape: Shape, model_max_length: int | None = None) -> None:
    """Write tokenizer.json and tokenizer_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer_for(shape).save(str(folder / "tokenizer.json"))
    bert = shape.architecture == "bert"
    names = dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), BERT_SPECIAL, strict=True))
    if not bert:
        names = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>"}
        names |= {"pad_token": "<pad>", "unk_token": "<unk>", "mask_token": "<mask>"}
    write_json(
        folder / "tokenizer_config.json",
        {
            "tokenizer_class": "BertTokenizer" if bert else "XLMRobertaTokenizer",
            "model_max_length": shape.tokens if model_max_length is None else model_max_length,
            **names,
        },
    )


def write_plain(folder: Path, shape: Shape = BERT, *, classifier: bool = False) -> Path:
    """A folder as ``save_pretrained`` of transformers writes it: config, weights, tokenizer."""
    write_json(folder / "config.json", config_of(shape, classifier=classifier))
    write_weights(folder, classifier_tensors(shape) if classifier else encoder_tensors(shape))
    write_tokenizer(folder, shape)
    return folder


def write_modules(
    folder: Path,
    shape: Shape,
    *,
    pooling: str = "cls",
    normalize: bool = True,
    dense: Sequence[DenseLayer] = (),
    transformer: str = "",
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    max_length: int | None = None,
) -> None:
    """Write sentence-transformers' module files around a transformer."""
    modules = [(transformer, "Transformer"), ("1_Pooling", "Pooling")]
    switches = {switch: name == pooling for name, switch in POOLING_SWITCHES.items()}
    write_json(folder / "1_Pooling/config.json", {"word_embedding_dimension": shape.hidden, **switches})
    width = shape.hidden
    for layer in dense:
        place = f"{len(modules)}_Dense"
        modules.append((place, "Dense"))
        write_json(
            folder / place / "config.json",
            {
                "in_features": width,
                "out_features": layer.width,
                "bias": layer.bias,
                "activation_function": layer.activation,
            },
        )
        write_weights(folder / place, dense_tensors(layer, width))
        width = layer.width
    if normalize:
        place = f"{len(modules)}_Normalize"
        (folder / place).mkdir(parents=True, exist_ok=True)
        modules.append((place, "Normalize"))
    write_json(
        folder / "modules.json",
        [
            {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for number, (path, kind) in enumerate(modules)
        ],
    )
    write_json(
        folder / transformer / "sentence_bert_config.json",
        {"max_seq_length": shape.tokens if max_length is None else max_length, "do_lower_case": False},
    )
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": dict(prompts or {}), "default_prompt_name": default_prompt, "similarity_fn_name": "cosine"},
    )


def dense_tensors(layer: DenseLayer, width: int) -> Tensors:
    """Random weights of a Dense module."""
    random = np.random.default_rng(layer.seed)
    out = {"linear.weight": (random.standard_normal((layer.width, width)) * width**-0.5).astype(np.float32)}
    if layer.bias:
        out["linear.bias"] = (random.standard_normal(layer.width) * 0.3).astype(np.float32)
    return out


def write_embedder(folder: Path, shape: Shape = BERT, *, transformer: str = "", **modules: Any) -> Path:
    """An embedder in sentence-transformers' layout; ``modules`` are the arguments of `write_modules`."""
    write_plain(folder / transformer, shape)
    write_modules(folder, shape, transformer=transformer, **modules)
    return folder


def write_reranker(folder: Path, shape: Shape = BERT) -> Path:
    """A cross-encoder as transformers writes it."""
    return write_plain(folder, shape, classifier=True)


def head_tensors(size: int, hidden: int, seed: int) -> Tensors:
    """Random weights of one of BGE-M3's heads."""
    random = np.random.default_rng(seed)
    weight, bias = random.standard_normal((size, hidden)) * 0.3, random.standard_normal(size) * 0.3
    return {"weight": weight.astype(np.float32), "bias": bias.astype(np.float32)}


def write_m3(folder: Path, shape: Shape = XLMR, *, width: int = 24, hidden: int | None = None) -> Path:
    """An encoder with BGE-M3's two heads in safetensors; ``hidden`` makes heads that do not fit."""
    write_plain(folder, shape)
    for name, size, seed in (("sparse_linear", 1, 3), ("colbert_linear", width, 4)):
        tensors = head_tensors(size, hidden or shape.hidden, seed)
        safetensors.numpy.save_file(tensors, str(folder / f"{name}.safetensors"))
    return folder


def some_texts(number: int, *, seed: int = 0, longest: int = 40) -> list[str]:
    """Texts of different lengths out of known and unknown words, Chinese characters and the odd symbol."""
    random = np.random.default_rng(seed)
    pool = [*WORDS, *CHINESE, "unbelievable", "x7", "Zürich", "…", "naïve", "don't", "🐕"]
    return [" ".join(random.choice(pool, size=random.integers(0, longest))) for _ in range(number)]
