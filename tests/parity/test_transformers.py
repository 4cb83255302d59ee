"""The same random weights through Lagotto and through transformers in float32.

Tolerances: embeddings 2e-5 and logits 1e-4 (absolute) in f32; cosine 0.9995 to f32 in bf16.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from lagotto.engines.openvino.compiled import supports_bf16
from support.checkpoints import Shape, classifier_tensors, encoder_tensors, write_embedder, write_reranker

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

EMBEDDING, LOGIT, COSINE = 2e-5, 1e-4, 0.9995
Format = Literal["safetensors", "bin", "legacy", "sharded"]

SHAPES = {
    "bert": Shape(),
    "bert-deep": Shape(layers=4, hidden=48, heads=3, inner=80, positions=96, seed=2),
    "bert-one-layer": Shape(layers=1, hidden=24, heads=4, inner=100, seed=3),
    "bert-relu": Shape(activation="relu", seed=4),
    "bert-gelu-new": Shape(activation="gelu_new", seed=5),
    "bert-one-type": Shape(types=1, seed=6),
    "xlm-r": Shape("xlm-roberta", positions=66, types=1, epsilon=1e-5, seed=7),
    "xlm-r-deep": Shape("xlm-roberta", layers=3, hidden=40, heads=5, inner=72, positions=130, types=1, seed=8),
}
TEXTS = [
    "hello world",
    "the big cat and the small dog",
    "什么是大熊猫？ panda is a bear",
    "a " * 400,
    "x",
    "",
    "paris capital of france: what is the answer? " * 3,
    "the [SEP] of <pad> and </s> in <pad> text",
]
PAIRS = [
    ("what is a panda", "panda is a giant bear in china"),
    ("what is a panda", "hi"),
    ("", "the answer"),
    ("query", "word " * 300),
    ("熊猫 what", "大 <pad> 熊猫 </s> water"),
]


def _repack(folder: Path, tensors: dict[str, Any], format: Format) -> Path:
    """The folder with its weights in another format."""
    if format == "safetensors":
        return folder
    (folder / "model.safetensors").unlink()
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    if format == "sharded":
        names = sorted(state)
        index = {}
        for number, part in enumerate((names[::2], names[1::2]), 1):
            file = f"pytorch_model-0000{number}-of-00002.bin"
            torch.save({name: state[name] for name in part}, folder / file)
            index |= dict.fromkeys(part, file)
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    else:
        torch.save(state, folder / "pytorch_model.bin", _use_new_zipfile_serialization=format == "bin")
    return folder


def _tokenizer(folder: Path) -> Any:
    special = {"pad_token": "<pad>", "cls_token": "<s>", "sep_token": "</s>", "unk_token": "<unk>"}
    if json.loads((folder / "config.json").read_text())["model_type"] == "bert":
        special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    return transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"), **special)


def _model(folder: Path, auto: str, tensors: dict[str, Any]) -> Any:
    """transformers' model with the weights put in by hand, so that our reader is not judged by theirs."""
    config = transformers.AutoConfig.from_pretrained(folder)
    model = getattr(transformers, auto).from_config(config, attn_implementation="eager").eval().float()
    state = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors.items()}
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("position_ids" in name or "token_type_ids" in name or "pooler" in name for name in missing)
    return model


def _states(model: Any, ids: list[int]) -> Any:
    inputs = torch.tensor([ids])
    with torch.no_grad():
        return model(input_ids=inputs, attention_mask=torch.ones_like(inputs)).last_hidden_state[0]


POOL: dict[str, Callable[[Any], Any]] = {
    "cls": lambda states: states[0],
    "mean": lambda states: states.mean(0),
    "max": lambda states: states.max(0).values,
    "mean_sqrt_len": lambda states: states.sum(0) / len(states) ** 0.5,
    "last_token": lambda states: states[-1],
}


