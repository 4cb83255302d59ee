"""`VectorStore.encode`: dense, sparse and multi-vector output in files of their own, and never computed twice."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import ModelNotFoundError
from lagotto.evaluation import store as module
from lagotto.evaluation.instructions import Wording
from lagotto.evaluation.pipeline import Encoder
from lagotto.evaluation.store import VectorStore
from lagotto.evaluation.workbench import Workbench
from support.checkpoints import some_texts

TEXTS = some_texts(20, seed=1, longest=20)
PLAIN = Wording()
ALL = ("dense", "sparse", "multivector")


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Blocks of 8 texts, whose token vectors lie in parts of 3, 3 and 2."""
    monkeypatch.setattr(module, "BLOCK", 8)
    monkeypatch.setattr(module, "PART", 3)


@pytest.fixture
def model(counts, bench: Workbench, tiny_m3: Path) -> Embedder:
    """`tiny_m3`, whose work is counted."""
    return bench.embedder(Encoder(str(tiny_m3)))


def files(store: VectorStore) -> list[Path]:
    return sorted(store.folder.rglob("*.npz"))


@pytest.mark.parametrize("outputs", [ALL, ("sparse",), ("multivector",), ("dense", "multivector")])
def test_outputs_are_those_of_the_embedder(store, model, outputs):
    found, wanted = store.encode(model, TEXTS, PLAIN, outputs), model.encode(TEXTS, outputs=ALL)
    assert {name for name in ALL if getattr(found, name) is not None} == set(outputs)
    if found.dense is not None:
        np.testing.assert_allclose(found.dense.values(), wanted.dense, atol=1e-5)
    if found.sparse is not None:
        sparse = found.sparse.values()
        assert sparse.vocabulary == wanted.sparse.vocabulary
        for name in ("indptr", "indices"):
            np.testing.assert_array_equal(getattr(sparse, name), getattr(wanted.sparse, name))
        np.testing.assert_allclose(sparse.values, wanted.sparse.values, atol=1e-5)
    if found.multivector is not None:
        vectors = found.multivector.values()
        np.testing.assert_array_equal(vectors.offsets, wanted.multivector.offsets)
        assert vectors.vectors.dtype == np.float16
        np.testing.assert_allclose(vectors.vectors, wanted.multivector.vectors, atol=1e-3)
        assert found.multivector.sizes == [3, 3, 2, 3, 3, 2, 3, 1]
    for name in outputs:
        stored = found.part(name)
        assert len(stored) == len(TEXTS)
        assert stored.tokens.tolist() == wanted.tokens.tolist()
        assert stored.seconds > 0


def test_one_pass_for_all_outputs_and_none_for_what_is_there(store, model, counts):
    counts.clear()
    first = store.encode(model, TEXTS, PLAIN, ALL)
    assert counts.texts == 20
    assert [outputs for _, outputs in counts.outputs] == [set(ALL)] * 8
    again = store.encode(model, TEXTS, PLAIN, ALL)
    assert counts.texts == 20
    for name in ALL:
        assert again.part(name).cached == 20
        assert again.part(name).seconds == pytest.approx(first.part(name).seconds)
    assert again.dense.seconds == pytest.approx(again.multivector.seconds)  # it was one pass
    assert store.encode(model, TEXTS, PLAIN, ("sparse",)).sparse.cached == 20
    assert store.embed(model, TEXTS, PLAIN).cached == 20
    assert counts.texts == 20


@pytest.mark.parametrize(
    ("before", "outputs", "computed"),
    [
        (("dense",), ALL, {"sparse", "multivector"}),
        (("multivector",), ALL, {"dense", "sparse"}),
        (("sparse", "multivector"), ("dense", "sparse"), {"dense"}),
        (("dense", "sparse"), ("multivector",), {"multivector"}),
    ],
)
def test_only_what_is_missing_is_computed(store, model, counts, before, outputs, computed):
    store.encode(model, TEXTS, PLAIN, before)
    counts.clear()
    found = store.encode(model, TEXTS, PLAIN, outputs)
    assert counts.texts == 20
    assert all(made == computed for _, made in counts.outputs)
    for name in outputs:
        assert found.part(name).cached == (0 if name in computed else 20)


def test_an_interruption_keeps_the_parts_before_it(store, model, counts):
    seen = 0

    def done(count: int) -> None:
        nonlocal seen
        seen += count
        if seen > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store.encode(model, TEXTS, PLAIN, ALL, done)
    assert len(files(store)) == 2 + 3 + 1  # a whole block of all, and a part of the next
    counts.clear()
    found = store.encode(model, TEXTS, PLAIN, ALL)
    assert counts.texts == 12
    assert (found.dense.cached, found.sparse.cached, found.multivector.cached) == (8, 8, 11)
    wanted = model.encode(TEXTS, outputs=ALL)
    np.testing.assert_allclose(found.dense.values(), wanted.dense, atol=1e-5)
    np.testing.assert_allclose(found.multivector.values().vectors, wanted.multivector.vectors, atol=1e-3)


def test_a_damaged_part_is_computed_again_alone(store, model, counts, caplog):
    wanted = store.encode(model, TEXTS, PLAIN, ALL)
    damaged = wanted.multivector.paths[4]
    damaged.write_bytes(damaged.read_bytes()[:-50])
    counts.clear()
    found = store.encode(model, TEXTS, PLAIN, ALL)
    assert counts.outputs == [(3, {"multivector"})]
    assert f"{damaged} is damaged" in caplog.text
    np.testing.assert_array_equal(found.multivector.values().vectors, wanted.multivector.values().vectors)


def test_a_damaged_block_of_weights_is_computed_again_alone(store, model, counts):
    wanted = store.encode(model, TEXTS, PLAIN, ("dense", "sparse"))
    wanted.sparse.paths[1].write_bytes(wanted.dense.paths[1].read_bytes())
    counts.clear()
    assert store.encode(model, TEXTS, PLAIN, ("dense", "sparse")).sparse.cached == 12
    assert counts.outputs == [(8, {"sparse"})]


def test_progress_hears_of_every_text_once(store, model):
    for outputs in (("dense",), ALL, ALL, ("multivector",)):
        heard: list[int] = []
        store.encode(model, TEXTS, PLAIN, outputs, heard.append)
        assert sum(heard) == 20


def test_long_texts_make_small_parts(store, model, monkeypatch):
    monkeypatch.setattr(module, "PART_CHARACTERS", 10)
    texts = ["x" * 50, "a", "b", "y" * 9, "c"]
    assert store.encode(model, texts, PLAIN, ALL).multivector.sizes == [1, 3, 1]


def test_no_texts(store, model):
    found = store.encode(model, [], PLAIN, ALL)
    for name in ALL:
        stored = found.part(name)
        assert len(stored) == len(stored.tokens) == len(stored.values()) == 0
        assert list(stored.blocks()) == []
    assert not store.folder.exists()


def test_texts_without_a_word(store, model):
    found = store.encode(model, ["", " "], PLAIN, ALL)
    assert np.diff(found.sparse.values().indptr).tolist() == [0, 0]
    assert np.diff(found.multivector.values().offsets).tolist() == [1, 1]  # the end mark


def test_outputs_that_a_model_lacks(store, bench, tiny_bert, counts):
    model = bench.embedder(Encoder(str(tiny_bert)))
    lacking: Collection[str]
    for lacking in (("sparse",), ALL):
        with pytest.raises(ModelNotFoundError, match="output needs"):
            store.encode(model, TEXTS, PLAIN, lacking)
    assert not files(store)
