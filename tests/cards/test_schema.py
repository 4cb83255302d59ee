"""Cards and prompt templates as values."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.cards.schema import ModelCard, PromptTemplate, card_from_row
from lagotto.core.errors import CheckpointError

ROW: dict[str, Any] = {"name": "a/b", "task": "embed", "architecture": "bert", "heads": ["dense"], "max_length": 512}


def test_without_an_instruction_a_text_stays_as_it_is() -> None:
    assert PromptTemplate(format="Instruct: {instruction}\nQuery: {text}").render("dog") == "dog"
    assert PromptTemplate("find: ").render("dog", instruction="") == "dog"


def test_the_cards_instruction_or_the_callers() -> None:
    template = PromptTemplate("find", "Instruct: {instruction}\nQuery: {text}.")
    assert template.render("dog") == "Instruct: find\nQuery: dog."
    assert template.render("dog", instruction="look") == "Instruct: look\nQuery: dog."


@given(text=st.text(), instruction=st.text(min_size=1))
def test_braces_are_only_text(text: str, instruction: str) -> None:
    assert PromptTemplate(instruction).render(text) == instruction + text
    assert PromptTemplate("x", "<{instruction}> {text}").render(text, instruction) == f"<{instruction}> {text}"


def test_an_instruction_that_looks_like_a_place_for_text_is_text() -> None:
    assert PromptTemplate("{text}: ").render("dog") == "{text}: dog"
    assert PromptTemplate("a", "{instruction}{text}").render("{instruction}") == "a{instruction}"


def test_lists_of_a_row_become_tuples() -> None:
    card = card_from_row({**ROW, "languages": ["en"], "matryoshka": [64, 32], "query": {"instruction": "find: "}})
    assert (card.heads, card.languages, card.matryoshka) == (("dense",), ("en",), (64, 32))
    assert card.query == PromptTemplate("find: ")
    assert card.document == PromptTemplate()


def test_an_unknown_key_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"unknown keys \['poling'\]"):
        card_from_row({**ROW, "poling": "cls"})


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("task", "translate", "task 'translate' is none of embed, rerank"),
        ("pooling", "median", "pooling 'median' is none of cls"),
        ("heads", ["dense", "tail"], "head 'tail' is none of dense"),
        ("max_length", 0, "max_length is 0"),
    ],
)
def test_a_value_outside_its_choices_is_refused(key: str, value: Any, match: str) -> None:
    with pytest.raises(CheckpointError, match=match):
        card_from_row({**ROW, key: value})


def test_changes_make_a_copy_and_are_checked() -> None:
    card = card_from_row(ROW)
    assert card.with_changes(max_length=8).max_length == 8
    assert card.max_length == 512
    with pytest.raises(CheckpointError, match="median"):
        card.with_changes(pooling="median")


def test_cards_compare_by_value() -> None:
    assert card_from_row(ROW) == card_from_row(dict(ROW))
    assert card_from_row(ROW) != ModelCard("a/c", "embed", "bert", ("dense",), 512)
