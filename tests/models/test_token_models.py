"""Models without a dense vector: what they give, what they refuse, and what others do with them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, MultiCls, Windows
from lagotto.batch.sequences import Batch
from lagotto.batch.windows import windows
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.engines.openvino import engine
from lagotto.flag import BGEM3FlagModel, FlagModel
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from lagotto.models import pipeline
from support.checkpoints import WORDS, DenseLayer, some_texts, write_embedder, write_m3, write_plain
from support.token_models import write_colbert, write_masked_lm, write_splade

TEXTS = some_texts(20, seed=3, longest=30)
LONG = " ".join([word for word in WORDS if len(word) > 1] * 3)  # each one token


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
    with pytest.raises(InvalidInputError, match="gives sparse output, not dense"):
        splade.encode_ids(ids, outputs={"dense"})


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


@pytest.mark.parametrize("most", [None, 5])
def test_windows_of_weights_are_what_one_pass_over_them_gives(tmp_path: Path, most: int | None) -> None:
    folder = write_splade(tmp_path / "m", settings={"max_active_dims": most})
    with Embedder(folder, precision="f32", threads=2) as model:
        words = LONG.split()
        whole = model.encode(["panda", LONG], truncation=Windows(20, overlap=4))
        parts = [model.encode(" ".join(words[slice(*span)])).sparse for span in windows(len(words), 18, 4)]
    found, largest = whole.sparse, np.zeros(model.engine.output, np.float32)
    assert found is not None
    assert len(parts) > 2
    for part in parts:
        assert part is not None
        largest[part.indices] = np.maximum(largest[part.indices], part.values)
    expected = np.sort(largest[largest > 0])[::-1][:most]
    np.testing.assert_allclose(np.sort(found.row(1)[1])[::-1], expected, atol=1e-5)
    np.testing.assert_allclose(largest[found.row(1)[0]], found.row(1)[1], atol=1e-5)
    assert whole.tokens.tolist() == [3, len(words) + 2]
    assert not whole.truncated.any()


def test_windows_of_token_vectors_give_each_token_once(colbert: Embedder) -> None:
    words = LONG.split()
    found = colbert.encode_documents(["panda", LONG], truncation=Windows(20, overlap=0))
    short = colbert.encode_documents("panda").multivector
    first = colbert.encode_documents(" ".join(words[:17])).multivector  # beside [CLS], the marker and [SEP]
    assert found.multivector is not None
    assert short is not None
    assert first is not None
    np.testing.assert_allclose(found.multivector.row(0), short.row(0), atol=1e-5)
    assert found.tokens.tolist() == [4, len(words) + 3]
    assert np.diff(found.multivector.offsets).tolist() == [4, len(words) + 3]
    np.testing.assert_allclose(found.multivector.row(1)[:19], first.row(0)[:19], atol=1e-5)


def test_ways_to_read_long_texts_that_have_no_meaning_are_refused(tmp_path: Path, colbert: Embedder) -> None:
    with Embedder(write_splade(tmp_path / "m", pooling_strategy="sum"), precision="f32") as summed:
        assert summed.encode("panda").sparse is not None
        with pytest.raises(UnsupportedModelError, match="adds up the weights"):
            summed.encode("panda", truncation=Windows())
        with pytest.raises(UnsupportedModelError, match="MultiCls is for models that pool the CLS token"):
            summed.encode("panda", truncation=MultiCls())
    with pytest.raises(UnsupportedModelError, match="fills queries up to 12 tokens"):
        colbert.encode_queries("panda", truncation=Windows())
    with pytest.raises(UnsupportedModelError, match="MultiCls is for models that pool the CLS token"):
        colbert.encode_documents("panda", truncation=MultiCls())


def test_states_are_those_of_all_that_a_query_is_filled_up_with(colbert: Embedder) -> None:
    states = colbert.encode_states("panda", role="query")
    assert states.tokens.tolist() == [12]
    assert states.multivector is not None
    assert len(states.multivector.row(0)) == 12


def test_spans_need_dense_vectors(splade: Embedder, colbert: Embedder) -> None:
    for model, own in ((splade, "sparse"), (colbert, "multivector")):
        with pytest.raises(InvalidInputError, match=f"gives {own} output, not dense"):
            model.encode_spans("panda", [(0, 5)])


def test_the_torch_engine_is_refused(splade_folder: Path, colbert_folder: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    for folder in (splade_folder, colbert_folder):
        with pytest.raises(UnsupportedModelError, match="by engine 'openvino' alone"):
            Embedder(folder, engine="torch")


def test_a_colbert_graph_has_states_from_the_start(
    tmp_path: Path, colbert_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built: list[bool] = []
    build = engine.build

    def counted(checkpoint: Any, *, states: bool) -> Any:
        built.append(states)
        return build(checkpoint, states=states)

    monkeypatch.setattr(engine, "build", counted)
    with Embedder(colbert_folder, precision="f32", cache_dir=tmp_path) as model:
        model.encode_queries("panda")
    assert built == [True]


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
        texts = some_texts(60, seed=2, longest=6)  # the same text would be computed once
        whole = model.encode(texts).sparse
        monkeypatch.setattr(pipeline, "_NUMBERS", 7 * model.engine.output)
        rows: list[int] = []
        submit = model._loaded.engine.submit
        monkeypatch.setattr(model._loaded.engine, "submit", lambda b, o: rows.append(len(b.lengths)) or submit(b, o))
        again = model.encode(texts).sparse
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


def test_filled_queries_of_many_callers_keep_their_fillers(colbert: Embedder) -> None:
    queries = ["panda", "a dog", "what is a panda?", "cat", "panda [MASK]"] * 4
    alone = [colbert.encode_queries(query).multivector for query in queries]
    with ThreadPoolExecutor(8) as pool:  # whose rows wait side by side and are put together anew
        together = list(pool.map(lambda query: colbert.encode_queries(query).multivector, queries))
    for one, other in zip(alone, together, strict=True):
        assert one is not None
        assert other is not None
        np.testing.assert_allclose(other[0], one[0], atol=2e-5)


def test_the_sizes_of_a_batch_count_what_its_tokens_do_not_see() -> None:
    ids = np.array([[1, 5, 9, 9, 0], [1, 0, 2, 0, 0], [1, 2, 0, 0, 0]], np.int32)
    batch = Batch(ids, np.array([2, 3, 4], np.int32), np.array([5, 5, 5], np.int32), pad_id=0)
    assert batch.sizes() == [4, 3, 4]
