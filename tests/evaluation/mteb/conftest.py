"""mteb, and small tasks of every kind with their data in memory."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lagotto.evaluation.mteb.library import mteb_library
from support.checkpoints import WORDS

TaskOf = Callable[..., Any]


@pytest.fixture(scope="session")
def mteb(cache: object) -> Any:
    """The library, imported as Lagotto imports it."""
    return mteb_library()


@pytest.fixture(scope="session")
def task_class(mteb: Any) -> TaskOf:
    """A function that makes a task class: its base, what it is called, and a function that gives its data."""
    from mteb.abstasks.task_metadata import TaskMetadata

    def make(base: type, kind: str, main_score: str, data: Callable[[], Any], **facts: Any) -> type:
        metadata = TaskMetadata(
            **{
                "name": f"Local{kind}",
                "type": kind,
                "main_score": main_score,
                "description": "Made for a test.",
                "dataset": {"path": "lagotto/none", "revision": "1"},
                "eval_langs": ["eng-Latn"],
                "category": "t2t",
            }
            | facts
        )

        def load_data(self: Any, num_proc: int | None = None, **_: Any) -> None:
            self.dataset = data()
            self.data_loaded = True

        return type(metadata.name, (base,), {"metadata": metadata, "load_data": load_data})

    return make


@pytest.fixture(scope="session")
def tasks(mteb: Any, task_class: TaskOf) -> SimpleNamespace:
    """One task class of each kind."""
    from mteb import abstasks

    retrieval = abstasks.AbsTaskRetrieval
    return SimpleNamespace(
        retrieval=task_class(retrieval, "Retrieval", "ndcg_at_10", lambda: retrieval_data(), prompt={"query": "Find"}),
        reranking=task_class(retrieval, "Reranking", "map_at_1000", lambda: retrieval_data(candidates=8)),
        sts=task_class(abstasks.AbsTaskSTS, "STS", "cosine_spearman", sts_data),
        pairs=task_class(abstasks.AbsTaskPairClassification, "PairClassification", "max_ap", pair_data),
        bitext=task_class(abstasks.AbsTaskBitextMining, "BitextMining", "f1", bitext_data),
        classification=task_class(
            abstasks.AbsTaskClassification, "Classification", "accuracy", classification_data, category="t2c"
        ),
        clustering=task_class(abstasks.AbsTaskClustering, "Clustering", "v_measure", clustering_data, category="t2c"),
        languages=task_class(
            abstasks.AbsTaskSTS,
            "STS",
            "cosine_spearman",
            lambda: {"en": sts_data(1), "fr": sts_data(2)},
            name="LocalLanguages",
            eval_langs={"en": ["eng-Latn"], "fr": ["fra-Latn"]},
        ),
    )


def phrases(number: int, seed: int, longest: int = 12) -> list[str]:
    """Phrases of known words, none of them empty."""
    random = np.random.default_rng(seed)
    return [" ".join(random.choice(WORDS, size=random.integers(1, longest))) for _ in range(number)]


def variant(text: str, random: np.random.Generator) -> str:
    """The same words in another order, one of them replaced."""
    words = text.split()
    words[random.integers(len(words))] = str(random.choice(WORDS))
    return " ".join(random.permutation(words))


def retrieval_data(candidates: int = 0) -> Any:
    """120 documents with and without titles, 15 queries, graded judgements; perhaps a few candidates a query."""
    from datasets import Dataset

    random = np.random.default_rng(0)
    documents = phrases(120, seed=1)
    corpus = [
        {"id": f"d{i}", "title": "hello world" if i % 3 == 0 else "", "text": text} for i, text in enumerate(documents)
    ]
    qrels = {f"q{i}": {f"d{7 * i}": 2, f"d{7 * i + 1}": 1} for i in range(15)}
    queries = [{"id": f"q{i}", "text": variant(documents[7 * i], random)} for i in range(15)]
    others = {
        query: [*judged, *(f"d{i}" for i in random.permutation(20)[: candidates - 2] + 100)]
        for query, judged in qrels.items()
    }
    split = {
        "corpus": Dataset.from_list(corpus),
        "queries": Dataset.from_list(queries),
        "relevant_docs": qrels,
        "top_ranked": others if candidates else None,
    }
    return {"default": {"test": split}}


def _split(**columns: Any) -> Any:
    from datasets import Dataset, DatasetDict

    return DatasetDict({"test": Dataset.from_dict(columns)})


def sts_data(seed: int = 0) -> Any:
    random = np.random.default_rng(seed)
    left = phrases(40, seed)
    right = [variant(text, random) if i % 2 else phrases(1, i)[0] for i, text in enumerate(left)]
    return _split(sentence1=left, sentence2=right, score=[(i % 2) * 3 + random.random() for i in range(40)])


def pair_data() -> Any:
    random = np.random.default_rng(3)
    left = phrases(40, seed=3)
    right = [variant(text, random) if i % 2 else phrases(1, i)[0] for i, text in enumerate(left)]
    return _split(sentence1=left, sentence2=right, labels=[i % 2 for i in range(40)])


def bitext_data() -> Any:
    random = np.random.default_rng(4)
    left = phrases(40, seed=4)
    return _split(sentence1=left, sentence2=[variant(text, random) for text in left])


def classification_data() -> Any:
    from datasets import Dataset, DatasetDict

    def part(seed: int) -> Any:
        texts = [
            f"{'dog cat bear' if i % 2 else 'paris france city'} {text}" for i, text in enumerate(phrases(40, seed))
        ]
        return Dataset.from_dict({"text": texts, "label": [i % 2 for i in range(40)]})

    return DatasetDict({"train": part(5), "test": part(6)})


def clustering_data() -> Any:
    labels = [i % 4 for i in range(80)]
    topics = ("dog cat bear panda", "paris france city river", "red green blue", "search query document")
    texts = [f"{topics[label]} {text}" for label, text in zip(labels, phrases(80, seed=7, longest=4), strict=True)]
    return _split(sentences=texts, labels=labels)
