"""The same calls give the same kinds of values from `lagotto.flag` and from FlagEmbedding, where that is installed.

FlagEmbedding needs torch and transformers and is no part of the test extra; without it the table below, which was
recorded from FlagEmbedding 1.4.2, still holds lagotto to it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

LIBRARIES = ["lagotto.flag", "FlagEmbedding"]
TEXTS = ["what is a panda", "the giant panda is a bear", "the river"]
PAIRS = [(TEXTS[0], TEXTS[1]), (TEXTS[0], TEXTS[2])]
LONG = "the giant panda is a bear and the dog is an animal " * 5
CLOSE = 1e-4

# (method, arguments, keywords, shape of the float32 array)
EMBEDDINGS: list[tuple[str, Any, dict[str, Any], tuple[int, ...]]] = [
    ("encode", TEXTS, {}, (3, 32)),
    ("encode", TEXTS[:1], {}, (1, 32)),
    ("encode", TEXTS[0], {}, (32,)),
    ("encode", TEXTS, {"batch_size": 2, "max_length": 6}, (3, 32)),
    ("encode", LONG, {"max_length": 16}, (32,)),
    ("encode", TEXTS, {"instruction": "find ", "instruction_format": "{}: {}"}, (3, 32)),
    ("encode_queries", TEXTS, {}, (3, 32)),
    ("encode_queries", TEXTS[0], {}, (32,)),
    ("encode_corpus", TEXTS, {}, (3, 32)),
    ("encode_corpus", TEXTS[0], {}, (32,)),
]
# (pairs, keywords, length of the list of floats)
SCORES: list[tuple[Any, dict[str, Any], int]] = [
    (PAIRS, {}, 2),
    (PAIRS[:1], {}, 1),
    (PAIRS[0], {}, 1),
    (list(PAIRS[0]), {}, 1),
    ([list(pair) for pair in PAIRS], {}, 2),
    (PAIRS, {"normalize": True}, 2),
    (PAIRS, {"max_length": 12, "query_max_length": 4, "batch_size": 1}, 2),
    ((TEXTS[0], LONG), {"max_length": 32}, 1),
]


@pytest.fixture(scope="module", params=LIBRARIES)
def library(request: pytest.FixtureRequest, cache: Path) -> Any:
    return import_module(request.param) if request.param == LIBRARIES[0] else pytest.importorskip(request.param)


def opened(library: Any, kind: str, folder: Path, **options: Any) -> Any:
    return getattr(library, kind)(str(folder), use_fp16=False, devices="cpu", **options)


@pytest.fixture(scope="module")
def embedder(library: Any, tiny_bert: Path) -> Any:
    return opened(library, "FlagModel", tiny_bert, query_instruction_for_retrieval="find: ")


@pytest.fixture(scope="module")
def reranker(library: Any, tiny_reranker: Path) -> Any:
    return opened(library, "FlagReranker", tiny_reranker)


@pytest.fixture(scope="module")
def ours(tiny_bert: Path, tiny_reranker: Path, cache: Path) -> Iterator[tuple[Any, Any]]:
    """Lagotto's own, for the values."""
    flag = import_module(LIBRARIES[0])
    models = (
        opened(flag, "FlagModel", tiny_bert, query_instruction_for_retrieval="find: "),
        opened(flag, "FlagReranker", tiny_reranker),
    )
    yield models
    for model in models:
        model.stop_self_pool()


@pytest.mark.parametrize(("method", "given", "keywords", "shape"), EMBEDDINGS)
def test_vectors_have_the_shape_type_and_values(
    embedder: Any, ours: tuple[Any, Any], method: str, given: Any, keywords: dict[str, Any], shape: tuple[int, ...]
) -> None:
    found = getattr(embedder, method)(given, **keywords)
    assert isinstance(found, np.ndarray)
    assert (found.shape, found.dtype) == (shape, np.float32)
    np.testing.assert_allclose(found, getattr(ours[0], method)(given, **keywords), atol=CLOSE)


@pytest.mark.parametrize("options", [{"truncate_dim": 8}, {"normalize_embeddings": False}, {"pooling_method": "mean"}])
def test_options_change_the_vectors_alike(library: Any, tiny_bert: Path, options: dict[str, Any]) -> None:
    found = opened(library, "FlagModel", tiny_bert, **options).encode(TEXTS)
    assert found.shape == (3, options.get("truncate_dim", 32))
    expected = opened(import_module(LIBRARIES[0]), "FlagModel", tiny_bert, **options).encode(TEXTS)
    np.testing.assert_allclose(found, expected, atol=CLOSE)


@pytest.mark.parametrize(("pairs", "keywords", "number"), SCORES)
def test_scores_are_a_list_of_floats_of_the_same_values(
    reranker: Any, ours: tuple[Any, Any], pairs: Any, keywords: dict[str, Any], number: int
) -> None:
    found = reranker.compute_score(pairs, **keywords)
    assert isinstance(found, list)
    assert len(found) == number
    assert all(isinstance(score, float) for score in found)
    np.testing.assert_allclose(found, ours[1].compute_score(pairs, **keywords), atol=CLOSE)


@pytest.mark.parametrize("name", ["FlagAutoModel", "FlagAutoReranker"])
def test_the_automatic_classes_are_made_by_from_finetuned_only(library: Any, name: str) -> None:
    with pytest.raises(OSError, match="from_finetuned"):
        getattr(library, name)()
    with pytest.raises(ValueError, match="nobody-knows"):
        getattr(library, name).from_finetuned("org/nobody-knows")
