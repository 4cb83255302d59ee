"""An embedder in mteb: the protocols, the wording of texts, and the figures of every kind of task."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.encoder import MtebEncoder
from support.checkpoints import BERT, XLMR, write_embedder

KINDS = ("retrieval", "reranking", "sts", "pairs", "bitext", "classification", "clustering", "languages")


def scores(mteb: Any, model: Any, task: Any) -> dict[str, dict[str, float]]:
    """Subset -> score -> value, as mteb computes them."""
    kwargs = {"batch_size": 16, "show_progress_bar": False}
    found = mteb.evaluate(
        model, task(), co2_tracker=False, cache=None, encode_kwargs=kwargs, show_progress_bar=False
    ).task_results[0]
    return {
        part["hf_subset"]: {name: value for name, value in part.items() if isinstance(value, float)}
        for parts in found.scores.values()
        for part in parts
    }


@pytest.fixture(scope="module")
def encoder(embedder: Embedder, mteb: Any) -> MtebEncoder:
    return MtebEncoder(embedder)


def reference_of(folder: Path) -> Any:
    """A folder in sentence-transformers, in mteb's own wrapper."""
    from mteb.models import SentenceTransformerEncoderWrapper
    from sentence_transformers import SentenceTransformer

    with warnings.catch_warnings():
        # mteb uses an argument of its own and a method of sentence-transformers that both are deprecated.
        warnings.filterwarnings("ignore", "The fill_missing parameter is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "The `get_sentence_embedding_dimension` method", FutureWarning)
        return SentenceTransformerEncoderWrapper(SentenceTransformer(str(folder), device="cpu"))


@pytest.fixture(scope="module")
def reference(tiny_bert: Path, mteb: Any) -> Any:
    return reference_of(tiny_bert)


def test_fills_mtebs_protocols(encoder: MtebEncoder, mteb: Any) -> None:
    from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    assert isinstance(encoder, EncoderProtocol)
    assert isinstance(encoder, SearchProtocol)
    assert not isinstance(encoder, CrossEncoderProtocol)


# mteb copies the reference's similarities with torch.tensor
@pytest.mark.filterwarnings("ignore:To copy construct from a tensor:UserWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_sentence_transformers(
    kind: str, encoder: MtebEncoder, reference: Any, mteb: Any, tasks: SimpleNamespace
) -> None:
    task = getattr(tasks, kind)
    ours, theirs = scores(mteb, encoder, task), scores(mteb, reference, task)
    assert ours.keys() == theirs.keys()
    for subset, values in theirs.items():
        assert ours[subset] == pytest.approx(values, abs=1e-3, nan_ok=True), subset
        assert values["main_score"] > 0.05


@pytest.mark.parametrize("kind", ["retrieval", "reranking"])
def test_a_folders_prompts_are_used_as_sentence_transformers_does(
    kind: str, tmp_path: Path, encoder: MtebEncoder, mteb: Any, tasks: SimpleNamespace
) -> None:
    folder = write_embedder(tmp_path / "e5", BERT, prompts={"query": "query: find ", "document": "passage: "})
    with Embedder(folder, precision="f32", threads=2) as model:
        ours = scores(mteb, MtebEncoder(model), getattr(tasks, kind))
    theirs = scores(mteb, reference_of(folder), getattr(tasks, kind))
    assert ours["default"] == pytest.approx(theirs["default"], abs=1e-3, nan_ok=True)
    plain = scores(mteb, encoder, getattr(tasks, kind))
    assert ours["default"]["main_score"] != pytest.approx(plain["default"]["main_score"], abs=1e-3)


E5 = {"query": "query: ", "document": "passage: "}
BGE = {"query": "find this: "}
TASKS = {"query": "query: ", "Retrieval-query": "search: ", "Retrieval-document": "text: ", "LocalSTS": "compare: "}


@pytest.mark.parametrize(
    ("prompts", "kind", "side", "before"),
    [
        (E5, "retrieval", "query", "query: "),
        (E5, "retrieval", "document", "passage: "),
        (E5, "sts", None, "query: "),
        (BGE, "retrieval", "query", "find this: "),
        (BGE, "retrieval", "document", ""),
        (BGE, "sts", None, ""),
        (TASKS, "retrieval", "query", "search: "),
        (TASKS, "retrieval", "document", "text: "),
        (TASKS, "reranking", "query", "query: "),
        (TASKS, "sts", None, "compare: "),
    ],
)
def test_texts_are_written_as_the_card_says(
    prompts: dict[str, str], kind: str, side: str | None, before: str, tmp_path: Path, tasks: SimpleNamespace
) -> None:
    from mteb.types import PromptType

    folder = write_embedder(tmp_path / "model", BERT, prompts=prompts)
    texts = ["the dog", "what is a panda"]
    with Embedder(folder, precision="f32", threads=2) as model:
        got = MtebEncoder(model).encode(
            [{"text": texts}],
            task_metadata=getattr(tasks, kind).metadata,
            hf_split="test",
            hf_subset="default",
            prompt_type=None if side is None else PromptType(side),
        )
        wanted = model.encode([before + text for text in texts]).dense
    np.testing.assert_allclose(got, wanted, atol=1e-6)


def test_a_model_that_takes_instructions_gets_the_tasks(tmp_path: Path, tasks: SimpleNamespace) -> None:
    from mteb.types import PromptType

    folder = write_embedder(tmp_path / "instruct", XLMR, pooling="mean")
    card = "intfloat/multilingual-e5-large-instruct"
    with Embedder(folder, precision="f32", threads=2, card=card) as model:
        encoder = MtebEncoder(model)
        facts = {"task_metadata": tasks.retrieval.metadata, "hf_split": "test", "hf_subset": "default"}
        queries = encoder.encode([{"text": ["the dog"]}], **facts, prompt_type=PromptType.query)
        documents = encoder.encode([{"text": ["the dog"]}], **facts, prompt_type=PromptType.document)
        wanted = model.encode(["Instruct: Find\nQuery: the dog", "the dog"]).dense
        assert encoder.mteb_model_meta.use_instructions
    np.testing.assert_allclose(np.concatenate([queries, documents]), wanted, atol=1e-6)


def encoded(encoder: MtebEncoder, task: Any, *texts: str, **keywords: Any) -> Any:
    batches = [{"text": list(texts[:2])}, {"text": list(texts[2:])}]
    return encoder.encode(batches, task_metadata=task.metadata, hf_split="test", hf_subset="default", **keywords)


def test_vectors_are_float32_in_order_and_counted(encoder: MtebEncoder, embedder: Embedder, tasks: Any) -> None:
    fresh = MtebEncoder(embedder)
    texts = ("dog", "a giant panda in paris", "water " * 100)
    vectors = encoded(fresh, tasks.sts, *texts, batch_size=7, show_progress_bar=False, precision="float32")
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, embedder.encode(texts).dense, atol=1e-6)
    assert (fresh.work.inputs, fresh.work.truncated) == (3, 1)
    assert fresh.work.tokens == embedder.encode(texts).tokens.sum()
    assert encoded(fresh, tasks.sts).shape == (0, 32)


