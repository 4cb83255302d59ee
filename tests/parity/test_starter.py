"""Real weights: the starter models through Lagotto and through transformers on the same folder.

Tolerances: embeddings 2e-5 and logits 1e-4 (absolute) in f32; cosine 0.9995 and Pearson 0.9995 to f32 in bf16.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Reranker, resolve
from lagotto.cards.starter import STARTERS, is_installed
from lagotto.engines.openvino.compiled import supports_bf16

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

ENGLISH = [
    "I love NLP",
    "The giant panda (Ailuropoda melanoleuca), sometimes called a panda bear, is a bear species endemic to China.",
    "Retrieval-augmented generation looks passages up before it answers.",
    "def encode(texts: list[str]) -> Array: ...  # one row a text",
    "It was 23.5 °C at 7 a.m.; by noon, the café's terrace was full!",
    "BM25 ranks documents by the query terms that appear in each of them, " * 30,
    "?",
    "antidisestablishmentarianism",
]
CHINESE = [
    "大熊猫是一种熊科动物，生活在中国中部的山区。",
    "检索增强生成先查找相关段落，再给出回答。",
    "今天天气很好，我们去公园散步吧！",
    "向量检索把文本编码成稠密向量，然后比较它们的余弦相似度。" * 20,
]
PAIRS = [(query, text) for query in ("what is a panda?", "how does retrieval work?", "weather") for text in ENGLISH]


def _folder(name: str) -> Path:
    if not is_installed(STARTERS[name]):
        pytest.skip(f"{STARTERS[name].package} is not installed")
    return resolve(f"starter:{name}")


def _states(folder: Path, texts: list[str]) -> list[Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder, dtype=torch.float32, add_pooling_layer=False).eval()
    states = []
    for text in texts:
        inputs = tokenizer(text, truncation=True, max_length=512, return_tensors="pt")
        inputs.pop("token_type_ids", None)
        with torch.no_grad():
            states.append(model(**inputs).last_hidden_state[0])
    return states


@pytest.mark.parametrize(
    ("name", "pooling", "texts"),
    [("bge-small-en-v1.5", "cls", ENGLISH), ("multilingual-e5-small", "mean", ENGLISH + CHINESE)],
)
def test_real_embeddings_equal_those_of_transformers(name: str, pooling: str, texts: list[str]) -> None:
    folder = _folder(name)
    states = _states(folder, texts)
    pooled = torch.stack([s[0] if pooling == "cls" else s.mean(0) for s in states])
    expected = torch.nn.functional.normalize(pooled, dim=1).numpy()
    with Embedder(f"starter:{name}", precision="f32") as model:
        np.testing.assert_allclose(model.encode(texts).dense, expected, atol=2e-5)
    if supports_bf16():
        with Embedder(f"starter:{name}", precision="bf16") as model:
            assert (model.encode(texts).dense * expected).sum(1).min() >= 0.9995


def test_real_logits_equal_those_of_transformers() -> None:
    folder = _folder("ms-marco-MiniLM-L-12-v2")
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    expected = []
    for query, text in PAIRS:
        inputs = tokenizer(query, text, truncation="only_second", max_length=512, return_tensors="pt")
        with torch.no_grad():
            expected.append(model(**inputs).logits.item())
    with Reranker(folder, precision="f32") as ranker:
        np.testing.assert_allclose(np.asarray(ranker.score(PAIRS, max_windows=1)), expected, atol=1e-4)
    if supports_bf16():
        with Reranker(folder, precision="bf16") as ranker:
            found = np.asarray(ranker.score(PAIRS, max_windows=1))
            assert np.corrcoef(found, expected)[0, 1] >= 0.9995
