"""Dense, sparse and multi-vector output of one pass, against the formulas of BGE-M3 written down plainly in torch."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.token_values import MultiVectors, SparseVectors
from support.checkpoints import XLMR, some_texts, write_m3
from support.pickled import pickled_heads

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

TEXTS = ["", *some_texts(60, seed=5, longest=70), "hello"]
ALL = {"dense", "sparse", "multivector"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pickled_heads(write_m3(tmp_path_factory.mktemp("m3") / "tiny-m3"))


@pytest.fixture(scope="module")
def model(folder: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(folder, pooling="cls", precision="f32", threads=2) as opened:
        yield opened


def formulas(folder: Path, text: str) -> tuple[Any, dict[int, float], Any]:
    """One text at a time, no padding anywhere: Chen et al. 2024, sections 3.2 and 3.3."""
    from support.reference import open_reference

    reference = open_reference(folder, XLMR.tokens)
    states, _ = reference.hidden([text])
    ids = reference.inputs([text])["input_ids"][0].tolist()
    dense = torch.nn.functional.normalize(states[0, 0], dim=0)
    sparse = torch.load(folder / "sparse_linear.pt", weights_only=True)
    weights = torch.relu(states[0] @ sparse["weight"].T + sparse["bias"])[:, 0]
    lexical: dict[int, float] = {}
    for token, weight in zip(ids, weights.tolist(), strict=True):
        if token not in (0, 1, 2, 3) and weight > 0:
            lexical[token] = max(weight, lexical.get(token, 0.0))
    colbert = torch.load(folder / "colbert_linear.pt", weights_only=True)
    vectors = torch.nn.functional.normalize(states[0, 1:] @ colbert["weight"].T + colbert["bias"], dim=-1)
    return dense.numpy(), lexical, vectors.numpy()


def test_one_pass_gives_what_the_formulas_give(folder: Path, model: Embedder) -> None:
    found = model.encode(TEXTS, outputs=ALL)
    assert found.sparse is not None
    assert found.multivector is not None
    for place, text in enumerate(TEXTS):
        dense, lexical, vectors = formulas(folder, text)
        np.testing.assert_allclose(found.dense[place], dense, atol=2e-5)
        weights = found.sparse[place]
        assert isinstance(weights, dict)
        assert weights == pytest.approx(lexical, abs=2e-5)
        np.testing.assert_allclose(found.multivector[place], vectors, atol=2e-5)


@pytest.mark.parametrize("outputs", [{"dense"}, {"sparse"}, {"multivector"}, {"dense", "sparse"}])
def test_any_part_is_the_same_as_the_whole(model: Embedder, outputs: Any) -> None:
    whole, part = model.encode(TEXTS, outputs=ALL), model.encode(TEXTS, outputs=outputs)
    assert len(part) == len(TEXTS)
    assert part.dense.shape == (len(TEXTS), XLMR.hidden if "dense" in outputs else 0)
    if "dense" in outputs:
        np.testing.assert_allclose(part.dense, whole.dense, atol=1e-5)
    assert (part.sparse is not None) == ("sparse" in outputs)
    assert (part.multivector is not None) == ("multivector" in outputs)
    if part.sparse is not None and whole.sparse is not None:
        np.testing.assert_array_equal(part.sparse.indices, whole.sparse.indices)
        np.testing.assert_allclose(part.sparse.values, whole.sparse.values, atol=1e-5)
    if part.multivector is not None and whole.multivector is not None:
        np.testing.assert_allclose(part.multivector.vectors, whole.multivector.vectors, atol=1e-5)


def test_half_precision_stays_close(folder: Path, model: Embedder) -> None:
    exact = model.encode(TEXTS[1:], outputs=ALL)
    with Embedder(folder, pooling="cls", precision="bf16", threads=2) as rough_model:
        rough = rough_model.encode(TEXTS[1:], outputs=ALL)
    assert isinstance(exact.multivector, MultiVectors)
    assert isinstance(rough.multivector, MultiVectors)
    assert isinstance(exact.sparse, SparseVectors)
    assert isinstance(rough.sparse, SparseVectors)
    assert (exact.dense * rough.dense).sum(axis=1).min() > 0.9995
    assert (exact.multivector.vectors * rough.multivector.vectors).sum(axis=1).mean() > 0.999
    assert rough.sparse.values.sum() == pytest.approx(exact.sparse.values.sum(), rel=0.02)
