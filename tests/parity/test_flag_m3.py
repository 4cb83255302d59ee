"""`BGEM3FlagModel` of `lagotto.flag` beside FlagEmbedding's own, where that is installed: same kinds, same values.

Scores are compared one pair at a time: in a batch, FlagEmbedding's padding takes part in the maximum over tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.checkpoints import XLMR, some_texts, write_m3
from support.pickled import pickled_heads

torch = pytest.importorskip("torch")

LIBRARIES = ["lagotto.flag", "FlagEmbedding"]
# transformers 5 makes XLM-RoBERTa tokenizers without the normaliser of their tokenizer.json, so nothing to normalise.
TEXTS = [text for text in some_texts(16, seed=8, longest=25) if text and "…" not in text]
PAIRS = [(TEXTS[0], TEXTS[1]), (TEXTS[2], TEXTS[3]), (TEXTS[4], TEXTS[4])]
ALL = {"return_dense": True, "return_sparse": True, "return_colbert_vecs": True}
CLOSE = 1e-4


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # FlagEmbedding makes the multi-vector head as wide as the encoder unless it is told otherwise.
    return pickled_heads(write_m3(tmp_path_factory.mktemp("m3") / "bge-m3", width=XLMR.hidden))


@pytest.fixture(scope="module", params=LIBRARIES)
def model(request: pytest.FixtureRequest, folder: Path, cache: Path) -> Any:
    library = import_module(request.param) if request.param == LIBRARIES[0] else pytest.importorskip(request.param)
    return library.BGEM3FlagModel(str(folder), use_fp16=False, devices="cpu")


@pytest.fixture(scope="module")
def ours(folder: Path, cache: Path) -> Iterator[Any]:
    model = import_module(LIBRARIES[0]).BGEM3FlagModel(str(folder), use_fp16=False)
    yield model
    model.stop_self_pool()


def as_numbers(weights: dict[Any, Any]) -> dict[str, float]:
    return {str(key): float(value) for key, value in weights.items()}


def test_outputs_are_alike(model: Any, ours: Any) -> None:
    found, expected = model.encode(TEXTS, **ALL), ours.encode(TEXTS, **ALL)
    assert set(found) == {"dense_vecs", "lexical_weights", "colbert_vecs"}
    np.testing.assert_allclose(found["dense_vecs"], expected["dense_vecs"], atol=CLOSE)
    for mine, theirs in zip(found["lexical_weights"], expected["lexical_weights"], strict=True):
        assert as_numbers(mine) == pytest.approx(as_numbers(theirs), abs=CLOSE)
    for mine, theirs in zip(found["colbert_vecs"], expected["colbert_vecs"], strict=True):
        np.testing.assert_allclose(mine, theirs, atol=CLOSE)


@pytest.mark.parametrize("pair", PAIRS)
def test_scores_of_a_pair_are_alike(model: Any, ours: Any, pair: tuple[str, str]) -> None:
    weights = [0.4, 0.2, 0.4]
    found = model.compute_score(pair, weights_for_different_modes=weights)
    expected = ours.compute_score(pair, weights_for_different_modes=weights)
    assert {name: float(value) for name, value in found.items()} == pytest.approx(expected, abs=CLOSE)


def test_matching_scores_are_alike(model: Any, ours: Any) -> None:
    a, b = (ours.encode(text, return_sparse=True, return_colbert_vecs=True) for text in TEXTS[:2])
    weights = a["lexical_weights"], b["lexical_weights"]
    lexical = float(model.compute_lexical_matching_score(*weights))
    assert lexical == pytest.approx(ours.compute_lexical_matching_score(*weights), abs=CLOSE)
    vectors = a["colbert_vecs"], b["colbert_vecs"]
    assert float(model.colbert_score(*vectors)) == pytest.approx(float(ours.colbert_score(*vectors)), abs=CLOSE)


def test_ids_become_the_same_tokens(model: Any, ours: Any) -> None:
    weights = ours.encode("hello world", return_sparse=True)["lexical_weights"]
    assert as_numbers(model.convert_id_to_token(weights)) == pytest.approx(ours.convert_id_to_token(weights))
