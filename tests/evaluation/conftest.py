"""A miniature data set, a workbench to evaluate on, and a count of what models did."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from lagotto import Embedder, Report, Reranker, evaluate
from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.pipeline import DenseLeg, Rerank
from lagotto.evaluation.store import VectorStore
from lagotto.evaluation.workbench import Workbench
from lagotto.models.loading import Options
from support.checkpoints import XLMR, write_m3, write_modules
from support.collection import collection, write_collection

OPTIONS = Options(precision="f32", threads=1)


@pytest.fixture
def data() -> RetrievalData:
    """The miniature collection, in memory."""
    return collection()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The miniature collection, in files."""
    return write_collection(tmp_path / "mini")


@pytest.fixture
def store(tmp_path: Path) -> VectorStore:
    """An empty store."""
    return VectorStore(tmp_path / "vectors")


@pytest.fixture
def bench(store: VectorStore, cache: Path) -> Iterator[Workbench]:
    """A workbench over `store`, closed in the end."""
    workbench = Workbench(store, OPTIONS)
    yield workbench
    workbench.close()


@pytest.fixture(scope="session")
def dense(tiny_bert: Path) -> DenseLeg:
    """Search with `tiny_bert`."""
    return DenseLeg(str(tiny_bert))


@pytest.fixture(scope="session")
def tiny_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder with BGE-M3's three outputs, in sentence-transformers' layout, which says how to pool."""
    folder = write_m3(tmp_path_factory.mktemp("m3") / "tiny-m3")
    write_modules(folder, XLMR)
    return folder


@pytest.fixture(scope="session")
def rerank(tiny_reranker: Path) -> Rerank:
    """Reranking of ten hits with `tiny_reranker`."""
    return Rerank(str(tiny_reranker), top_k=10)


@dataclass
class Counts:
    """What models did since the last `clear`."""

    opened: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    texts: int = 0
    pairs: int = 0
    outputs: list[tuple[int, set[str]]] = field(default_factory=list)
    """How many texts were encoded in which outputs, call by call."""

    def clear(self) -> None:
        self.opened, self.closed, self.texts, self.pairs, self.outputs = [], [], 0, 0, []


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> Counts:
    """A count of the work of every model that a workbench opens."""
    found = Counts()

    class CountedEmbedder(Embedder):
        def __init__(self, model: str, **options: Any) -> None:
            super().__init__(model, **options)
            found.opened.append(model)

        def stream(self, texts: Sequence[str], **options: Any) -> Any:
            found.texts += len(texts)
            found.outputs.append((len(texts), set(options.get("outputs", ("dense",)))))
            return super().stream(texts, **options)

        def close(self) -> None:
            found.closed.append(self.name)
            super().close()

    class CountedReranker(Reranker):
        def __init__(self, model: str, **options: Any) -> None:
            super().__init__(model, **options)
            found.opened.append(model)

        def score(self, pairs: Sequence[Any], **options: Any) -> Any:
            found.pairs += len(pairs)
            return super().score(pairs, **options)

        def close(self) -> None:
            found.closed.append(self.name)
            super().close()

    monkeypatch.setattr("lagotto.evaluation.workbench.Embedder", CountedEmbedder)
    monkeypatch.setattr("lagotto.evaluation.workbench.Reranker", CountedReranker)
    return found


@pytest.fixture
def options(tmp_path: Path) -> Options:
    """Options with a cache of this test's own."""
    return replace(OPTIONS, cache_dir=tmp_path / "cache")


@pytest.fixture
def go(options: Options, counts: Counts) -> Callable[..., Report]:
    """`evaluate` with those options; what models do is counted from its beginning."""

    def call(data: Any, **more: Any) -> Report:
        counts.clear()
        return evaluate(data, **{"options": options, **more})

    return call
