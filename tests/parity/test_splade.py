"""Sparse weights of SPLADE models, against transformers' masked-language-model heads and the formula in torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lagotto import Embedder
from lagotto.core.errors import MissingDependencyError
from lagotto.core.token_values import SparseVectors
from support.checkpoints import BERT, XLMR, Shape, some_texts
from support.token_models import write_masked_lm, write_splade

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = ["", *some_texts(50, seed=6, longest=70), "hello"]


def rows_of(sparse: SparseVectors | None) -> NDArray[np.float32]:
    assert sparse is not None
    out = np.zeros((len(sparse), sparse.vocabulary), np.float32)
    for row in range(len(sparse)):
        ids, weights = sparse.row(row)
        assert (np.diff(ids) > 0).all()
        out[row, ids] = weights
    return out


@torch.no_grad()
def expected(folder: Path, texts: list[str], limit: int, *, strategy: str, twice: bool = False) -> NDArray[np.float32]:
    """One text at a time, no padding anywhere."""
    tokenizer = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    torch.set_num_threads(1)
    model = transformers.AutoModelForMaskedLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for text in texts:
        ids = tokenizer(text, truncation=True, max_length=limit, return_tensors="pt")["input_ids"]
        weights = torch.log1p(torch.relu(model(input_ids=ids).logits[0]))
        weights = torch.log1p(weights) if twice else weights
        found.append(weights.max(dim=0).values if strategy == "max" else weights.sum(dim=0))
    rows: NDArray[np.float32] = torch.stack(found).numpy()
    return rows


@pytest.mark.parametrize("shape", [BERT, XLMR], ids=["bert", "xlm-roberta"])
@pytest.mark.parametrize(("strategy", "activation"), [("max", "relu"), ("sum", "relu"), ("max", "log1p_relu")])
def test_a_sparse_encoder(tmp_path: Path, cache: Path, shape: Shape, strategy: str, activation: str) -> None:
    folder = write_splade(tmp_path / "splade", shape, pooling_strategy=strategy, activation_function=activation)
    wanted = expected(folder, TEXTS, shape.tokens, strategy=strategy, twice=activation == "log1p_relu")
    assert 0 < (wanted > 0).mean() < 0.9
    with Embedder(folder, precision="f32", threads=2) as model:
        found = rows_of(model.encode(TEXTS).sparse)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert ((found > 0) != (wanted > 0)).mean() < 1e-3  # a logit next to 0


@pytest.mark.parametrize("weights", [{"old_names": True}, {"decoder": True}], ids=["names of 2018", "own decoder"])
def test_a_bare_masked_language_model(tmp_path: Path, cache: Path, weights: dict[str, Any]) -> None:
    folder = write_masked_lm(tmp_path / "mlm", **weights)
    with Embedder(folder, pooling="splade_max", precision="f32", threads=1) as model:
        found = rows_of(model.encode(TEXTS[:20]).sparse)
    if "old_names" in weights:  # transformers reads them too, but let the file be an independent one
        folder = write_masked_lm(tmp_path / "modern")
    np.testing.assert_allclose(found, expected(folder, TEXTS[:20], BERT.tokens, strategy="max"), atol=1e-4)


def test_a_vocabulary_in_several_slices(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.engines.openvino.splade._COLUMNS", 37)
    folder = write_splade(tmp_path / "splade", Shape(seed=4))
    with Embedder(folder, precision="f32", threads=1) as model:
        found = rows_of(model.encode(TEXTS[:20]).sparse)
    np.testing.assert_allclose(found, expected(folder, TEXTS[:20], BERT.tokens, strategy="max"), atol=1e-4)


def test_half_precision_stays_close(tmp_path: Path, cache: Path) -> None:
    folder = write_splade(tmp_path / "splade")
    rows = []
    for precision in ("f32", "bf16"):
        with Embedder(folder, precision=precision, threads=1) as model:
            rows.append(rows_of(model.encode(TEXTS[1:]).sparse))
    norms = np.linalg.norm(rows[0], axis=1) * np.linalg.norm(rows[1], axis=1)
    assert ((rows[0] * rows[1]).sum(axis=1) / norms).min() > 0.995


def test_sentence_transformers_gives_the_same(tmp_path: Path, cache: Path) -> None:
    reference = pytest.importorskip("sentence_transformers")
    folder = write_splade(tmp_path / "splade", settings={"max_active_dims": 9})
    wanted = reference.SparseEncoder(str(folder), device="cpu").encode(TEXTS, convert_to_sparse_tensor=False).numpy()
    with Embedder(folder, precision="f32", threads=1) as model:
        found = rows_of(model.encode(TEXTS).sparse)
    assert (found > 0).sum(axis=1).max() == 9
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_starter_model(tmp_path: Path, cache: Path) -> None:
    try:
        model = Embedder("starter:splade-tiny", precision="f32", threads=1)
    except MissingDependencyError as error:
        pytest.skip(str(error))
    from lagotto import resolve

    texts = ["what is a panda?", "The giant panda is a bear native to south central China.", "", "Zürich 🐕"]
    with model:
        found = rows_of(model.encode(texts).sparse)
    wanted = expected(resolve("starter:splade-tiny"), texts, 512, strategy="max")
    np.testing.assert_allclose(found, wanted, atol=1e-4)
