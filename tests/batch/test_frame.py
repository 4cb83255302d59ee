"""Texts between prompts that are never cut, held to a straightforward implementation of what their authors do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto.batch.frame import Frame, encode_framed
from lagotto.batch.long_texts import Windows
from lagotto.batch.tokenizer import Tokenizer
from lagotto.core.errors import InvalidInputError, TextTooLongError
from support.checkpoints import some_texts
from support.language_models import llama_tokenizer, their_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = [*some_texts(30, seed=3, longest=60), "", "a", "the dog " * 60, "naïve 🐕🐕🐕 " * 20, "x" * 400]
EXAMPLES = "<instruct>find the dog\n<query>who\n<response>the big dog\n\n"
ASKED = "<instruct>find\n<query>"
SUFFIX = "\n<response>"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer")
    llama_tokenizer().save(str(path / "tokenizer.json"))
    return path


@pytest.fixture(scope="module")
def ours(folder: Path) -> Tokenizer:
    return Tokenizer(folder / "tokenizer.json", 0, vocab_size=1000)


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Any:
    return their_tokenizer(folder)


def flag_ids(theirs: Any, texts: list[str], examples: str, asked: str, most: int) -> list[list[int]]:
    """FlagEmbedding's way with bge-en-icl: cut instruction and query, decode them, write the frame around, tokenise."""
    alone = {"add_special_tokens": False}
    prefix, suffix = (len(theirs(part, **alone)["input_ids"]) for part in (examples, SUFFIX))
    first = len(theirs("<s>", **alone)["input_ids"])
    last = len(theirs(SUFFIX + "</s>", **alone)["input_ids"])
    cut = theirs([asked + text for text in texts], max_length=most - first - last, truncation=True, **alone)
    decoded = theirs.batch_decode(cut["input_ids"])
    limit = (prefix + suffix + most + 8) // 8 * 8 + 8
    again = theirs([examples + text + SUFFIX for text in decoded], max_length=limit, truncation=True)
    return [list(ids) for ids in again["input_ids"]]


def framed(
    ours: Tokenizer, texts: list[str], most: int, *, longest: int = 256, policy: Any = "right", **how: Any
) -> Any:
    frame = Frame(**{"before": ASKED, "after": SUFFIX, "examples": EXAMPLES, **how})
    return encode_framed(ours, texts, frame, most, longest, policy, 0)


@pytest.mark.parametrize("most", [24, 40, 128])
@pytest.mark.parametrize("examples", ["", EXAMPLES])
def test_compat_is_what_flag_embedding_does(ours: Tokenizer, theirs: Any, examples: str, most: int) -> None:
    found = framed(ours, TEXTS, most, longest=4096, examples=examples, joining="round_trip")
    assert [ids.tolist() for ids in found.ids] == flag_ids(theirs, TEXTS, examples, ASKED, most)


@pytest.mark.parametrize("most", [24, 40, 128])
@pytest.mark.parametrize("examples", ["", EXAMPLES])
def test_ids_are_cut_where_flag_embedding_cuts_them(ours: Tokenizer, theirs: Any, examples: str, most: int) -> None:
    """Also inside a character of several tokens, where decoding gives something longer and may lose the end."""
    alone = {"add_special_tokens": False}
    room = most - 1 - len(theirs(SUFFIX + "</s>", **alone)["input_ids"])
    head, end = theirs(examples, **alone)["input_ids"], [*theirs(SUFFIX, **alone)["input_ids"][1:], 2]
    some = [text for text in TEXTS if text]  # with none the suffix begins a string, and has its space
    asked = [theirs(ASKED + text, **alone)["input_ids"] for text in some]
    found = framed(ours, some, most, longest=4096, examples=examples)
    assert [ids.tolist() for ids in found.ids] == [[1, *head, *ids[:room], *end] for ids in asked]
    assert found.truncated == [len(ids) > room for ids in asked]
    assert any(found.truncated)


