"""Texts beyond the limit, read whole: windows and their combination, CLS tokens put in."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lagotto import Embedder, MultiCls, Windows
from lagotto.batch.windows import shares, windows
from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError, TextTooLongError, UnsupportedModelError
from support.checkpoints import WORDS as ALL_WORDS
from support.checkpoints import XLMR, DenseLayer, some_texts, write_embedder, write_m3

ALL = {"dense", "sparse", "multivector"}
WORDS = [word for word in ALL_WORDS if len(word) > 1]  # each one token
LONG = " ".join(WORDS * 6)
CLOSE = 3e-6


@pytest.fixture(scope="module")
def m3(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Embedder]:
    folder = write_m3(tmp_path_factory.mktemp("m3") / "tiny", width=16)
    with Embedder(folder, pooling="cls", precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def mean(tiny_xlmr: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(tiny_xlmr, precision="f32", threads=2) as model:
        yield model


def parts_of(text: str, held: int, overlap: int) -> tuple[list[str], list[int]]:
    """The windows of a text of one token a word, as texts, and the tokens each speaks for."""
    words = text.split()
    spans = windows(len(words), held, overlap)
    weights = [end - start for start, end in shares(spans)]
    weights[0], weights[-1] = weights[0] + 1, weights[-1] + 1  # special tokens
    return [" ".join(words[start:end]) for start, end in spans], weights


@pytest.mark.parametrize("name", ["embedder", "mean"])
@pytest.mark.parametrize("unit", [True, False])
def test_the_mean_of_windows_is_weighted_by_what_they_speak_for(
    request: pytest.FixtureRequest, name: str, unit: bool
) -> None:
    model: Embedder = request.getfixturevalue(name)
    found = model.encode(["the dog", LONG], truncation=Windows(22, overlap=6), normalize=unit)
    parts, weights = parts_of(LONG, 20, 6)
    vectors = model.encode(parts, normalize=unit).dense
    expected = np.average(vectors, axis=0, weights=weights)
    np.testing.assert_allclose(found.dense[1], normalize(expected) if unit else expected, atol=CLOSE)
    assert found.tokens.tolist() == [model.encode("the dog").tokens[0], len(LONG.split()) + 2]
    assert found.truncated.tolist() == [False, False]


def test_the_largest_of_windows(embedder: Embedder) -> None:
    found = embedder.encode(LONG, truncation=Windows(overlap=6, combine="max"), dimensions=8)
    vectors = embedder.encode(parts_of(LONG, 62, 6)[0], dimensions=8).dense
    np.testing.assert_allclose(found.dense[0], normalize(vectors.max(axis=0)), atol=CLOSE)


@settings(max_examples=25)
@given(
    st.lists(st.integers(0, 150), min_size=1, max_size=6),
    st.integers(5, 64),
    st.integers(0, 64),
    st.sampled_from(["mean", "max"]),
)
def test_texts_that_fit_are_as_without_windows_and_the_others_are_whole(
    embedder: Embedder, lengths: list[int], size: int, overlap: int, combine: Any
) -> None:
    texts = [" ".join((WORDS * 4)[:length]) for length in lengths]
    found = embedder.encode(texts, truncation=Windows(size, overlap, combine))
    plain = embedder.encode(texts)
    assert found.tokens.tolist() == [length + 2 for length in lengths]
    assert not found.truncated.any()
    np.testing.assert_allclose(np.linalg.norm(found.dense, axis=1), 1, atol=1e-6)
    fits = np.array(lengths) + 2 <= size
    np.testing.assert_allclose(found.dense[fits], plain.dense[fits], atol=CLOSE)


def test_a_text_that_fits_is_the_same_to_the_bit(m3: Embedder) -> None:
    texts = some_texts(20, seed=3, longest=20)
    plain = m3.encode(texts, outputs=ALL)
    for policy in (Windows(), Windows(combine="max"), MultiCls(62)):
        found = m3.encode(texts, outputs=ALL, truncation=policy)
        np.testing.assert_array_equal(found.tokens, plain.tokens)
        np.testing.assert_array_equal(found.multivector.vectors, plain.multivector.vectors)  # type: ignore[union-attr]
        np.testing.assert_array_equal(found.sparse.values, plain.sparse.values)  # type: ignore[union-attr]
        np.testing.assert_allclose(found.dense, plain.dense, atol=1e-7 if policy == MultiCls(62) else 0)


def test_a_text_alone_and_among_others(embedder: Embedder) -> None:
    texts = [LONG, "the dog", *some_texts(30, seed=8, longest=200)]
    together = embedder.encode(texts, truncation=Windows(30, 8)).dense
    alone = np.concatenate([embedder.encode(text, truncation=Windows(30, 8)).dense for text in texts])
    np.testing.assert_allclose(together, alone, atol=CLOSE)


def test_every_window_has_the_prompt(embedder: Embedder) -> None:
    prompt = "find document: "
    found = embedder.encode(LONG, prompt=prompt, truncation=Windows(22, overlap=6))
    parts, weights = parts_of(LONG, 17, 6)
    weights[0] += 3  # the prompt itself counts once
    expected = normalize(np.average(embedder.encode(parts, prompt=prompt).dense, axis=0, weights=weights))
    np.testing.assert_allclose(found.dense[0], expected, atol=CLOSE)
    assert found.tokens[0] == 3 + len(LONG.split()) + 2


def test_a_prompt_without_room_is_refused(embedder: Embedder) -> None:
    with pytest.raises(InvalidInputError, match="text 0: its prompt has 12 tokens"):
        embedder.encode(["the dog", LONG], prompt="the " * 12, truncation=Windows(14))


def test_sparse_weights_are_the_largest_of_all_windows(m3: Embedder) -> None:
    text = " ".join(some_texts(1, seed=11, longest=400) * 3)
    found = m3.encode(["熊猫", LONG, text], outputs={"sparse"}, truncation=Windows(22, 6)).sparse
    assert found is not None
    windowed = m3.encode(parts_of(LONG, 20, 6)[0], outputs={"sparse"}).sparse
    expected: dict[int, float] = {}
    for row in windowed or []:
        for token, weight in row.items():
            expected[token] = max(weight, expected.get(token, 0.0))
    assert found[1] == pytest.approx(expected, abs=CLOSE)
    assert len(found) == 3


def test_token_vectors_come_from_the_window_that_knows_most_around_them(m3: Embedder) -> None:
    found = m3.encode(["the dog", LONG, "the cat"], outputs={"multivector"}, truncation=Windows(22, 6)).multivector
    assert found is not None
    parts, _ = parts_of(LONG, 20, 6)
    spans = windows(len(LONG.split()), 20, 6)
    vectors = m3.encode(parts, outputs={"multivector"}).multivector
    assert vectors is not None
    rows = []
    for (start, _), (first, end), of in zip(spans, shares(spans), vectors, strict=True):
        rows.append(of[first - start : end - start])
    expected = np.concatenate([*rows, vectors.row(len(parts) - 1)[-1:]])  # </s> of the last window
    np.testing.assert_allclose(found.row(1), expected, atol=CLOSE)
    plain = m3.encode(["the dog", "the cat"], outputs={"multivector"}).multivector
    assert plain is not None
    np.testing.assert_allclose(np.concatenate([found.row(0), found.row(2)]), plain.vectors, atol=CLOSE)


def test_ids_are_read_in_windows_too(embedder: Embedder) -> None:
    ids = embedder._loaded.tokenizer.encode([LONG], 10_000).ids[0].tolist()
    found = embedder.encode_ids([ids, ids[:9]], truncation=Windows(22, 6))
    expected = embedder.encode([LONG, " ".join(LONG.split()[:8])], truncation=Windows(22, 6))
    np.testing.assert_allclose(found.dense, expected.dense, atol=CLOSE)
    np.testing.assert_array_equal(found.tokens, expected.tokens)


def test_a_model_may_be_opened_with_windows(tiny_bert: Path) -> None:
    policy = Windows(22, 6)
    with Embedder(tiny_bert, precision="f32", threads=2, truncation=policy) as model:
        assert model.truncation == policy
        whole = model.encode(LONG)
        np.testing.assert_array_equal(whole.dense, model.encode(LONG, truncation=policy).dense)
        assert model.encode(LONG, truncation="right").truncated.tolist() == [True]
    with pytest.raises(InvalidInputError, match="truncation is 'middle'"):
        Embedder(tiny_bert, truncation="middle")  # type: ignore[arg-type]


def test_a_million_characters(embedder: Embedder) -> None:
    text = "the giant panda is a bear. " * 37_100
    assert len(text) > 1_000_000
    found = embedder.encode(text, truncation=Windows(overlap=0))
    assert found.tokens.tolist() == [7 * 37_100 + 2]
    assert found.truncated.tolist() == [False]
    assert np.isfinite(found.dense).all()


def test_windows_stream_through_little_memory(embedder: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.models.pipeline.CHUNK_CHARACTERS", 100_000)

    def peak(texts: int) -> int:
        tracemalloc.start()
        stream = embedder.stream(("the dog and the cat " * 5_000 for _ in range(texts)), truncation=Windows(overlap=0))
        tokens = [int(part.tokens.sum()) for part in stream]
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert tokens == [2 * (5 * 5_000 + 2)] * (texts // 2)
        return found

    peak(2)
    few, many = peak(4), peak(16)
    assert many < 1.3 * few


def test_progress_counts_texts_and_not_windows(embedder: Embedder) -> None:
    told: list[int] = []
    embedder.encode([LONG, "the dog", LONG], truncation=Windows(22, 6), progress=told.append)
    assert sum(told) == 3


def test_cls_tokens_are_for_models_that_pool_them(mean: Embedder, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="has mean pooling"):
        mean.encode(LONG, truncation=MultiCls())
    folder = write_embedder(tmp_path / "dense", XLMR, dense=[DenseLayer(8)])
    with Embedder(folder, precision="f32") as model, pytest.raises(UnsupportedModelError, match="Dense modules"):
        model.encode(LONG, truncation=MultiCls())


def test_cls_tokens_beside_token_outputs(m3: Embedder) -> None:
    found = m3.encode(LONG, outputs=ALL, truncation=MultiCls(10))
    assert (found.tokens.tolist(), found.truncated.tolist()) == ([64], [True])
    assert found.multivector is not None
    inserted = 5  # 62 hold five more of them and 57 tokens
    assert len(found.multivector.row(0)) == 64 - 1 - inserted
    with pytest.raises(TextTooLongError, match="57 fit"):
        m3.encode(LONG, truncation=MultiCls(10, "error"))
