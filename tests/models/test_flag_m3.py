"""`BGEM3FlagModel`: FlagEmbedding's shapes, and scores that anyone can compute from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import BGEM3FlagModel, FlagAutoModel
from lagotto.core.errors import InvalidInputError
from support.checkpoints import XLMR, some_texts, write_m3

TEXTS = some_texts(8, seed=6, longest=20)
PAIRS = [(TEXTS[i], TEXTS[(3 * i + 1) % 8]) for i in range(8)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_m3(tmp_path_factory.mktemp("m3") / "bge-m3")


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path) -> Iterator[BGEM3FlagModel]:
    opened = BGEM3FlagModel(str(folder), use_fp16=False)
    yield opened
    opened.stop_self_pool()


def test_dense_alone_by_default(model: BGEM3FlagModel) -> None:
    found = model.encode(TEXTS)
    assert found["dense_vecs"].shape == (8, XLMR.hidden)
    assert (found["lexical_weights"], found["colbert_vecs"]) == (None, None)
    assert set(model.encode(TEXTS, return_dense=False).values()) == {None}


def test_all_three_have_upstreams_shapes(model: BGEM3FlagModel) -> None:
    found = model.encode(TEXTS, return_dense=True, return_sparse=True, return_colbert_vecs=True)
    assert all(isinstance(key, str) and key.isdigit() for one in found["lexical_weights"] for key in one)
    assert [one.shape[1] for one in found["colbert_vecs"]] == [24] * 8
    single = model.encode(TEXTS[2], return_sparse=True, return_colbert_vecs=True)
    np.testing.assert_allclose(single["dense_vecs"], found["dense_vecs"][2], atol=1e-5)
    assert single["lexical_weights"] == pytest.approx(found["lexical_weights"][2], abs=1e-5)
    np.testing.assert_allclose(single["colbert_vecs"], found["colbert_vecs"][2], atol=1e-5)


def test_queries_get_their_instruction_and_passages_theirs(folder: Path, model: BGEM3FlagModel) -> None:
    told = BGEM3FlagModel(
        str(folder),
        use_fp16=False,
        query_instruction_for_retrieval="find: ",
        passage_instruction_for_retrieval="text: ",
        return_sparse=True,
    )
    pairs = [(told.encode_queries(TEXTS), "find: "), (told.encode_corpus(TEXTS), "text: "), (told.encode(TEXTS), "")]
    for found, prefix in pairs:
        expected = model.encode([prefix + text for text in TEXTS], return_sparse=True)
        np.testing.assert_allclose(found["dense_vecs"], expected["dense_vecs"], atol=1e-5)
        assert found["lexical_weights"] == [pytest.approx(one, abs=1e-5) for one in expected["lexical_weights"]]


def test_scores_follow_from_the_outputs(model: BGEM3FlagModel) -> None:
    weights = [0.4, 0.2, 0.4]
    found = model.compute_score(PAIRS, weights_for_different_modes=weights)
    assert list(found) == ["colbert", "sparse", "dense", "sparse+dense", "colbert+sparse+dense"]
    for place, (query, passage) in enumerate(PAIRS):
        a, b = (model.encode(text, return_sparse=True, return_colbert_vecs=True) for text in (query, passage))
        dense = float(a["dense_vecs"] @ b["dense_vecs"])
        sparse = model.compute_lexical_matching_score(a["lexical_weights"], b["lexical_weights"])
        colbert = float(model.colbert_score(a["colbert_vecs"], b["colbert_vecs"]))
        expected = {
            "colbert": colbert,
            "sparse": sparse,
            "dense": dense,
            "sparse+dense": (0.4 * dense + 0.2 * sparse) / 0.6,
            "colbert+sparse+dense": 0.4 * dense + 0.2 * sparse + 0.4 * colbert,
        }
        assert {name: values[place] for name, values in found.items()} == pytest.approx(expected, abs=2e-5)


def test_a_single_pair_gives_numbers_and_does_not_depend_on_the_rest(model: BGEM3FlagModel) -> None:
    several, one = model.compute_score(PAIRS), model.compute_score(PAIRS[3])
    assert one == pytest.approx({name: values[3] for name, values in several.items()}, abs=1e-5)
    assert model.compute_score([]) == {name: [] for name in several}


def test_matching_of_two_lists_is_a_matrix(model: BGEM3FlagModel) -> None:
    a, b = [{"5": 1.0, "6": 2.0}, {}], [{"6": 3.0}, {"5": 1.0, "6": 1.0}, {"9": 1.0}]
    np.testing.assert_array_equal(model.compute_lexical_matching_score(a, b), [[6, 3, 0], [0, 0, 0]])  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="two dictionaries"):
        model.compute_lexical_matching_score(a[0], b)  # type: ignore[arg-type]


def test_ids_become_tokens(model: BGEM3FlagModel) -> None:
    weights = model.encode("hello world", return_sparse=True)["lexical_weights"]
    named: Any = model.convert_id_to_token(weights)
    assert sum(named.values()) == pytest.approx(sum(weights.values()))
    assert model.convert_id_to_token([weights, weights]) == [named, named]


def test_tensors_where_they_are_asked_for(model: BGEM3FlagModel) -> None:
    torch = pytest.importorskip("torch")
    found = model.encode(TEXTS, return_colbert_vecs=True, convert_to_numpy=False)
    assert isinstance(found["dense_vecs"], torch.Tensor)
    assert all(isinstance(one, torch.Tensor) for one in found["colbert_vecs"])


def test_the_name_chooses_the_class(folder: Path, model: BGEM3FlagModel) -> None:
    for auto in (
        FlagAutoModel.from_finetuned(str(folder), use_fp16=False),
        FlagAutoModel.from_finetuned(str(folder), model_class="encoder-only-m3", use_fp16=False, return_sparse=True),
    ):
        assert isinstance(auto, BGEM3FlagModel)
        np.testing.assert_allclose(auto.encode(TEXTS)["dense_vecs"], model.encode(TEXTS)["dense_vecs"], atol=1e-5)


@pytest.mark.parametrize("weights", [[1, 1], [0, 0, 1]])
def test_weights_that_make_no_sense_are_refused(model: BGEM3FlagModel, weights: list[float]) -> None:
    with pytest.raises(InvalidInputError, match="weights_for_different_modes"):
        model.compute_score(PAIRS, weights_for_different_modes=weights)


def test_a_new_random_head_is_refused(folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="colbert_dim"):
        BGEM3FlagModel(str(folder), colbert_dim=64)