def test_dimensions_and_length_are_options(embedder: Embedder, tasks: SimpleNamespace) -> None:
    encoder = MtebEncoder(embedder, dimensions=8, max_length=5)
    text = "what is a giant panda in paris"
    wanted = embedder.encode([text], dimensions=8, max_length=5).dense
    np.testing.assert_allclose(encoded(encoder, tasks.sts, text), wanted, atol=1e-6)
    assert encoder.mteb_model_meta.embed_dim == 8
    for wrong in ({"dimensions": 33}, {"max_length": 65}):
        with pytest.raises(InvalidInputError, match="allows 1 to"):
            MtebEncoder(embedder, **wrong)


def test_what_would_change_the_figures_unseen_is_refused(
    encoder: MtebEncoder, tasks: SimpleNamespace, task_class: Any, mteb: Any
) -> None:
    with pytest.raises(InvalidInputError, match="precision is 'int8'"):
        encoded(encoder, tasks.sts, "a", precision="int8")
    with pytest.raises(InvalidInputError, match="normalize, pool are not known"):
        encoded(encoder, tasks.sts, "a", pool=1, normalize=False)
    images = task_class(mteb.AbsTask, "ImageClassification", "accuracy", dict, category="i2c", modalities=["image"])
    with pytest.raises(InvalidInputError, match="LocalImageClassification gives image; Lagotto's models read text"):
        encoded(encoder, images, "a")


@pytest.mark.parametrize("normalize", [True, False])
def test_similarity_is_the_cards(normalize: bool, tmp_path: Path, mteb: Any) -> None:
    import torch

    folder = write_embedder(tmp_path / "model", BERT, normalize=normalize)
    a, b = np.random.default_rng(0).standard_normal((2, 5, 32)).astype(np.float32)
    inner = a @ b.T
    lengths = np.linalg.norm(a, axis=1)[:, None] * np.linalg.norm(b, axis=1)
    wanted = inner / lengths if normalize else inner
    with Embedder(folder, precision="f32", threads=2) as model:
        encoder = MtebEncoder(model)
        np.testing.assert_allclose(encoder.similarity(a, b), wanted, atol=1e-5)
        np.testing.assert_allclose(encoder.similarity(torch.tensor(a), b[0]), wanted[:, :1], atol=1e-5)
        np.testing.assert_allclose(encoder.similarity_pairwise(torch.tensor(a), b), wanted.diagonal(), atol=1e-5)
        assert encoder.mteb_model_meta.similarity_fn_name.value == ("cosine" if normalize else "dot")


@pytest.mark.parametrize("kind", ["retrieval", "reranking"])
def test_search_finds_what_mtebs_own_search_does(
    kind: str, encoder: MtebEncoder, mteb: Any, tasks: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mteb.models import SearchEncoderWrapper

    monkeypatch.setattr("lagotto.evaluation.mteb.search._ROWS", 50)
    monkeypatch.setattr("lagotto.models.pipeline.CHUNK", 32)
    task = getattr(tasks, kind)()
    task.load_data()
    data = task.dataset["default"]["test"]
    facts = {
        "task_metadata": task.metadata,
        "hf_split": "test",
        "hf_subset": "default",
        "encode_kwargs": {"batch_size": 16, "show_progress_bar": False},
    }
    found = []
    for model in (encoder, SearchEncoderWrapper(encoder)):
        model.index(corpus=data["corpus"], **facts)
        found.append(model.search(data["queries"], top_k=7, top_ranked=data["top_ranked"], **facts))
    ours, theirs = found
    assert list(ours) == list(theirs)
    for query, hits in theirs.items():
        assert ours[query] == pytest.approx(hits, abs=1e-5)
        assert len(hits) == 7


def test_search_needs_a_corpus(encoder: MtebEncoder, tasks: SimpleNamespace) -> None:
    with pytest.raises(InvalidInputError, match="no corpus to search"):
        encoder.search(
            None,
            task_metadata=tasks.retrieval.metadata,
            hf_split="test",
            hf_subset="default",
            top_k=1,
            encode_kwargs={},
        )
