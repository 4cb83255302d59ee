"""Pairs in a language model's prompt, in token ids: what is laid out, what is cut, what ``max_length`` counts."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from lagotto.batch.document_parts import Reading
from lagotto.batch.long_texts import Truncation
from lagotto.batch.pair_prompt import Counted, PairPrompt
from lagotto.batch.tokenizer import Tokenizer
from lagotto.core.errors import InvalidInputError, TextTooLongError
from support.checkpoints import BERT, vocabulary_size, write_tokenizer

QUERY = "what is the giant panda"
DOCUMENT = "the dog and the cat in the old city find a river of water and fire"


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = tmp_path_factory.mktemp("tokenizer")
    write_tokenizer(folder, BERT)
    return Tokenizer(folder / "tokenizer.json", 0, vocab_size=vocabulary_size(BERT))


def prompt_of(tokenizer: Tokenizer, counted: Counted = "passage", most: int = 500) -> PairPrompt:
    return PairPrompt(
        opening=(2,),
        query=("a: ", " ?"),
        query_start=tokenizer.plain("a:"),
        query_end=tokenizer.plain("?"),
        separator=tokenizer.plain("|"),
        document="b: ",
        document_start=tokenizer.plain("b:"),
        closing=tokenizer.plain("| is it"),
        counted=counted,
        most=most,
    )


def test_parts_stand_one_behind_another(tokenizer: Tokenizer) -> None:
    found = tokenizer.encode_prompted([(QUERY, DOCUMENT)], prompt_of(tokenizer), 100, Reading())
    query, document = tokenizer.plain(f"a: {QUERY} ?"), tokenizer.plain(f"b: {DOCUMENT}")
    bar, closing = tokenizer.plain("|"), tokenizer.plain("| is it")
    assert found.ids[0].tolist() == [2, *query, *bar, *document, *closing]
    assert found.second == [1 + len(query) + 1]
    assert (found.truncated, found.owner, found.inputs) == ([False], [0], 1)


@pytest.mark.parametrize(("counted", "total"), [("all", 20), ("texts", 20 + 1 + 4), ("passage", 20 + 2 * 4)])
def test_what_max_length_counts(tokenizer: Tokenizer, counted: Counted, total: int) -> None:
    prompt = prompt_of(tokenizer, counted)
    found = tokenizer.encode_prompted([(QUERY, DOCUMENT * 9)], prompt, 20, Reading())
    assert found.lengths() == [total]
    assert found.truncated == [True]
    short = tokenizer.encode_prompted([("what", DOCUMENT * 9)], prompt, 20, Reading())
    passage = short.lengths()[0] - short.second[0] - 4
    assert passage == min(20, total - short.second[0] - 4)


def test_a_passage_has_max_length_tokens_at_most(tokenizer: Tokenizer) -> None:
    prompt = prompt_of(tokenizer)
    many = PairPrompt(**{**{n: getattr(prompt, n) for n in prompt.__slots__}, "closing": (7,) * 30})
    found = tokenizer.encode_prompted([("what", DOCUMENT * 9)], many, 12, Reading())
    assert found.lengths()[0] - found.second[0] - 30 == 12


def test_positions_are_never_more_than_the_model_has(tokenizer: Tokenizer) -> None:
    found = tokenizer.encode_prompted([(QUERY, DOCUMENT * 9)], prompt_of(tokenizer, most=21), 20, Reading())
    assert found.lengths() == [21]


@pytest.mark.parametrize("direction", ["right", "left"])
def test_what_stands_around_a_query_stays_where_it_is_cut(tokenizer: Tokenizer, direction: Truncation) -> None:
    found = tokenizer.encode_prompted(
        [(DOCUMENT, QUERY)], prompt_of(tokenizer), 60, Reading(direction), query_max_length=8
    )
    query = tokenizer.plain(DOCUMENT)
    kept = query[:5] if direction == "right" else query[-5:]
    expected = [2, *tokenizer.plain("a:"), *kept, *tokenizer.plain("?")]
    assert found.ids[0].tolist()[: len(expected)] == expected
    assert found.truncated == [True]


@pytest.mark.parametrize("direction", ["right", "left"])
def test_each_window_begins_as_a_document_does(tokenizer: Tokenizer, direction: Truncation) -> None:
    prompt = prompt_of(tokenizer)
    reading = Reading(direction, overlap=2, max_windows=None)
    found = tokenizer.encode_prompted([("what", DOCUMENT), ("what", "dog")], prompt, 9, reading)
    assert found.owner[-1] == 1
    assert len(found) > 3
    words, starts = tokenizer.plain(DOCUMENT), []
    for ids, second in zip(found.ids[:-1], found.second, strict=False):
        part = ids.tolist()[second : -len(prompt.closing)]
        assert part[:2] == list(prompt.document_start)
        size = len(part) - 2
        starts.append(next(at for at in range(len(words)) if list(words[at : at + size]) == part[2:]))
    assert (starts[0], starts[-1] + size) == (0, len(words))
    assert all(0 < after - before <= 7 for before, after in itertools.pairwise(starts))
    assert not any(found.truncated)


def test_errors_say_what_to_do(tokenizer: Tokenizer) -> None:
    with pytest.raises(InvalidInputError, match=r"max_length is 5; with 6 tokens of the prompt there is no room"):
        tokenizer.encode_prompted([("a", "b")], prompt_of(tokenizer, "all"), 5, Reading())
    with pytest.raises(TextTooLongError, match="text 3"):
        tokenizer.encode_prompted([(QUERY, DOCUMENT)], prompt_of(tokenizer), 9, Reading("error"), start=3)


def test_a_very_long_query_keeps_its_end(tokenizer: Tokenizer, tmp_path: Path) -> None:
    found = tokenizer.encode_prompted([("dog " * 60_000, "cat")], prompt_of(tokenizer), 40, Reading())
    end = found.ids[0].tolist()[: found.second[0] - 1][-1:]
    assert end == list(tokenizer.plain("?"))
