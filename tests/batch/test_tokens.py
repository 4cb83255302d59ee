"""Tokens for people to look at: ids, texts, places."""

from __future__ import annotations

from pathlib import Path

import pytest

from lagotto.batch.tokenizer import Tokenizer
from lagotto.batch.tokens import Token
from support.checkpoints import BERT, XLMR, Shape, vocabulary_size

TEXT = "The giant pandas, 熊猫"


def load(folder: Path, shape: Shape, *, lowercase: bool = False) -> Tokenizer:
    path = folder / "tokenizer.json"
    return Tokenizer(path, shape.pad_id, vocab_size=vocabulary_size(shape), lowercase=lowercase)


@pytest.fixture(params=["bert", "xlm-roberta"])
def tokenizer(request: pytest.FixtureRequest, tiny_bert: Path, tiny_xlmr: Path) -> Tokenizer:
    return load(tiny_bert, BERT) if request.param == "bert" else load(tiny_xlmr, XLMR)


def test_tokens_have_the_ids_the_model_sees(tokenizer: Tokenizer) -> None:
    found = [token.id for token in tokenizer.tokenize(TEXT)]
    assert found == tokenizer.encode([TEXT], 64).ids[0].tolist()
    inner = tokenizer.tokenize(TEXT, special=False)
    assert [token.id for token in inner] == found[1:-1]


def test_a_tokens_text_is_its_characters(tokenizer: Tokenizer) -> None:
    first, *inner, last = tokenizer.tokenize(TEXT)
    for token in inner:
        assert not token.special
        assert token.text == TEXT[token.start : token.end]
    assert {character for token in inner for character in token.text} >= set(TEXT) - {" "}
    assert (first.special, first.start, first.end) == (True, None, None)
    assert first.text in ("[CLS]", "<s>")
    assert last.text in ("[SEP]", "</s>")


def test_lower_case_changes_ids_and_not_texts(tiny_xlmr: Path) -> None:
    small = load(tiny_xlmr, XLMR, lowercase=True).tokenize("İ Giant", special=False)
    plain = load(tiny_xlmr, XLMR).tokenize("i̇ giant", special=False)
    assert [token.id for token in small] == [token.id for token in plain]
    assert small[-1].text.strip() == "Giant"


def test_no_text_has_special_tokens_alone(tokenizer: Tokenizer) -> None:
    assert [token.special for token in tokenizer.tokenize("")] == [True, True]
    assert tokenizer.tokenize("", special=False) == []


def test_special_tokens_are_skipped_when_decoding(tiny_bert: Path) -> None:
    tokenizer = load(tiny_bert, BERT)
    ids = tokenizer.encode(["the giant panda"], 64).ids[0].tolist()
    assert tokenizer.decode(ids) == "[CLS] the giant panda [SEP]"
    assert tokenizer.decode(ids, skip_special=True) == "the giant panda"


def test_a_token_is_a_plain_value() -> None:
    assert Token(5, "a", False, 0, 1) == Token(5, "a", False, 0, 1)
