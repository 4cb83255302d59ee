"""Splitting a text into spans of whole sentences."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto import split_spans
from lagotto.core.errors import InvalidInputError

TEXT = st.lists(
    st.sampled_from(["the dog", " ", ". ", "。", "！", "\r\n", "3.7", "x" * 30, '?" ', "\t ", "熊猫", "🐕", "..."]),
    max_size=30,
).map("".join)


@given(TEXT, st.integers(1, 40))
def test_everything_but_white_space_is_in_one_span(text: str, size: int) -> None:
    spans = split_spans(text, size)
    covered = [place for start, end in spans for place in range(start, end)]
    assert covered == sorted(set(covered))
    assert all(character.isspace() for place, character in enumerate(text) if place not in set(covered))
    for start, end in spans:
        assert 0 < end - start <= size
        assert text[start:end] == text[start:end].strip()


@pytest.mark.parametrize(
    ("text", "size", "parts"),
    [
        ("", 10, []),
        (" \n ", 10, []),
        ("One. Two! Three?", 5, ["One.", "Two!", "Three", "?"]),
        ("One. Two! Three?", 9, ["One. Two!", "Three?"]),
        ("熊猫是动物。它吃竹子！为什么？", 7, ["熊猫是动物。", "它吃竹子！", "为什么？"]),
        ("It has 3.7 million. Yes.", 20, ["It has 3.7 million.", "Yes."]),
        ('He said "No." Then he left.', 15, ['He said "No."', "Then he left."]),
        ("A title\r\nThe text", 10, ["A title", "The text"]),
        ("他说：“不。”然后走了。", 7, ["他说：“不。”", "然后走了。"]),
        ("a long sentence without any end", 10, ["a long", "sentence", "without", "any end"]),
        ("unbelievable", 5, ["unbel", "ievab", "le"]),
    ],
)
def test_where_it_cuts(text: str, size: int, parts: list[str]) -> None:
    assert [text[start:end] for start, end in split_spans(text, size)] == parts


@pytest.mark.parametrize("size", [0, -1, 2.5, True, None, "5"])
def test_a_size_that_is_none_is_refused(size: Any) -> None:
    with pytest.raises(InvalidInputError, match="size is"):
        split_spans("the dog", size)


def test_a_text_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="text is a bytes"):
        split_spans(b"the dog", 5)  # type: ignore[arg-type]


def test_a_megabyte() -> None:
    text = "the giant panda is a bear. " * 40_000
    assert len(split_spans(text, 26)) == 40_000
    for character in "x.。":
        assert len(split_spans(character * 1_000_000, 20)) == 50_000
