"""GGUF files: what is read of them, and the checkpoint folder that a Llama model becomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from lagotto import Embedder
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.folder import read_folder
from lagotto.cards.starter_convert import CONVERTERS, Recipe
from lagotto.cards.starter_convert.gguf import read_gguf
from lagotto.core.errors import CheckpointError
from support.gguf import CONTROL, F32, FACTS, HEADS, HIDDEN, KEY_HEADS, TOKENS, Floats, tensors, write_gguf

RECIPE = Recipe(attention_heads=HEADS, pooling="mean", prompts={"query": "Instruct: find\nQuery: "})
FLOATS = np.ones((1, 32), np.float32)


def convert(folder: Path, recipe: Recipe = RECIPE) -> Path:
    out = folder / "out"
    out.mkdir()
    CONVERTERS["llama_gguf"].convert({"weights": folder / "m.gguf"}, out, recipe)
    return out


def permuted(matrix: Floats, heads: int) -> Floats:
    """Rows of queries or keys as llama.cpp's convert_hf_to_gguf.py writes them."""
    rows = matrix.shape[0]
    return matrix.reshape(heads, 2, rows // heads // 2, -1).swapaxes(1, 2).reshape(matrix.shape)


# The file.


def test_facts_and_tensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.cards.starter_convert.gguf._BLOCKS_AT_ONCE", 3)
    wanted = write_gguf(tmp_path / "m.gguf")
    found = read_gguf(tmp_path / "m.gguf")
    assert found.facts == FACTS | {"llama.attention.layer_norm_rms_epsilon": pytest.approx(1e-5)}
    assert set(found.tensors) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found.tensors[name].read(), values, err_msg=name)


def test_data_begins_where_the_file_says(tmp_path: Path) -> None:
    wanted = write_gguf(tmp_path / "m.gguf", {"a": (F32, FLOATS)}, {"general.alignment": 32})["a"]
    np.testing.assert_array_equal(read_gguf(tmp_path / "m.gguf").tensors["a"].read(), wanted)


def test_a_damaged_file(tmp_path: Path) -> None:
    write_gguf(tmp_path / "whole.gguf")
    whole = (tmp_path / "whole.gguf").read_bytes()
    for number, size in enumerate((3, 6, 20, 40, 200, 3000, len(whole) - 100)):
        path = tmp_path / f"{number}.gguf"  # a mapped file must not be written over
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"\.gguf: not a readable GGUF file"):
            read_gguf(path)
    (tmp_path / "old.gguf").write_bytes(b"GGUF\1" + whole[5:])
    with pytest.raises(CheckpointError, match="version 2 or 3"):
        read_gguf(tmp_path / "old.gguf")


