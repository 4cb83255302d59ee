"""Models without a dense vector: what they give, what they refuse, and what others do with them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, MultiCls, Windows
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.flag import BGEM3FlagModel, FlagModel
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from lagotto.models import pipeline
from support.checkpoints import DenseLayer, some_texts, write_embedder, write_m3, write_plain
from support.token_models import write_colbert, write_masked_lm, write_splade

TEXTS = some_texts(20, seed=3, longest=30)


@pytest.fixture(scope="module")
def splade_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_splade(tmp_path_factory.mktemp("splade") / "tiny-splade")


@pytest.fixture(scope="module")
def colbert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_colbert(tmp_path_factory.mktemp("colbert") / "tiny-colbert")


@pytest.fixture(scope="module")
def splade(splade_folder: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(splade_folder, precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def colbert(colbert_folder: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(colbert_folder, precision="f32", threads=2) as model:
        yield model


def test_a_model_says_what_it_can_give(tmp_path: Path, splade: Embedder, colbert: Embedder, embedder: Embedder) -> None:
    assert splade.outputs == ("sparse",)
    assert colbert.outputs == ("multivector",)
    assert embedder.outputs == ("dense",)
    with Embedder(write_m3(tmp_path / "m3"), pooling="cls", precision="f32") as m3:
        assert m3.outputs == ("dense", "sparse", "multivector")
        assert m3.encode("panda").sparse is None  # the dense vector alone, unless more is asked for
    with Embedder(write_m3(write_embedder(tmp_path / "d", dense=[DenseLayer(8)])), precision="f32") as reduced:
        assert reduced.outputs == ("dense",)


def test_what_it_has_not_is_refused(splade: Embedder, colbert: Embedder) -> None:
    for model, own in ((splade, "sparse"), (colbert, "multivector")):
        with pytest.raises(InvalidInputError, match=f"gives {own} output, not dense"):
            model.encode(TEXTS, outputs={"dense"})
        with pytest.raises(InvalidInputError, match=f"no dense vectors, only {own} output"):
            _ = model.dimension
        with pytest.raises(InvalidInputError, match="dimensions cuts dense vectors"):
            model.encode(TEXTS, dimensions=8)
    with pytest.raises(InvalidInputError, match="not multivector"):
        splade.encode(TEXTS, outputs={"sparse", "multivector"})
    assert "splade_max pooling, weights of" in repr(splade)
    assert "a vector a token, 24 tokens" in repr(colbert)


def test_values_of_texts_stream_and_are_put_together(
    splade: Embedder, colbert: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, vectors = splade.encode(TEXTS), colbert.encode_documents(TEXTS)
    monkeypatch.setattr(pipeline, "CHUNK", 6)
    again = splade.encode(TEXTS)
    assert whole.dense.shape == again.dense.shape == (20, 0)
    assert whole.sparse is not None
    assert again.sparse is not None
    np.testing.assert_array_equal(again.sparse.indices, whole.sparse.indices)
    np.testing.assert_allclose(again.sparse.values, whole.sparse.values, atol=1e-5)
    parts = list(colbert.stream(TEXTS, role="document"))
    assert [len(part) for part in parts] == [6, 6, 6, 2]
    assert vectors.multivector is not None
    streamed = [row for part in parts for row in part.multivector or ()]
    for ours, row in zip(streamed, vectors.multivector, strict=True):
        np.testing.assert_allclose(ours, row, atol=1e-5)


def test_no_texts(splade: Embedder, colbert: Embedder) -> None:
    none = splade.encode([])
    assert none.sparse is not None
    assert (len(none), len(none.sparse), none.sparse.vocabulary) == (0, 0, splade.engine.output)
    empty = colbert.encode_queries([])
    assert empty.multivector is not None
    assert (len(empty), len(empty.multivector), empty.multivector.dimension) == (0, 0, 8)


def test_token_ids(splade: Embedder, colbert: Embedder) -> None:
    ids = [[20, 30, 40], [21]]
    assert splade.encode_ids(ids).sparse is not None
    vectors = colbert.encode_ids(ids).multivector
    assert vectors is not None
    assert [len(row) for row in vectors] == [5, 3]


def test_similarity_is_that_of_what_they_give(splade: Embedder, colbert: Embedder) -> None:
    a, b = splade.encode_queries(TEXTS[:3]), splade.encode_documents(TEXTS)
    assert a.sparse is not None
    assert b.sparse is not None
    np.testing.assert_array_equal(splade.similarity(a, b), lexical_matching(a.sparse, b.sparse))
    c, d = colbert.encode_queries(TEXTS[:3]), colbert.encode_documents(TEXTS)
    assert c.multivector is not None
    assert d.multivector is not None
    np.testing.assert_array_equal(colbert.similarity(c, d), max_sim_matrix(c.multivector, d.multivector))
    for wrong in ((a, d), (np.zeros((1, 3), np.float32), b)):
        with pytest.raises(InvalidInputError, match="compares what its own encode methods give"):
            splade.similarity(*wrong)


def test_lengths_of_queries_and_documents(colbert_folder: Path, colbert: Embedder) -> None:
    long = "panda bear " * 30
    assert colbert.max_length == 24
    assert colbert.encode_documents(long).tokens.tolist() == [24]
    assert colbert.encode_queries(long).tokens.tolist() == [12]
    assert colbert.encode_queries(long, max_length=20).tokens.tolist() == [20]  # asked for: not cut, not filled up
    assert colbert.encode_queries(long, max_length=6).tokens.tolist() == [12]  # cut to 6, then filled up
    assert colbert.encode_documents(long, max_length=50).tokens.tolist() == [50]
    with Embedder(colbert_folder, precision="f32", max_length=40) as wide:
        assert (wide.encode_documents(long).tokens[0], wide.encode_queries(long).tokens[0]) == (40, 12)
    with Embedder(colbert_folder, precision="f32", max_length=6) as narrow:
        found = narrow.encode_queries("panda")
        assert narrow.encode_documents(long).tokens.tolist() == [6]
        assert (found.tokens.tolist(), found.truncated.tolist()) == ([12], [False])


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"query_prefix": "[X] "}, r"marker '\[X\] ' is no token"), ({"document_prefix": "<d>"}, "marker '<d>' is no")],
)
def test_a_marker_that_is_no_token_is_refused(tmp_path: Path, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        Embedder(write_colbert(tmp_path / "m", **settings), precision="f32")


def test_an_expansion_token_that_is_no_token_is_refused(tmp_path: Path) -> None:
    expansion = {"strategy": "fixed", "length": 12, "token": "[FILL]"}
    folder = write_colbert(tmp_path / "m", layout="sentence-transformers", query_expansion=expansion)
    with pytest.raises(CheckpointError, match=r"expansion token '\[FILL\]' is no token"):
        Embedder(folder, precision="f32")


def test_weights_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cls\.predictions\.transform\.dense\.weight.* is missing"):
        Embedder(write_plain(tmp_path / "plain"), pooling="splade_max", precision="f32")
    folder = write_colbert(tmp_path / "m")
    (folder / "1_Dense/model.safetensors").write_bytes((write_plain(tmp_path / "p") / "model.safetensors").read_bytes())
    with Embedder(folder, precision="f32") as model, pytest.raises(CheckpointError, match=r"'linear\.weight'"):
        model.encode("panda")


def test_long_rows_are_computed_few_at_a_time(splade_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Embedder(splade_folder, precision="f32", threads=1) as model:
        whole = model.encode(["a"] * 60).sparse
        monkeypatch.setattr(pipeline, "_NUMBERS", 7 * model.engine.output)
        rows: list[int] = []
        submit = model._loaded.engine.submit
        monkeypatch.setattr(model._loaded.engine, "submit", lambda b, o: rows.append(len(b.lengths)) or submit(b, o))
        again = model.encode(["a"] * 60).sparse
    assert max(rows) == 7
    assert whole is not None
    assert again is not None
    np.testing.assert_array_equal(again.indices, whole.indices)


def test_flag_classes_say_what_such_a_model_gives(tmp_path: Path, splade_folder: Path, colbert_folder: Path) -> None:
    for folder, kind in ((splade_folder, "SPLADE"), (colbert_folder, "ColBERT")):
        with pytest.raises(InvalidInputError, match=f"is a {kind} model"):
            FlagModel(str(folder))
    one = FlagModel(str(splade_folder), pooling_method="splade_max")
    with pytest.raises(InvalidInputError, match="gives sparse output, not dense"):
        one.encode("panda")
    three = BGEM3FlagModel(str(write_masked_lm(tmp_path / "m")), pooling_method="splade_max")
    with pytest.raises(InvalidInputError, match="gives sparse output, not dense"):
        three.encode("panda")
    assert three.encode("panda", return_dense=False, return_sparse=True)["lexical_weights"]


def test_windows_of_a_document_give_each_token_one_vector(colbert: Embedder) -> None:
    text = " ".join(some_texts(3, seed=5, longest=25))
    whole = colbert.encode_documents(text, max_length=64)
    assert whole.tokens[0] > 24
    found = colbert.encode_documents(text, max_length=20, truncation=Windows(overlap=6))
    assert found.tokens[0] == whole.tokens[0]
    assert not found.truncated[0]
    assert whole.multivector is not None
    assert found.multivector is not None
    assert found.multivector[0].shape == whole.multivector[0].shape
    np.testing.assert_allclose(np.linalg.norm(found.multivector[0], axis=1), 1, atol=1e-5)
    short = text.split()[0]
    fits, plain = colbert.encode_documents(short, truncation=Windows()), colbert.encode_documents(short)
    assert fits.multivector is not None
    assert plain.multivector is not None
    np.testing.assert_array_equal(fits.multivector[0], plain.multivector[0])


def test_windows_of_a_splade_text_give_the_largest_weights(splade: Embedder) -> None:
    text = " ".join(some_texts(6, seed=7, longest=30))
    found = splade.encode(text, max_length=20, truncation=Windows(overlap=0)).sparse
    first = splade.encode(text, max_length=20).sparse
    assert found is not None
    assert first is not None
    kept = found[0]
    assert all(kept[token] >= weight - 1e-6 for token, weight in first[0].items())


def test_windows_that_would_count_twice_or_have_no_place_are_refused(colbert: Embedder, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="fills queries up"):
        colbert.encode_queries("panda", truncation=Windows())
    with (
        Embedder(write_splade(tmp_path / "sum", pooling_strategy="sum"), precision="f32") as summed,
        pytest.raises(UnsupportedModelError, match="sums weights"),
    ):
        summed.encode("panda", truncation=Windows())
    with pytest.raises(UnsupportedModelError, match="MultiCls is for models that pool the CLS token"):
        colbert.encode("panda", truncation=MultiCls())
    with pytest.raises(InvalidInputError, match="gives no dense vectors"):
        colbert.encode_spans("a panda", [(0, 1)])
