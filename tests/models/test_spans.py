"""Late chunking: vectors of spans of characters, from one pass over the whole text."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lagotto import Embedder, MultiCls, SpanEmbeddings, Windows
from lagotto.batch.sequences import Sequences, pad
from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError, TextTooLongError, UnsupportedModelError
from support.checkpoints import BERT, WORDS, XLMR, DenseLayer, change_json, write_embedder

TEXT = "The giant panda is a bear. It is good! 熊猫是动物。"
CLOSE = 3e-6


@pytest.fixture(scope="module")
def mean(tiny_xlmr: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(tiny_xlmr, precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="module")
def lowering(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Embedder]:
    """A model whose texts are lowercased before they come to a tokenizer that tells cases apart."""
    folder = write_embedder(tmp_path_factory.mktemp("models") / "lowering", XLMR, pooling="mean")
    change_json(folder / "sentence_bert_config.json", do_lower_case=True)
    with Embedder(folder, precision="f32", threads=2) as model:
        assert model._loaded.checkpoint.lowercase
        yield model


@pytest.fixture(params=["embedder", "mean", "lowering"])
def model(request: pytest.FixtureRequest) -> Embedder:
    found: Embedder = request.getfixturevalue(request.param)
    return found


def states_of(model: Embedder, ids: list[int]) -> np.ndarray:
    """(tokens, hidden) of one sequence, straight from the engine."""
    sequences = Sequences([np.array(ids, np.int32)], [len(ids)], [False], [0], 1)
    return model._loaded.engine.submit(pad(sequences, [0], 0), "states").result()[0, : len(ids)]


def by_hand(model: Embedder, text: str, words: list[tuple[int, int]]) -> np.ndarray:
    """Means over the tokens of spans that begin and end at words, found by tokenising what stands before their ends."""
    tokenizer = model._loaded.tokenizer
    states = states_of(model, tokenizer.encode([text], 64).ids[0].tolist())
    counts = [[tokenizer.count(text[:place].rstrip()) for place in span] for span in words]
    return np.stack([states[1 + first : 1 + end].mean(axis=0) for first, end in counts])


def test_a_span_is_the_mean_of_its_tokens_states(model: Embedder) -> None:
    spans = [(0, 26), (27, 38), (39, len(TEXT)), (4, 15), (0, len(TEXT))]
    found = model.encode_spans(TEXT, spans)
    np.testing.assert_allclose(found[0], normalize(by_hand(model, TEXT, spans)), atol=CLOSE)
    raw = model.encode_spans(TEXT, spans, normalize=False)
    np.testing.assert_allclose(raw[0], by_hand(model, TEXT, spans), atol=1e-5)
    short = model.encode_spans(TEXT, spans, dimensions=8)
    np.testing.assert_allclose(short[0], normalize(by_hand(model, TEXT, spans)[:, :8]), atol=CLOSE)


def test_a_span_knows_what_stands_around_it(embedder: Embedder) -> None:
    one = embedder.encode_spans("the dog and the river", [(4, 7)])
    other = embedder.encode_spans("the dog and the fire", [(4, 7)])
    assert np.abs(one.dense - other.dense).max() > 1e-3


def test_the_value(embedder: Embedder) -> None:
    texts = ["the dog", "the cat and the bear", "word"]
    found = embedder.encode_spans(texts, [[(0, 7)], [], [(0, 4), (0, 4)]])
    assert isinstance(found, SpanEmbeddings)
    assert [part.shape for part in found] == [(1, 32), (0, 32), (2, 32)]
    assert found.offsets.tolist() == [0, 1, 1, 3]
    assert found.span_tokens.tolist() == [2, 1, 1]
    assert found.tokens.tolist() == embedder.encode(texts).tokens.tolist()
    assert not found.truncated.any()
    assert np.asarray(found).shape == (3, 32)
    assert found.dense.dtype == np.float32
    assert repr(found) == "SpanEmbeddings(3 texts, 3 spans x 32, 14 tokens)"
    np.testing.assert_array_equal(found[-1], found[2])
    none = embedder.encode_spans([], [], dimensions=8)
    assert (len(none), none.dense.shape) == (0, (0, 8))


@pytest.mark.parametrize(
    ("role", "text", "prompt"),
    [("query", None, None), ("document", None, None), ("text", None, "find query: "), ("query", None, "寻找")],
)
def test_a_prompt_belongs_to_no_span(tmp_path: Path, role: Any, text: None, prompt: str | None) -> None:
    folder = write_embedder(tmp_path / "model", BERT, prompts={"query": "search: ", "document": "passage: "})
    with Embedder(folder, precision="f32", threads=2) as model:
        written = {"query": "search: ", "document": "passage: ", "text": ""}[role] if prompt is None else prompt
        found = model.encode_spans(TEXT, [(0, 26), (0, len(TEXT))], role=role, prompt=prompt)
        shift = len(written)
        expected = by_hand(model, written + TEXT, [(shift, shift + 26), (shift, shift + len(TEXT))])
        np.testing.assert_allclose(found[0], normalize(expected), atol=CLOSE)


# Characters and tokens.

PIECES = [
    "the dog",
    " ",
    "\r\n",
    "熊猫",
    "🐕🐕",
    "e\u0301",
    "ﬁre",
    "½",
    "Ｈi",
    "İX",
    "ΑΣ",
    "…",
    "\u200b",
    "don't",
    "  ",
    "㍿",
]


@settings(max_examples=60)
@given(st.lists(st.sampled_from(PIECES), min_size=1, max_size=12), st.data(), st.booleans())
def test_spans_are_those_of_the_original_text(
    embedder: Embedder, mean: Embedder, lowering: Embedder, pieces: list[str], data: st.DataObject, prompted: bool
) -> None:
    """A text cut at one place: what tokens lie on which side does not depend on what is written on the other."""
    text = "".join(pieces)
    at = data.draw(st.integers(0, len(text)))
    for model in (embedder, mean, lowering):
        tokenizer = model._loaded.tokenizer
        prompt = "İ ½: " if prompted else ""
        _, (ranges,) = tokenizer.encode_with_ranges([prompt + text], 64, around=(prompt, ""))
        small = ranges.ranges
        assert ((small >= -len(prompt)) & (small <= len(text))).all()
        assert (small[:, 0] <= small[:, 1]).all()
        for start, end in small.tolist():
            part = (prompt + text)[start + len(prompt) : end + len(prompt)]
            assert part == part.strip() or part.isspace()
        before, after = ranges.find([(0, at), (at, len(text))])
        brute = [n for n, (start, end) in enumerate(small.tolist()) if max(start, 0) < min(end, at)]
        assert before.tolist() == brute
        inside = [n for n, (start, end) in enumerate(small.tolist()) if max(start, 0) < end]
        assert sorted({*before.tolist(), *after.tolist()}) == inside


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("dog\r\ncat", (5, 8)),
        ("ﬁre ½ cat", (6, 9)),
        ("🐕🐕 cat 🐕", (3, 6)),
        ("e\u0301e\u0301 cat", (5, 8)),
        ("İİİ cat dog", (4, 7)),
        ("熊猫cat动物", (2, 5)),
        ("  \t cat  ", (4, 7)),
        ("㍿ cat", (2, 5)),
    ],
)
def test_a_word_is_found_behind_what_changes_length(model: Embedder, text: str, span: tuple[int, int]) -> None:
    assert text[slice(*span)] == "cat"
    _, (ranges,) = model._loaded.tokenizer.encode_with_ranges([text], 64)
    ids = model._loaded.tokenizer.encode([text], 64).ids[0]
    (found,) = ranges.find([span])
    said = model._loaded.tokenizer.decode(ids[found + ranges.first].tolist())
    assert said.replace("##", "").replace(" ", "") == "cat"


# Texts beyond the limit.

LONG = " ".join([word for word in WORDS if len(word) > 1] * 4)


@settings(max_examples=20)
@given(st.data(), st.integers(9, 64), st.integers(0, 40), st.booleans())
def test_long_texts_are_pooled_over_windows(
    embedder: Embedder, data: st.DataObject, size: int, overlap: int, prompted: bool
) -> None:
    prompt = "find query: " if prompted else ""
    words = data.draw(st.integers(1, 160))
    text = " ".join(LONG.split()[:words])
    ends = np.cumsum([len(word) + 1 for word in text.split()]) - 1
    starts = ends - [len(word) for word in text.split()]
    pairs = [sorted(data.draw(st.tuples(*[st.integers(0, words - 1)] * 2))) for _ in range(6)]
    spans = [(int(starts[a]), int(ends[b])) for a, b in pairs]
    policy = Windows(size, overlap)
    found = embedder.encode_spans(text, spans, prompt=prompt, truncation=policy)
    sequences = embedder._loaded.tokenizer.encode([prompt + text], 64, policy, around=(prompt, ""))
    assert sequences.own is not None
    states = np.concatenate(
        [states_of(embedder, ids.tolist())[slice(*own)] for ids, own in zip(sequences.ids, sequences.own, strict=True)]
    )
    shift = 1 + (3 if prompted else 0)
    expected = np.stack([states[shift + a : shift + b + 1].mean(axis=0) for a, b in pairs])
    np.testing.assert_allclose(found[0], normalize(expected), atol=CLOSE)
    assert found.span_tokens.tolist() == [b - a + 1 for a, b in pairs]
    assert found.tokens.tolist() == [words + shift + 1]
    if words + shift + 1 <= size:
        np.testing.assert_array_equal(found.dense, embedder.encode_spans(text, spans, prompt=prompt).dense)


def test_windows_of_many_texts_side_by_side(model: Embedder) -> None:
    texts = [TEXT, LONG, "the dog", LONG[::-1]]
    spans = [[(0, 5)], [(0, 30), (500, 600), (10, len(LONG))], [(4, 7)], [(100, 300)]]
    together = model.encode_spans(texts, spans, truncation=Windows(20, 4))
    for place, (text, of) in enumerate(zip(texts, spans, strict=True)):
        alone = model.encode_spans(text, of, truncation=Windows(20, 4))
        np.testing.assert_allclose(together[place], alone[0], atol=CLOSE)


def test_a_span_that_was_cut_off_is_an_error_that_names_it(embedder: Embedder) -> None:
    kept = embedder.encode_spans(LONG, [(0, 20)])
    assert (kept.truncated.tolist(), kept.tokens.tolist()) == ([True], [64])
    last = (len(LONG) - 5, len(LONG))
    with pytest.raises(TextTooLongError, match=r"text 1, span 1, characters \d+ to \d+, lies in what was cut off"):
        embedder.encode_spans(["the dog", LONG], [[(0, 3)], [(0, 20), last]])
    with pytest.raises(TextTooLongError, match=r"span 0.*Windows"):
        embedder.encode_spans(LONG, [(0, len(LONG))])
    with pytest.raises(TextTooLongError, match="text 0, span 0"):
        embedder.encode_spans(LONG, [(0, 20)], truncation="left")
    with pytest.raises(TextTooLongError, match="text 0 has"):
        embedder.encode_spans(LONG, [(0, 20)], truncation="error")
    left = embedder.encode_spans(LONG, [last], truncation="left")
    ids = embedder._loaded.tokenizer.encode([LONG], 64, "left").ids[0].tolist()
    np.testing.assert_allclose(left[0][0], normalize(states_of(embedder, ids)[-2:-1])[0], atol=CLOSE)


def test_a_thousand_windows_of_spans(embedder: Embedder) -> None:
    sentence = "the giant panda is a bear. "
    text = sentence * 8_000
    spans = [(at, at + len(sentence) - 1) for at in range(0, len(text), len(sentence))]
    found = embedder.encode_spans(text, spans, truncation=Windows(overlap=8))
    assert set(found.span_tokens.tolist()) == {7}
    np.testing.assert_allclose(np.linalg.norm(found.dense, axis=1), 1, atol=1e-6)


# What is no span.


@pytest.mark.parametrize(
    ("spans", "match"),
    [
        ([(0, 3), (-1, 3)], r"text 0, span 1 is \(-1, 3\)"),
        ([(3, 0)], r"\(3, 0\); 0 <= start < end <= 7"),
        ([(2, 2)], r"\(2, 2\)"),
        ([(0, 8)], r"\(0, 8\)"),
        ([(0.0, 3)], "start and end are integers"),
        ([(True, 3)], "start and end are integers"),
        ([(0, None)], "start and end are integers"),
        ([("0", "3")], "start and end are integers"),
        ([(0, 3, 5)], "a span is a pair"),
        ([(0,)], "a span is a pair"),
        (["ab"], "a span is a pair"),
        ([3], "a span is a pair"),
        ([[(0, 3)]], "a span is a pair"),
        ((0, 3), "text 0, span 0 is 0; a span is a pair"),
        ("text", "spans is a str"),
        (None, "spans is a NoneType"),
        ({0: 3}, "spans is a dict"),
    ],
)
def test_what_is_no_span_of_a_string(embedder: Embedder, spans: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        embedder.encode_spans("the dog", spans)


@pytest.mark.parametrize(
    ("spans", "match"),
    [
        ([(0, 3), (4, 7)], "text 0, span 0 is 0"),
        ([[(0, 3)]], "spans has lists for 1 texts, and text 1 came too"),
        ([[(0, 3)], [], []], "there are 2 texts and more lists of spans"),
        ([[(0, 3)], [(0, 9)]], r"text 1, span 0 is \(0, 9\)"),
        ([[(0, 3)], None], "spans of text 1 are None"),
        ([[(0, 3)], "ab"], "spans of text 1 are 'ab'"),
    ],
)
def test_what_are_no_spans_of_texts(embedder: Embedder, spans: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        embedder.encode_spans(["the dog", "the cat"], spans)


def test_a_span_without_a_token_is_named(embedder: Embedder) -> None:
    with pytest.raises(InvalidInputError, match=r"text 1, span 1, characters 3 to 5, has no token: it is '  '"):
        embedder.encode_spans(["the", "the  dog"], [[(0, 3)], [(0, 3), (3, 5)]])
    with pytest.raises(InvalidInputError, match="has no token"):
        embedder.encode_spans("  ", [(0, 2)])


def test_numpy_spans_and_iterators_are_fine(embedder: Embedder) -> None:
    expected = embedder.encode_spans(["the dog", "the cat"], [[(0, 3)], [(4, 7)]]).dense
    arrays = embedder.encode_spans(iter(["the dog", "the cat"]), iter([np.array([[0, 3]]), np.array([[4, 7]])]))
    np.testing.assert_array_equal(arrays.dense, expected)


def test_what_spans_cannot_have(embedder: Embedder, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="MultiCls"):
        embedder.encode_spans("the dog", [(0, 3)], truncation=MultiCls())
    with pytest.raises(InvalidInputError, match="dimensions is 33"):
        embedder.encode_spans("the dog", [(0, 3)], dimensions=33)
    with pytest.raises(InvalidInputError, match="text 0 is a int"):
        embedder.encode_spans([3], [[]])  # type: ignore[list-item]
    folder = write_embedder(tmp_path / "dense", XLMR, dense=[DenseLayer(8)])
    with Embedder(folder, precision="f32") as model, pytest.raises(UnsupportedModelError, match="Dense modules"):
        model.encode_spans("the dog", [(0, 3)])


def test_progress_counts_texts(embedder: Embedder) -> None:
    told: list[int] = []
    embedder.encode_spans(["the dog", LONG], [[(0, 3)], []], truncation=Windows(20, 4), progress=told.append)
    assert sum(told) == 2
