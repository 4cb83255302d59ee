"""Convert a language model of the Llama kind, with a byte-level BPE vocabulary, from a GGUF file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lagotto.cards.starter_convert.byte_bpe import write_bpe_tokenizer
from lagotto.cards.starter_convert.folder import Floats, Recipe, check_shapes, write_json, write_modules, write_weights
from lagotto.cards.starter_convert.gguf import GgufTensor, read_gguf
from lagotto.core.errors import CheckpointError

VERSION = 1
"""Raised whenever the written files change, so that folders of an older version are not taken for new ones."""

_OUTER = {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}
_PARTS = {
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_norm": "input_layernorm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def convert(files: Mapping[str, Path], folder: Path, recipe: Recipe) -> None:
    """Write the checkpoint folder of ``files["weights"]``. Raises `CheckpointError` if it is not such a model."""
    path = files["weights"]
    source = read_gguf(path)
    try:
        config = _config(source.facts, recipe)
        names = {_parameter_name(name): name for name in source.tensors}
        shapes = {name: source.tensors[stored].shape for name, stored in names.items()}
        check_shapes(shapes, _shapes(config))
        write_bpe_tokenizer(folder, source.facts, config["max_position_embeddings"])
    except KeyError as missing:
        raise CheckpointError(f"{path}: does not say {missing}") from None
    write_json(folder / "config.json", config)
    write_weights(folder, shapes, lambda name: _values(name, source.tensors[names[name]], config), recipe.dtype)
    write_modules(folder, recipe, config["hidden_size"], config["max_position_embeddings"])


def _config(facts: Mapping[str, Any], recipe: Recipe) -> dict[str, Any]:
    """config.json as transformers writes it for the same model."""
    if facts["general.architecture"] != "llama" or "llama.rope.scaling.type" in facts:
        raise CheckpointError("only Llama's architecture with plain rotary positions is read from GGUF files")
    heads, width = facts["llama.attention.head_count"], facts["llama.embedding_length"]
    if heads != recipe.attention_heads or facts["llama.rope.dimension_count"] != width // heads:
        raise CheckpointError(
            f"it has {heads} attention heads of {facts['llama.rope.dimension_count']} turned numbers, expected "
            f"{recipe.attention_heads} of {width // recipe.attention_heads}"
        )
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": len(facts["tokenizer.ggml.tokens"]),
        "hidden_size": width,
        "intermediate_size": facts["llama.feed_forward_length"],
        "num_hidden_layers": facts["llama.block_count"],
        "num_attention_heads": heads,
        "num_key_value_heads": facts["llama.attention.head_count_kv"],
        "head_dim": width // heads,
        "hidden_act": "silu",
        "max_position_embeddings": facts["llama.context_length"],
        "initializer_range": 0.02,
        "rms_norm_eps": float(f"{facts['llama.attention.layer_norm_rms_epsilon']:.6g}"),  # a float32 there
        "tie_word_embeddings": True,
        "rope_theta": facts["llama.rope.freq_base"],
        "attention_bias": False,
        "mlp_bias": False,
        "bos_token_id": facts["tokenizer.ggml.bos_token_id"],
        "eos_token_id": facts["tokenizer.ggml.eos_token_id"],
        "pad_token_id": facts["tokenizer.ggml.padding_token_id"],
        "dtype": recipe.dtype,
    }


def _shapes(config: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """Every parameter of a Llama model of these sizes with its shape; the output layer is the embeddings again."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    layer: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (hidden, hidden),
        "self_attn.k_proj": (keys, hidden),
        "self_attn.v_proj": (keys, hidden),
        "self_attn.o_proj": (hidden, hidden),
        "input_layernorm": (hidden,),
        "post_attention_layernorm": (hidden,),
        "mlp.gate_proj": (inner, hidden),
        "mlp.up_proj": (inner, hidden),
        "mlp.down_proj": (hidden, inner),
    }
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (config["vocab_size"], hidden),
        "model.norm.weight": (hidden,),
    }
    for number in range(config["num_hidden_layers"]):
        shapes |= {f"model.layers.{number}.{name}.weight": shape for name, shape in layer.items()}
    return shapes


def _parameter_name(name: str) -> str:
    """``blk.3.attn_q.weight`` -> ``model.layers.3.self_attn.q_proj.weight``."""
    if name in _OUTER:
        return _OUTER[name]
    block, _, rest = name.removeprefix("blk.").partition(".")
    part, _, leaf = rest.partition(".")
    if not block.isdigit() or part not in _PARTS or leaf != "weight":
        raise CheckpointError(f"the GGUF file has a tensor {name!r} that is not known")
    return f"model.layers.{block}.{_PARTS[part]}.weight"


def _values(name: str, tensor: GgufTensor, config: Mapping[str, Any]) -> Iterable[Floats]:
    if name.endswith("q_proj.weight"):
        return (_unpermuted(tensor.read(), config["num_attention_heads"]),)
    if name.endswith("k_proj.weight"):
        return (_unpermuted(tensor.read(), config["num_key_value_heads"]),)
    return tensor.pieces()


def _unpermuted(matrix: Floats, heads: int) -> Floats:
    """Rows of queries or keys as the checkpoint had them: GGUF puts the two numbers that are turned together side by
    side, transformers half a head apart (``permute`` of llama.cpp's ``convert_hf_to_gguf.py``)."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)