def test_a_round_trip_that_loses_nothing_changes_nothing(tmp_path: Path) -> None:
    """Without a space that the tokenizer puts before each string, which decoding shows and tokenising doubles."""
    llama_tokenizer(prepend=False).save(str(tmp_path / "tokenizer.json"))
    tokenizer, plain = Tokenizer(tmp_path / "tokenizer.json", 0, vocab_size=1000), [t for t in TEXTS if t.isascii()]
    expected = flag_ids(their_tokenizer(tmp_path), plain, EXAMPLES, ASKED, 40)
    assert [ids.tolist() for ids in framed(tokenizer, plain, 40, longest=4096).ids] == expected


def test_apart_joins_tokens_as_llara_does(ours: Tokenizer, theirs: Any) -> None:
    after = '", predict the following passage within eight words: ' + "".join(f"<s{n}>" for n in range(9, 17))
    head, tail = theirs('"')["input_ids"][:-1], theirs(after)["input_ids"][1:]
    found = framed(ours, TEXTS, 200, before='"', after=after, examples="", joining="apart")
    room = 200 - len(head) - len(tail)
    for ids, text in zip(found.ids, TEXTS, strict=True):
        middle = theirs(text, add_special_tokens=False, truncation=True, max_length=room)["input_ids"]
        assert ids.tolist() == [*head, *middle, *tail]


def test_examples_come_on_top_of_the_limit_as_far_as_the_model_reads(ours: Tokenizer) -> None:
    plain, more = framed(ours, ["dog " * 90], 40, examples=""), framed(ours, ["dog " * 90], 40)
    worked = ours.count(EXAMPLES)
    assert len(more.ids[0]) == len(plain.ids[0]) + worked
    assert len(framed(ours, ["dog " * 90], 40, longest=worked + 20).ids[0]) <= worked + 20
    with pytest.raises(InvalidInputError, match=f"the examples have {worked} tokens, and the model reads {worked}"):
        framed(ours, ["dog"], 40, longest=worked)
    with pytest.raises(InvalidInputError, match="text 0: its prompt has .* give a shorter prompt"):
        framed(ours, ["dog"], 8)


def test_the_other_ways_with_long_texts(ours: Tokenizer) -> None:
    text = "the dog " + "cat " * 60 + "panda"
    left = framed(ours, [text], 40, policy="left", examples="").ids[0]
    assert "panda" in ours.decode(left)
    assert "dog" not in ours.decode(left)
    assert left.tolist()[: len(ours.ids([ASKED])[0]) + 1] == [1, *ours.ids([ASKED])[0]]
    with pytest.raises(TextTooLongError, match="text 0 has"):
        framed(ours, [text], 40, policy="error")
    windows = framed(ours, [text], 40, policy=Windows(overlap=4))
    assert len(windows) > 1
    for ids in windows.ids:
        assert ours.decode(ids[-2:]) == "<response></s>"
        assert ours.decode(ids).count("<query>") == 2
    with pytest.raises(InvalidInputError, match="give truncation='right'"):
        framed(ours, [text], 40, policy="left", joining="round_trip")
    with pytest.raises(InvalidInputError, match="no room for a query"):
        framed(ours, [text], 5, joining="round_trip")


@pytest.mark.parametrize("joining", ["joint", "apart"])
def test_very_long_texts_are_cut_before_they_are_tokenised(ours: Tokenizer, joining: Any) -> None:
    long = "dog cat " * 40_000
    found, short = framed(ours, [long], 60, joining=joining), framed(ours, [long[:2000]], 60, joining=joining)
    assert found.ids[0].tolist() == short.ids[0].tolist()
    assert found.truncated == [True]
    one = " " * 120_000 + "dog"  # what is left of it before the bound is a few tokens, or none
    np.testing.assert_array_equal(framed(ours, [one], 60, policy="left").ids[0][-4:-3], ours.ids(["dog"])[0])
