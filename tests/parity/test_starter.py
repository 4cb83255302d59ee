"""The starter models on real sentences, against transformers on the same folders.

Seen on a Zen 4 processor: float32 vectors differ by 3e-7 and logits by 1e-5 at most; bfloat16 vectors keep a cosine of
0.99995, and logits, which spread over 19 units, differ by 0.03 at most. The tolerances leave room for other processors.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import lagotto
from lagotto import Embedder, Reranker
from lagotto.core.errors import MissingDependencyError

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

if TYPE_CHECKING:
    from support.reference import Reference

pytestmark = pytest.mark.filterwarnings("ignore")
ENGLISH = [
    "The giant panda (Ailuropoda melanoleuca) is a bear native to south central China.",
    "Paris is the capital and most populous city of France.",
    "How do I reset the password of my router?",
    "Press and hold the reset button for ten seconds until the lights blink.",
    "Vector search returns the nearest neighbours of a query embedding.",
    "BM25 ranks documents by term frequency and inverse document frequency.",
    "The quick brown fox jumps over the lazy dog.",
    "Photosynthesis converts light energy into chemical energy.",
    "In 1969, Apollo 11 landed on the Moon; Neil Armstrong stepped out first.",
    "def quicksort(items): return items if len(items) < 2 else ...",
    "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)",
    "Refunds are issued within 14 days if the goods are returned unopened.",
    "naïve café Zürich — “quotes”, emoji 🐕 and ½ symbols",
    "e",
    "",
    "A truffle dog such as the Lagotto Romagnolo finds what is buried.",
    "What is the boiling point of water at 3,000 metres above sea level?",
    "Interest rates were raised by 25 basis points on Wednesday.",
    "Shake well before use. Keep out of reach of children.",
    "Her new novel, set in Lisbon, was praised by critics and readers alike.",
    "The mitochondrion is the powerhouse of the cell.",
    "SELECT name, count(*) FROM orders GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "It rained for three days, and the river rose above its banks.",
    "The defendant pleaded not guilty to all charges.",
    "Two-factor authentication adds a second step to signing in.",
    "Sourdough needs flour, water, salt and patience.",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "Rotate the valve clockwise to close it.",
    "Large language models are trained to predict the next token.",
    "supercalifragilisticexpialidocious pneumonoultramicroscopicsilicovolcanoconiosis",
]
CHINESE = [
    "大熊猫是中国特有的熊科动物，主要以竹子为食。",
    "巴黎是法国的首都，也是该国人口最多的城市。",
    "如何重置路由器的密码？",
    "按住重置按钮十秒钟，直到指示灯闪烁。",
    "向量检索返回与查询向量最接近的文档。",
    "今天的天气非常好，我们去公园散步吧。",
    "人工智能正在改变医疗、教育和金融行业。",
    "退货须在十四天内办理，商品须保持未拆封。",
    "“床前明月光，疑是地上霜。”",
    "Python 3.11 的性能比 3.10 提高了约 25%。",
]
LONG = [" ".join(ENGLISH) * 2, "".join(CHINESE) * 8]
EXACT, LOGITS, ROUGH, ROUGH_LOGITS = 5e-6, 1e-4, 0.9995, 0.15


BGE, E5, MINILM = "bge-small-en-v1.5", "multilingual-e5-small", "ms-marco-MiniLM-L-12-v2"


class Starters:
    """Folders, models and references, each opened once."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._opened: dict[tuple[str, ...], Any] = {}

    def folder(self, name: str) -> Path:
        try:
            return lagotto.resolve(f"starter:{name}")
        except MissingDependencyError as missing:
            pytest.skip(str(missing))

    def model(self, name: str, precision: str = "f32") -> Any:
        self.folder(name)
        if (name, precision) not in self._opened:
            opener = Reranker if name == MINILM else Embedder
            opened = self._stack.enter_context(opener(f"starter:{name}", precision=precision))
            self._opened[name, precision] = opened
        return self._opened[name, precision]

    def reference(self, name: str) -> Reference:
        from support.reference import open_reference

        if (name,) not in self._opened:
            self._opened[name,] = open_reference(self.folder(name), 512, classifier=name == MINILM)
        reference: Reference = self._opened[name,]
        return reference


@pytest.fixture(scope="module")
def starters(cache: Path) -> Iterator[Starters]:
    with ExitStack() as stack:
        yield Starters(stack)


@pytest.mark.parametrize(
    ("name", "pooling", "texts"),
    [(BGE, "cls", [*ENGLISH, LONG[0]]), (E5, "mean", [f"query: {text}" for text in [*ENGLISH, *CHINESE, *LONG]])],
    ids=[BGE, E5],
)
def test_vectors(starters: Starters, name: str, pooling: str, texts: list[str]) -> None:
    exact, rough = (starters.model(name, precision).encode(texts) for precision in ("f32", "bf16"))
    expected = starters.reference(name).embed(texts, pooling, batch=8)
    assert exact.truncated[-1]
    assert float(np.abs(exact.dense - expected).max()) < EXACT
    assert float((rough.dense * expected).sum(axis=1).min()) >= ROUGH


def test_prompts(starters: Starters) -> None:
    model, reference = starters.model(E5), starters.reference(E5)
    for found, prompt in (
        (model.encode_queries(CHINESE), "query: "),
        (model.encode_documents(CHINESE), "passage: "),
    ):
        expected = reference.embed([prompt + text for text in CHINESE], "mean")
        assert float(np.abs(found.dense - expected).max()) < EXACT


def test_scores(starters: Starters) -> None:
    queries = ["what is a panda", "how to reset a router", "capital of france", "sorting algorithm"]
    pairs = [(query, text) for query in queries for text in ENGLISH[:12]]
    exact, rough = (starters.model(MINILM, precision).score(pairs).scores for precision in ("f32", "bf16"))
    expected = starters.reference(MINILM).score(pairs)
    assert expected.max() - expected.min() > 5
    assert float(np.abs(exact - expected).max()) < LOGITS
    assert float(np.abs(rough - expected).max()) < ROUGH_LOGITS


@pytest.mark.parametrize("name", [BGE, E5])
def test_tokens_are_those_of_the_tokenizers_own_class(starters: Starters, name: str) -> None:
    model, texts = starters.model(name), [*ENGLISH, *CHINESE]
    tokenizer = transformers.AutoTokenizer.from_pretrained(starters.folder(name))
    expected = [len(ids) for ids in tokenizer(texts, truncation=True, max_length=512)["input_ids"]]
    assert model.encode(texts).tokens.tolist() == expected


def test_the_right_document_comes_first(starters: Starters) -> None:
    model, ranker = starters.model(E5, "bf16"), starters.model(MINILM, "bf16")
    similar = model.similarity(
        model.encode_queries(["how can I reset my router", "法国首都是哪里"]), model.encode_documents(CHINESE[:4])
    )
    router, capital = similar.argmax(axis=1).tolist()
    assert router in (2, 3)
    assert capital == 1
    assert ranker.rank("what is a panda", ENGLISH, top_n=1)[0].index == 0
