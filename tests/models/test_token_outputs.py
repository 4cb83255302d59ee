"""Asking an embedder for token outputs: what is refused, what is kept, and calls side by side."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import CheckpointError, InvalidInputError, ModelNotFoundError, UnsupportedModelError
from support.checkpoints import XLMR, DenseLayer, some_texts, write_embedder, write_m3

ALL = {"dense", "sparse", "multivector"}
TEXTS = some_texts(30, seed=2, longest=30)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_m3(tmp_path / "m3", width=16)


@pytest.fixture
def model(folder: Path) -> Iterator[Embedder]:
    with Embedder(folder, pooling="cls", precision="f32", threads=2) as opened:
        yield opened


@pytest.mark.parametrize("outputs", [set(), {"colour"}, "dense", ["dense", 3]])
def test_unknown_outputs_are_refused(model: Embedder, outputs: Any) -> None:
    with pytest.raises(InvalidInputError, match="outputs"):
        model.encode(TEXTS, outputs=outputs)


def test_dimensions_need_a_dense_vector(model: Embedder) -> None:
    with pytest.raises(InvalidInputError, match="does not ask for them"):
        model.encode(TEXTS, outputs={"sparse"}, dimensions=8)
    assert model.encode(TEXTS, outputs=ALL, dimensions=8).dense.shape == (30, 8)


@pytest.mark.parametrize(("missing", "output"), [("sparse_linear", "sparse"), ("colbert_linear", "multivector")])
def test_a_missing_head_is_named_and_never_made_up(folder: Path, missing: str, output: Any) -> None:
    (folder / f"{missing}.safetensors").unlink()
    with Embedder(folder, pooling="cls", precision="f32") as model:
        with pytest.raises(ModelNotFoundError, match=f"{missing}.safetensors or {missing}.pt"):
            model.encode(TEXTS, outputs={output})
        assert model.encode(TEXTS, outputs=ALL - {output}).tokens.sum() > 0


def test_a_heads_file_is_read_once(model: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    first = model.encode(TEXTS, outputs=ALL)
    monkeypatch.setattr("lagotto.models.token_outputs.Linear.read", lambda *_: pytest.fail("it was read before"))
    np.testing.assert_array_equal(model.encode(TEXTS, outputs=ALL).dense.shape, first.dense.shape)


def test_a_head_of_another_model_is_refused(folder: Path) -> None:
    write_m3(folder, hidden=XLMR.hidden + 1)
    with (
        Embedder(folder, pooling="cls", precision="f32") as model,
        pytest.raises(CheckpointError, match=f"the encoder gives {XLMR.hidden} numbers"),
    ):
        model.encode(TEXTS, outputs={"sparse"})


def test_dense_modules_have_no_token_outputs(tmp_path: Path) -> None:
    folder = write_m3(write_embedder(tmp_path / "dense", XLMR, dense=[DenseLayer(8)]))
    with Embedder(folder, precision="f32") as model, pytest.raises(UnsupportedModelError, match="Dense modules"):
        model.encode(TEXTS, outputs={"sparse"})


def test_no_texts_give_empty_values(model: Embedder) -> None:
    none = model.encode([], outputs=ALL)
    assert none.dense.shape == (0, XLMR.hidden)
    assert none.sparse is not None
    assert none.multivector is not None
    assert (len(none.sparse), none.sparse.vocabulary) == (0, model.encode("a", outputs=ALL).sparse.vocabulary)  # type: ignore[union-attr]
    assert (len(none.multivector), none.multivector.dimension) == (0, 16)


def test_parts_of_a_value_keep_their_token_outputs(model: Embedder) -> None:
    whole = model.encode(TEXTS, outputs=ALL)
    part = whole[4:9]
    alone = model.encode(TEXTS[4:9], outputs=ALL)
    for found in (part, alone):
        assert found.sparse is not None  # type: ignore[union-attr]
        assert found.multivector is not None  # type: ignore[union-attr]
    np.testing.assert_allclose(part.multivector.vectors, alone.multivector.vectors, atol=1e-5)  # type: ignore[union-attr]
    np.testing.assert_allclose(part.sparse.values, alone.sparse.values, atol=1e-5)  # type: ignore[union-attr]


def test_calls_for_vectors_and_for_tokens_go_side_by_side(model: Embedder) -> None:
    dense = model.encode(TEXTS).dense
    with ThreadPoolExecutor(8) as threads:
        wanted: list[Any] = [{"dense"}, ALL, {"sparse"}, {"dense"}] * 6
        found = list(threads.map(lambda outputs: model.encode(TEXTS, outputs=outputs), wanted))
    for outputs, value in zip(wanted, found, strict=True):
        if "dense" in outputs:
            np.testing.assert_allclose(value.dense, dense, atol=1e-5)


def test_the_fingerprint_covers_the_heads(folder: Path) -> None:
    with Embedder(folder, pooling="cls", precision="f32") as model:
        before = model.fingerprint
    write_m3(folder, width=17)
    with Embedder(folder, pooling="cls", precision="f32") as model:
        assert model.fingerprint != before


def test_weights_are_told_by_their_tokens_text(model: Embedder) -> None:
    sparse = model.encode(["hello world"], outputs={"sparse"}).sparse
    assert sparse is not None
    weights = sparse[0]
    assert isinstance(weights, dict)
    named = model.decode_tokens(weights)
    assert len(named) == len(weights)
    assert all(isinstance(text, str) for text in named)
