"""Texts to token ids: equal to what `tokenizers` itself gives, and nothing is cut in silence."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as Rust

import lagotto.batch.tokenizer as module
from lagotto.batch.long_texts import Truncation
from lagotto.batch.sequences import Sequences
from lagotto.batch.template import Template
from lagotto.batch.tokenizer import Tokenizer
from lagotto.core.errors import CheckpointError, InvalidInputError, TextTooLongError
from support.checkpoints import BERT, XLMR, some_texts, tokenizer_for, vocabulary_size

SHAPES = {"bert": BERT, "xlm-roberta": XLMR}
TEXTS = ["", " ", "hello world", "the giant panda is a bear, what?", "熊猫是动物", "x\0y", "a\tb\nc", "word " * 80]


def load(name: str, folder: Path) -> Tokenizer:
    shape = SHAPES[name]
    return Tokenizer(folder / "tokenizer.json", shape.pad_id, vocab_size=vocabulary_size(shape))


@pytest.fixture(params=list(SHAPES))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def tokenizer(name: str, tiny_bert: Path, tiny_xlmr: Path) -> Tokenizer:
    return load(name, tiny_bert if name == "bert" else tiny_xlmr)


@pytest.fixture
def rust(name: str) -> Rust:
    return tokenizer_for(SHAPES[name])


def ids(sequences: Sequences) -> list[list[int]]:
    return [row.tolist() for row in sequences.ids]


def test_bert_template_is_found(tiny_bert: Path) -> None:
    assert load("bert", tiny_bert).template == Template((2,), (3,), (3,), second_offset=1)


def test_xlmr_template_is_found(tiny_xlmr: Path) -> None:
    template = load("xlm-roberta", tiny_xlmr).template
    assert (template.prefix, template.suffix, template.between) == ((0,), (2,), (2, 2))


@pytest.mark.parametrize("max_length", [3, 4, 10, 64])
@pytest.mark.parametrize("direction", ["right", "left"])
def test_ids_and_truncation_are_those_of_tokenizers(
    tokenizer: Tokenizer, rust: Rust, max_length: int, direction: Literal["right", "left"]
) -> None:
    whole = [len(encoding.ids) for encoding in rust.encode_batch(TEXTS)]
    rust.enable_truncation(max_length, direction=direction)
    encoded = tokenizer.encode(TEXTS, max_length, direction)
    assert ids(encoded) == [encoding.ids for encoding in rust.encode_batch(TEXTS)]
    assert encoded.truncated == [length > max_length for length in whole]
    assert encoded.second == encoded.lengths()
    assert encoded.owner == list(range(len(TEXTS)))
    assert encoded.inputs == len(TEXTS)


def test_truncation_settings_in_the_file_are_not_used(tmp_path: Path, name: str, rust: Rust) -> None:
    expected = rust.encode(TEXTS[-1]).ids
    rust.enable_truncation(5)
    rust.enable_padding(length=9)
    rust.save(str(tmp_path / "tokenizer.json"))
    tokenizer = load(name, tmp_path)
    assert ids(tokenizer.encode([TEXTS[-1], "a"], 500)) == [expected, tokenizer.encode(["a"], 64).ids[0].tolist()]


def test_too_long_a_text_is_refused_when_asked(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextTooLongError, match=r"text 1 has \d+ tokens, 8 fit") as caught:
        tokenizer.encode(["short", "word " * 20], 10, "error")
    assert "truncation" in str(caught.value)


def test_a_text_that_just_fits_is_not_truncated(tokenizer: Tokenizer) -> None:
    text = "the dog and the cat"
    length = len(tokenizer.encode([text], 64).ids[0])
    assert tokenizer.encode([text], length, "error").truncated == [False]
    assert tokenizer.encode([text], length - 1).truncated == [True]


def test_an_unknown_policy_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match="right, left, error"):
        tokenizer.encode(["a"], 8, "middle")  # type: ignore[arg-type]


@pytest.mark.parametrize("max_length", [0, 1, 2, -3])
def test_a_limit_that_leaves_no_room_is_refused(tokenizer: Tokenizer, max_length: int) -> None:
    with pytest.raises(InvalidInputError, match=f"max_length is {max_length}"):
        tokenizer.encode(["a"], max_length)


def test_no_texts_give_no_sequences(tokenizer: Tokenizer) -> None:
    assert len(tokenizer.encode([], 8)) == 0


def test_count_leaves_special_tokens_out(tokenizer: Tokenizer) -> None:
    assert tokenizer.count("the dog") == len(tokenizer.encode(["the dog"], 64).ids[0]) - 2
    assert tokenizer.count("") == 0


def test_threads_may_share_it(tokenizer: Tokenizer) -> None:
    texts = some_texts(200)
    expected = ids(tokenizer.encode(texts, 64))
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: ids(tokenizer.encode(texts, 64)), range(16)):
            assert found == expected


def test_ids_are_int32(tokenizer: Tokenizer) -> None:
    assert {row.dtype for row in tokenizer.encode(TEXTS, 16).ids} == {np.dtype(np.int32)}


# Text that is not quite text.


def test_a_lone_surrogate_is_refused_with_its_place(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"text 2 holds a lone surrogate \(U\+D83D\) at character 3"):
        tokenizer.encode(["fine", "fine", "abc\ud83d"], 64)


def test_nul_and_control_characters_are_text(tokenizer: Tokenizer, rust: Rust) -> None:
    text = "a\0b\x07\ufffec\u200b"
    assert ids(tokenizer.encode([text], 64)) == [rust.encode(text).ids]


@pytest.mark.parametrize("text", ["[PAD] [CLS] [MASK]", "<pad></s><mask> <s>"])
def test_special_tokens_in_a_text_are_read_as_tokenizers_reads_them(
    tokenizer: Tokenizer, rust: Rust, text: str
) -> None:
    assert ids(tokenizer.encode([text], 64)) == [rust.encode(text).ids]


# Long texts are shortened before they are tokenised; nobody may see that.


@settings(max_examples=60)
@given(
    parts=st.lists(
        st.sampled_from(["the dog ", "熊猫动物", "unbelievable ", "x" * 40 + " ", "  ", ", ", "🐕 ", "\n", "é"]),
        min_size=1,
        max_size=30,
    ),
    policy=st.sampled_from(["right", "left"]),
    which=st.sampled_from(list(SHAPES)),
)
def test_shortening_changes_nothing(
    tiny_bert: Path, tiny_xlmr: Path, parts: list[str], policy: Truncation, which: str
) -> None:
    tokenizer = load(which, tiny_bert if which == "bert" else tiny_xlmr)
    text = "".join(parts) * 20
    expected = tokenizer.encode([text, "a"], 12, policy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_LONG", 300)
        patch.setattr(module, "_CHARACTERS_PER_TOKEN", 4)  # (10 + 64) * 4 = 296 characters
        found = tokenizer.encode([text, "a"], 12, policy)
    assert ids(found) == ids(expected)
    assert found.truncated == expected.truncated


@pytest.mark.parametrize("policy", ["right", "left"])
@pytest.mark.parametrize("before", ["the dog", ""])
def test_a_word_that_straddles_the_cut_is_not_read_as_its_half(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch, policy: Truncation, before: str
) -> None:
    # BERT makes one [UNK] of a word of more than 100 characters; half of it would become many pieces.
    parts = [before, " " * 270, "z" * 150, " " * 270, "the cat"]
    text = "".join(parts if policy == "right" else reversed(parts))
    expected = tokenizer.encode([text], 12, policy)
    monkeypatch.setattr(module, "_LONG", 300)
    monkeypatch.setattr(module, "_CHARACTERS_PER_TOKEN", 4)
    found = tokenizer.encode([text], 12, policy)
    assert ids(found) == ids(expected)
    assert found.truncated == expected.truncated


@pytest.mark.parametrize("policy", ["right", "left"])
def test_ten_megabytes_of_words(tokenizer: Tokenizer, policy: Truncation) -> None:
    text = "the giant panda is a bear. " * 400_000
    page = "the giant panda is a bear. " * 40
    found, expected = tokenizer.encode([text], 64, policy), tokenizer.encode([page], 64, policy)
    assert ids(found) == ids(expected)
    assert found.truncated == [True]


def test_megabytes_without_a_token_are_read_to_their_end(tokenizer: Tokenizer) -> None:
    text = " " * 1_000_000 + "dog"
    assert ids(tokenizer.encode([text], 64)) == ids(tokenizer.encode(["dog"], 64))
    assert tokenizer.encode([text], 64).truncated == [False]


# Token ids instead of text.


def test_ids_get_special_tokens(tokenizer: Tokenizer, rust: Rust) -> None:
    bare = rust.encode("the dog", add_special_tokens=False).ids
    assert ids(tokenizer.encode_ids([bare], 64)) == [rust.encode("the dog").ids]


def test_ids_with_special_tokens_stay_as_they_are(tokenizer: Tokenizer, rust: Rust) -> None:
    whole = rust.encode("the dog").ids
    encoded = tokenizer.encode_ids([whole, np.array(whole)], 64)  # type: ignore[list-item]
    assert ids(encoded) == [whole, whole]
    assert encoded.truncated == [False, False]


@pytest.mark.parametrize("direction", ["right", "left"])
def test_ids_are_cut_like_texts(tokenizer: Tokenizer, rust: Rust, direction: Literal["right", "left"]) -> None:
    text = "the dog and the cat and the bear"
    whole, bare = rust.encode(text).ids, rust.encode(text, add_special_tokens=False).ids
    expected = ids(tokenizer.encode([text], 6, direction))
    encoded = tokenizer.encode_ids([whole, bare], 6, direction)
    assert ids(encoded) == expected * 2
    assert encoded.truncated == [True, True]


def test_too_many_ids_are_refused_when_asked(tokenizer: Tokenizer) -> None:
    with pytest.raises(TextTooLongError):
        tokenizer.encode_ids([[5] * 20], 10, "error")


def test_foreign_ids_are_refused_and_tiktoken_is_named(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"input 1: token id 15339 is outside.*tiktoken"):
        tokenizer.encode_ids([[5], [5, 15339]], 64)


@pytest.mark.parametrize(("wrong", "match"), [([-1], "-1"), ([True], "True"), ([1.5], "1.5"), (["a"], "'a'")])
def test_what_is_no_token_id_is_refused(tokenizer: Tokenizer, wrong: list[int], match: str) -> None:
    with pytest.raises(InvalidInputError, match=f"input 0: token id {match}"):
        tokenizer.encode_ids([wrong], 64)


def test_an_empty_list_of_ids_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match="input 1 is an empty list"):
        tokenizer.encode_ids([[5], []], 64)


# Tokenizers that do not belong, or that cannot be used.


def test_a_larger_vocabulary_than_the_model_has_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(CheckpointError, match=r"ids up to \d+, but the model has 100 embeddings"):
        Tokenizer(tiny_bert / "tokenizer.json", 0, vocab_size=100)


def test_a_smaller_vocabulary_is_fine(tiny_bert: Path) -> None:
    assert Tokenizer(tiny_bert / "tokenizer.json", 0, vocab_size=1000).vocab_size == 1000


@pytest.mark.parametrize("content", ["", "{}", "not json", '{"version": "1.0", "model": {"type": "Abacus"}}'])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"tokenizer\.json can't be read"):
        Tokenizer(tmp_path / "tokenizer.json", 0, vocab_size=10)


def test_lowercase_is_applied_before_tokenising(tiny_xlmr: Path) -> None:
    path, size = tiny_xlmr / "tokenizer.json", vocabulary_size(XLMR)
    lowering = Tokenizer(path, 1, vocab_size=size, lowercase=True)
    keeping = Tokenizer(path, 1, vocab_size=size)
    assert ids(lowering.encode(["The DOG"], 64)) == ids(keeping.encode(["the dog"], 64))
    assert ids(keeping.encode(["The DOG"], 64)) != ids(keeping.encode(["the dog"], 64))


def test_a_marker_is_one_more_special_token_behind_the_first(tokenizer: Tokenizer) -> None:
    marked = tokenizer.with_marker(7)
    (plain,), (found,) = tokenizer.encode(["the giant panda"], 20).ids, marked.encode(["the giant panda"], 20).ids
    assert found.tolist() == [plain[0], 7, *plain[1:]]
    cut = marked.encode(["the giant panda is a bear"], 5)
    assert len(cut.ids[0]) == 5
    assert cut.ids[0][1] == 7
    with pytest.raises(InvalidInputError, match="with 3 special tokens it must be more"):
        marked.encode(["panda"], 3)