def test_kinds_that_are_not_read(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", {"a": (F32, FLOATS)})
    content = (tmp_path / "m.gguf").read_bytes()
    at = content.rindex(b"a" + (2).to_bytes(4, "little")) + 1 + 4 + 16  # behind name and dimensions
    (tmp_path / "k.gguf").write_bytes(content[:at] + (12).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(CheckpointError, match="tensor a is of ggml's kind 12; read are 0, 3, 8"):
        read_gguf(tmp_path / "k.gguf")
    write_gguf(tmp_path / "n.gguf", {"a": (F32, FLOATS[:, :31])})
    content = (tmp_path / "n.gguf").read_bytes()
    (tmp_path / "p.gguf").write_bytes(content[:at] + (3).to_bytes(4, "little") + content[at + 4 :])
    with pytest.raises(CheckpointError, match=r"tensor a of shape \(1, 31\) is no whole number of blocks"):
        read_gguf(tmp_path / "p.gguf")


# The folder.


def test_weights_have_the_rows_of_transformers(tmp_path: Path) -> None:
    given = tensors()
    for name, (_, values) in given.items():  # plain numbers, so that a permuted row is the row
        heads = HEADS if "attn_q" in name else KEY_HEADS
        given[name] = (F32, permuted(values, heads) if "attn_q" in name or "attn_k" in name else values)
    write_gguf(tmp_path / "m.gguf", given)
    found, original = load_file(convert(tmp_path) / "model.safetensors"), tensors()
    assert len(found) == len(original)
    for theirs, ours in (
        ("token_embd", "embed_tokens"), ("output_norm", "norm"), ("blk.1.attn_q", "layers.1.self_attn.q_proj"),
        ("blk.0.attn_k", "layers.0.self_attn.k_proj"), ("blk.0.attn_v", "layers.0.self_attn.v_proj"),
        ("blk.1.ffn_down", "layers.1.mlp.down_proj"), ("blk.1.ffn_norm", "layers.1.post_attention_layernorm"),
    ):  # fmt: skip
        np.testing.assert_array_equal(found[f"model.{ours}.weight"], original[f"{theirs}.weight"][1], err_msg=ours)


def test_config(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    config = json.loads((convert(tmp_path) / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert (config["rms_norm_eps"], config["rope_theta"]) == (1e-5, 100000.0)
    assert (config["num_key_value_heads"], config["head_dim"], config["vocab_size"]) == (2, 16, len(TOKENS))
    assert (config["tie_word_embeddings"], config["pad_token_id"], config["dtype"]) == (True, 2, "float32")


def test_the_folder_opens(tmp_path: Path, cache: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    out = convert(tmp_path)
    facts = read_folder(out)
    assert (facts.pooling, facts.normalize, facts.max_length) == ("mean", True, 128)
    with Embedder(out, precision="f32", threads=1) as model:
        assert (model.dimension, model.engine.name) == (HIDDEN, "openvino")
        assert model.card.query.instruction == "Instruct: find\nQuery: "
        assert np.isfinite(model.encode(["hello world", ""]).dense).all()


def test_tokenizer(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf")
    out = convert(tmp_path)
    tokenizer = Tokenizer(out / "tokenizer.json", 2, vocab_size=len(TOKENS))
    assert [TOKENS[n] for n in tokenizer.plain("hello w12")] == ["hello", "Ġw", "1", "2"]  # digits one by one
    assert [TOKENS[n] for n in tokenizer.plain("<|im_end|>\n")] == ["<|im_end|>", "Ċ"]
    assert (tokenizer.template.prefix, tokenizer.template.suffix) == ((), ())
    names = json.loads((out / "tokenizer_config.json").read_text())
    assert [names[f"{name}_token"] for name in ("unk", "bos", "eos", "pad")] == [*CONTROL, CONTROL[2]]
    assert (names["chat_template"], names["model_max_length"]) == ("{{ messages }}", 128)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"general.architecture": "qwen2"}, "only Llama's architecture"),
        ({"llama.rope.scaling.type": "linear"}, "plain rotary positions"),
        ({"llama.attention.head_count": 8}, "8 attention heads of 16 turned numbers, expected 4 of 16"),
        ({"llama.block_count": 3}, r"missing.*model\.layers\.2"),
        ({"llama.feed_forward_length": 64}, "wrong"),
        ({"llama.embedding_length": None}, r"m\.gguf: does not say 'llama\.embedding_length'"),
        ({"tokenizer.chat_template": None}, "does not say 'tokenizer.chat_template'"),
        ({"tokenizer.ggml.model": "llama"}, "vocabulary is 'llama' with rules 'smollm'"),
        ({"tokenizer.ggml.pre": "qwen2"}, "vocabulary is 'gpt2' with rules 'qwen2'"),
        ({"tokenizer.ggml.add_bos_token": True}, "puts tokens around texts"),
        ({"tokenizer.ggml.token_type": [4] * len(TOKENS)}, "neither normal nor for control"),
    ],
)
def test_another_model_is_refused(tmp_path: Path, facts: dict[str, Any], says: str) -> None:
    write_gguf(tmp_path / "m.gguf", facts=facts)
    with pytest.raises(CheckpointError, match=says):
        convert(tmp_path)


def test_a_tensor_that_is_not_known(tmp_path: Path) -> None:
    write_gguf(tmp_path / "m.gguf", tensors() | {"blk.0.attn_sinks.weight": (F32, FLOATS)})
    with pytest.raises(CheckpointError, match=r"'blk\.0\.attn_sinks\.weight' that is not known"):
        convert(tmp_path)