def _expected(folder: Path, tensors: dict[str, Any], texts: list[str], limit: int, pooling: str) -> Any:
    model, tokenizer = _model(folder, "AutoModel", tensors), _tokenizer(folder)
    rows = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=limit)["input_ids"]
        rows.append(torch.nn.functional.normalize(POOL[pooling](_states(model, ids)), dim=0).numpy())
    return np.stack(rows)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_embeddings_equal_those_of_transformers(tmp_path: Path, name: str, format: Format) -> None:
    shape = SHAPES[name]
    folder = _repack(write_embedder(tmp_path / "m", shape), encoder_tensors(shape), format)
    with Embedder(folder, precision="f32", threads=2) as model:
        found = model.encode(TEXTS, prompt="").dense
        one_by_one = np.concatenate([model.encode(text, prompt="").dense for text in TEXTS])
    expected = _expected(folder, encoder_tensors(shape), TEXTS, shape.tokens, "cls")
    np.testing.assert_allclose(found, expected, atol=EMBEDDING)
    np.testing.assert_allclose(one_by_one, found, atol=EMBEDDING)  # neither batch nor padding matters


@pytest.mark.parametrize("format", ["legacy", "sharded"])
def test_other_pickle_formats_give_the_same(tmp_path: Path, format: Format) -> None:
    shape = SHAPES["bert"]
    folder = _repack(write_embedder(tmp_path / "m", shape), encoder_tensors(shape), format)
    with Embedder(folder, precision="f32") as model:
        found = model.encode(TEXTS, prompt="").dense
    np.testing.assert_allclose(found, _expected(folder, encoder_tensors(shape), TEXTS, 64, "cls"), atol=EMBEDDING)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_sqrt_len", "last_token"])
@pytest.mark.parametrize("name", ["bert", "xlm-r"])
def test_every_pooling_equals_its_definition(tmp_path: Path, name: str, pooling: Any) -> None:
    shape = SHAPES[name]
    folder = write_embedder(tmp_path / "m", shape, pooling=pooling)
    with Embedder(folder, precision="f32") as model:
        found = model.encode(TEXTS, prompt="").dense
    expected = _expected(folder, encoder_tensors(shape), TEXTS, shape.tokens, pooling)
    np.testing.assert_allclose(found, expected, atol=EMBEDDING)


@pytest.mark.parametrize("name", ["bert", "bert-deep", "bert-one-layer", "xlm-r", "xlm-r-deep"])
@pytest.mark.parametrize("format", ["safetensors", "bin"])
def test_logits_equal_those_of_transformers(tmp_path: Path, name: str, format: Format) -> None:
    shape = SHAPES[name]
    tensors = classifier_tensors(shape)
    folder = _repack(write_reranker(tmp_path / "m", shape), tensors, format)
    model, tokenizer = _model(folder, "AutoModelForSequenceClassification", tensors), _tokenizer(folder)
    expected = []
    for query, document in PAIRS:
        inputs = tokenizer(
            query,
            document,
            truncation="only_second",
            max_length=shape.tokens,
            return_tensors="pt",
            return_token_type_ids=shape.architecture == "bert",
        )
        with torch.no_grad():
            expected.append(model(**inputs).logits.item())
    with Reranker(folder, precision="f32") as ranker:
        found = np.asarray(ranker.score(PAIRS, max_windows=1))
        alone = [ranker.score([pair], max_windows=1)[0] for pair in PAIRS]
    np.testing.assert_allclose(found, expected, atol=LOGIT)
    np.testing.assert_allclose(alone, found, atol=LOGIT)


def test_cutting_the_start_equals_left_truncation(tmp_path: Path) -> None:
    shape = SHAPES["bert"]
    folder = write_embedder(tmp_path / "m", shape)
    tokenizer = _tokenizer(folder)
    text = "the panda " * 40 + "paris water fire"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"][-(shape.tokens - 2) :]
    model = _model(folder, "AutoModel", encoder_tensors(shape))
    states = _states(model, [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id])
    with Embedder(folder, precision="f32", truncation="left") as model:
        found = model.encode(text, prompt="")
    np.testing.assert_allclose(found.dense[0], torch.nn.functional.normalize(states[0], dim=0).numpy(), atol=EMBEDDING)
    assert found.truncated.tolist() == [True]


@pytest.mark.skipif(not supports_bf16(), reason="this CPU does not multiply bfloat16 in hardware")
@pytest.mark.parametrize("name", ["bert", "bert-deep", "xlm-r-deep"])
def test_bf16_stays_close_to_f32(tmp_path: Path, name: str) -> None:
    folder = write_embedder(tmp_path / "m", SHAPES[name])
    with Embedder(folder, precision="f32") as exact, Embedder(folder, precision="bf16") as quick:
        cosines = (exact.encode(TEXTS).dense * quick.encode(TEXTS).dense).sum(1)
    assert cosines.min() >= COSINE
