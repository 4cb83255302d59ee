"""(query, document) pairs to token ids, and long documents to windows."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Rust

import lagotto.batch.tokenizer as module
from lagotto.batch.long_texts import Truncation
from lagotto.batch.sequences import Sequences
from lagotto.batch.tokenizer import Tokenizer
from lagotto.batch.windows import windows
from lagotto.core.errors import InvalidInputError, TextTooLongError
from support.checkpoints import BERT, XLMR, Shape, some_texts, tokenizer_for, vocabulary_size

DOCUMENT = " ".join(["the giant panda is a bear and the dog is an animal"] * 20)
QUERY = "what is a panda"


@pytest.fixture(params=["bert", "xlm-roberta"])
def shape(request: pytest.FixtureRequest) -> Shape:
    return BERT if request.param == "bert" else XLMR


@pytest.fixture
def tokenizer(shape: Shape, tiny_reranker: Path, tiny_xlmr_reranker: Path) -> Tokenizer:
    folder = tiny_reranker if shape is BERT else tiny_xlmr_reranker
    return Tokenizer(folder / "tokenizer.json", shape.pad_id, vocab_size=vocabulary_size(shape))


@pytest.fixture
def rust(shape: Shape) -> Rust:
    return tokenizer_for(shape)


def ids(sequences: Sequences) -> list[list[int]]:
    return [row.tolist() for row in sequences.ids]


def bare(rust: Rust, text: str) -> list[int]:
    return list(rust.encode(text, add_special_tokens=False).ids)


def test_pairs_that_fit_are_those_of_tokenizers(tokenizer: Tokenizer, rust: Rust) -> None:
    texts = some_texts(30, longest=8)
    pairs = [("", ""), ("a", ""), ("", "a"), *zip(texts, reversed(texts), strict=True)]
    encoded = tokenizer.encode_pairs(pairs, 500)
    assert ids(encoded) == [encoding.ids for encoding in rust.encode_batch(pairs)]
    assert not any(encoded.truncated)
    assert encoded.owner == list(range(len(pairs)))
    assert encoded.inputs == len(pairs)


def test_token_types_are_those_of_tokenizers(tiny_reranker: Path) -> None:
    tokenizer = Tokenizer(tiny_reranker / "tokenizer.json", 0, vocab_size=vocabulary_size(BERT))
    pairs = [("the dog", "is an animal"), ("", "the cat"), ("a", "")]
    encoded = tokenizer.encode_pairs(pairs, 64)
    for (query, document), row, second in zip(pairs, encoded.ids, encoded.second, strict=True):
        types = tokenizer_for(BERT).encode(query, document).type_ids
        assert [int(place >= second) for place in range(len(row))] == types


def test_a_tokenizer_without_token_types_has_no_second_segment(tiny_xlmr_reranker: Path) -> None:
    tokenizer = Tokenizer(tiny_xlmr_reranker / "tokenizer.json", 1, vocab_size=vocabulary_size(XLMR))
    encoded = tokenizer.encode_pairs([("the dog", "is an animal")], 64)
    assert encoded.second == encoded.lengths()


@pytest.mark.parametrize("direction", ["right", "left"])
@pytest.mark.parametrize("max_length", [16, 30, 64])
def test_a_document_is_cut_as_only_second_does(
    tokenizer: Tokenizer, rust: Rust, max_length: int, direction: Literal["right", "left"]
) -> None:
    rust.enable_truncation(max_length, strategy="only_second", direction=direction)
    encoded = tokenizer.encode_pairs([(QUERY, DOCUMENT), (QUERY, "a")], max_length, direction)
    assert ids(encoded) == [rust.encode(QUERY, DOCUMENT).ids, rust.encode(QUERY, "a").ids]
    assert encoded.truncated == [True, False]


def test_a_long_query_gets_three_quarters(tokenizer: Tokenizer, rust: Rust) -> None:
    encoded = tokenizer.encode_pairs([(DOCUMENT, DOCUMENT)], 40)
    template, document = tokenizer.template, bare(rust, DOCUMENT)
    row = encoded.ids[0].tolist()
    left = 40 - 30 - len(template.prefix) - len(template.between) - len(template.suffix)
    expected = [*template.prefix, *document[:30], *template.between, *document[:left], *template.suffix]
    assert row == expected
    assert encoded.truncated == [True]


@pytest.mark.parametrize("asked", [1, 5, 1000])
def test_the_querys_share_can_be_chosen_but_a_document_keeps_a_token(
    tokenizer: Tokenizer, rust: Rust, asked: int
) -> None:
    encoded = tokenizer.encode_pairs([(DOCUMENT, DOCUMENT)], 20, query_max_length=asked)
    special = len(tokenizer.template.prefix + tokenizer.template.between + tokenizer.template.suffix)
    share = min(asked, 20 - special - 1)
    row = encoded.ids[0].tolist()
    assert len(row) == 20
    start = len(tokenizer.template.prefix)
    assert row[start : start + share] == bare(rust, DOCUMENT)[:share]
    assert row[start + share : start + share + len(tokenizer.template.between)] == list(tokenizer.template.between)


def test_left_truncation_of_a_query_keeps_its_end(tokenizer: Tokenizer, rust: Rust) -> None:
    encoded = tokenizer.encode_pairs([(DOCUMENT, "a")], 20, "left", query_max_length=5)
    assert encoded.ids[0].tolist()[1:6] == bare(rust, DOCUMENT)[-5:]


def test_too_long_a_pair_is_refused_when_asked(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextTooLongError, match="(text|pair) 1"):
        tokenizer.encode_pairs([("a", "b"), (QUERY, DOCUMENT)], 30, "error")
    with pytest.raises(TextTooLongError, match="(text|pair) 1"):
        tokenizer.encode_pairs([("a", "b"), (DOCUMENT, "a")], 30, "error")


def test_a_limit_that_leaves_no_room_is_refused(tokenizer: Tokenizer) -> None:
    special = len(tokenizer.template.prefix + tokenizer.template.between + tokenizer.template.suffix)
    assert tokenizer.encode_pairs([("a", "b")], special + 2).inputs == 1
    with pytest.raises(InvalidInputError, match=f"max_length is {special + 1}"):
        tokenizer.encode_pairs([("a", "b")], special + 1)


# Windows.


@settings(max_examples=60)
@given(words=st.integers(0, 200), max_length=st.integers(14, 64), overlap=st.integers(0, 80))
def test_windows_split_the_document_and_repeat_the_query(
    tiny_reranker: Path, words: int, max_length: int, overlap: int
) -> None:
    tokenizer = Tokenizer(tiny_reranker / "tokenizer.json", 0, vocab_size=vocabulary_size(BERT))
    rust, template = tokenizer_for(BERT), tokenizer.template
    document = " ".join(some_texts(1, seed=words, longest=words + 1))
    whole, head = bare(rust, document), [*template.prefix, *bare(rust, QUERY), *template.between]
    size = max_length - len(head) - len(template.suffix)
    spans = windows(len(whole), size, min(overlap, size // 2))
    encoded = tokenizer.encode_pairs([(QUERY, document)], max_length, overlap=overlap, max_windows=None)
    assert ids(encoded) == [[*head, *whole[start:end], *template.suffix] for start, end in spans]
    assert encoded.second == [len(head)] * len(spans)
    assert encoded.owner == [0] * len(spans)
    assert not any(encoded.truncated)


def test_windows_are_the_documents_tokens_in_steps(tokenizer: Tokenizer, rust: Rust) -> None:
    encoded = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, overlap=4, max_windows=None)
    whole, template = bare(rust, DOCUMENT), tokenizer.template
    head = [*template.prefix, *bare(rust, QUERY), *template.between]
    size = 30 - len(head) - len(template.suffix)
    starts = [*range(0, len(whole) - size, size - 4), len(whole) - size]
    assert ids(encoded) == [[*head, *whole[start : start + size], *template.suffix] for start in starts]


def test_too_many_windows_are_reported_as_truncation(tokenizer: Tokenizer) -> None:
    every = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, overlap=4, max_windows=None)
    few = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, overlap=4, max_windows=3)
    exact = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, overlap=4, max_windows=len(every))
    assert ids(few) == ids(every)[:3]
    assert few.truncated == [True] * 3
    assert ids(exact) == ids(every)
    assert not any(exact.truncated)


def test_left_truncation_keeps_the_last_windows(tokenizer: Tokenizer) -> None:
    every = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, overlap=0, max_windows=None)
    few = tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, "left", overlap=0, max_windows=2)
    assert ids(few)[-1] == ids(every)[-1]
    assert len(few) == 2
    assert few.truncated == [True, True]


def test_refusing_truncation_with_windows_refuses_only_what_is_not_read(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, "error", overlap=4, max_windows=None)) > 3
    with pytest.raises(TextTooLongError):
        tokenizer.encode_pairs([(QUERY, DOCUMENT)], 30, "error", overlap=4, max_windows=3)


def test_each_pair_owns_its_windows(tokenizer: Tokenizer) -> None:
    encoded = tokenizer.encode_pairs([(QUERY, "a"), (QUERY, DOCUMENT), (QUERY, "b")], 30, max_windows=3)
    assert encoded.owner == [0, 1, 1, 1, 2]
    assert encoded.inputs == 3
    assert encoded.truncated == [False, True, True, True, False]


@pytest.mark.parametrize("policy", ["right", "left"])
@pytest.mark.parametrize("max_windows", [1, 3])
def test_shortening_long_documents_changes_nothing(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, policy: Truncation, max_windows: int
) -> None:
    pairs = [(QUERY, f"cat {DOCUMENT * 10} river"), (DOCUMENT * 10, "dog")]
    expected = tokenizer.encode_pairs(pairs, 30, policy, max_windows=max_windows, overlap=4)
    monkeypatch.setattr(module, "_LONG", 300)
    monkeypatch.setattr(module, "_CHARACTERS_PER_TOKEN", 6)
    found = tokenizer.encode_pairs(pairs, 30, policy, max_windows=max_windows, overlap=4)
    assert ids(found) == ids(expected)
    assert found.truncated == expected.truncated


def test_a_lone_surrogate_is_reported_by_the_number_of_its_pair(tokenizer: Tokenizer) -> None:
    pairs = [("same", "a"), ("same", "b"), ("same", "c"), ("bad \ud800", "d")]
    with pytest.raises(InvalidInputError, match="(text|pair) 3"):
        tokenizer.encode_pairs(pairs, 64)
