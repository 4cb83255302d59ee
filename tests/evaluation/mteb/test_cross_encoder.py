"""A reranker in mteb."""

from __future__ import annotations

import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lagotto import Reranker
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.cross_encoder import MtebCrossEncoder

QUERIES = ["what is a panda", "city in france", "dog"]
DOCUMENTS = ["the giant panda is a bear", "paris", "water " * 200]


def predicted(model: MtebCrossEncoder, task: Any, **keywords: Any) -> Any:
    batches = [[{"text": texts[:2]}, {"text": texts[2:]}] for texts in (QUERIES, DOCUMENTS)]
    return model.predict(*batches, task_metadata=task.metadata, hf_split="test", hf_subset="default", **keywords)


def test_fills_mtebs_protocol(ranker: Reranker, mteb: Any) -> None:
    from mteb.models import CrossEncoderProtocol, EncoderProtocol, SearchProtocol

    model = MtebCrossEncoder(ranker)
    assert isinstance(model, CrossEncoderProtocol)
    assert not isinstance(model, EncoderProtocol | SearchProtocol)
    assert model.mteb_model_meta.is_cross_encoder
    assert model.mteb_model_meta.revision == ranker.fingerprint


def test_gives_raw_logits_in_order(ranker: Reranker, tasks: SimpleNamespace) -> None:
    model = MtebCrossEncoder(ranker)
    wanted = ranker.score(list(zip(QUERIES, DOCUMENTS, strict=True)))
    got = predicted(model, tasks.reranking, batch_size=4)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted.scores, atol=1e-6)
    assert (model.work.inputs, model.work.tokens) == (3, wanted.tokens.sum())


def test_length_and_windows_are_options(ranker: Reranker, tasks: SimpleNamespace) -> None:
    model = MtebCrossEncoder(ranker, max_length=20, max_windows=1)
    wanted = ranker.score(list(zip(QUERIES, DOCUMENTS, strict=True)), max_length=20, max_windows=1)
    np.testing.assert_allclose(predicted(model, tasks.reranking), wanted.scores, atol=1e-6)
    assert model.work.truncated == 1
    for wrong in ({"max_length": 65}, {"max_windows": 0}):
        with pytest.raises(InvalidInputError, match="allows 1 to|at least 1"):
            MtebCrossEncoder(ranker, **wrong)
    with pytest.raises(InvalidInputError, match="pool are not known"):
        predicted(model, tasks.reranking, pool=1)


def test_scores_are_those_of_sentence_transformers(
    ranker: Reranker, tiny_reranker: Path, mteb: Any, tasks: SimpleNamespace
) -> None:
    from mteb.models import CrossEncoderWrapper
    from sentence_transformers import CrossEncoder

    with warnings.catch_warnings():
        # mteb uses an argument of its own that is deprecated.
        warnings.filterwarnings("ignore", "The fill_missing parameter is deprecated", DeprecationWarning)
        reference = CrossEncoderWrapper(CrossEncoder(str(tiny_reranker), device="cpu"))
    found = []
    for model in (MtebCrossEncoder(ranker, max_windows=1), reference):
        result = mteb.evaluate(model, tasks.reranking(), co2_tracker=False, cache=None, show_progress_bar=False)
        (scores,) = result.task_results[0].scores["test"]
        # sentence-transformers gives sigmoids, which rank alike but are spread otherwise: that is what nauc grades
        found.append({k: v for k, v in scores.items() if isinstance(v, float) and not k.startswith("nauc")})
    assert found[0] == pytest.approx(found[1], abs=1e-3, nan_ok=True)
    assert found[0]["main_score"] > 0.05
