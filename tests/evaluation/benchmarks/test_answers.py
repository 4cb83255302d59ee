"""When a passage contains an answer."""

from __future__ import annotations

import doctest
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.evaluation.benchmarks import answers
from lagotto.evaluation.benchmarks.answers import has_answer


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("Paris", "the capital is paris."),
        ("PARIS", "(Paris)"),
        ("New York City", "in New\n York\u00a0City today"),
        ("U.S.", "the U. S. Army"),
        ("1,000", "about 1,000 men"),
        ("café", "a cafe\u0301 in Rome"),
        ("Ἀθῆναι", "ΑΘΗΝΑΙ Ἀθῆναι"),
        ("14 December 1972", "on 14 december 1972 ,"),
        ("серед", "в серед у"),
        ("서울", "수도는 서울 이다"),
        ("北京", "中国的首都是北京市。"),
        ("北京", "北京"),
        ("ガンダム", "機動戦士ガンダムの主人公"),
        ("ガンダム", unicodedata.normalize("NFD", "機動戦士ガンダムの主人公")),
        ("กรุงเทพ", "เมืองหลวงคือกรุงเทพมหานคร"),
        ("ភ្នំពេញ", "រាជធានីភ្នំពេញនៃ"),
        ("2020年", "東京オリンピック2020年に"),
        ("𠮷野", "𠮷野家で"),
        ("$5", "it cost $ 5"),
    ],
)
def test_an_answer_is_found(answer: str, text: str) -> None:
    assert has_answer([answer], text)
    assert has_answer(["nowhere", answer], text)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ("art", "the party started"),
        ("New City", "New York City"),
        ("cafe", "a café"),
        ("か", "が"),
        ("はか", "はが"),
        ("京北", "北京"),
        ("ม", "ม่"),
        ("20", "2020年"),
        ("", "anything"),
        (" \u200b", "any thing"),
        ("Paris", ""),
    ],
)
def test_an_answer_is_not_found(answer: str, text: str) -> None:
    assert not has_answer([answer], text)


def test_no_answers_are_never_found() -> None:
    assert not has_answer([], "anything")


@given(st.text(), st.text(min_size=1), st.text())
def test_a_text_holds_itself_between_others(before: str, answer: str, behind: str) -> None:
    # What an answer consists of is seen by asking whether it holds itself: blanks alone are no answer.
    assert has_answer([answer], f"{before} {answer} {behind}") == has_answer([answer], answer)


def test_the_examples_in_the_documentation() -> None:
    result = doctest.testmod(answers)

    assert result.attempted == 3
    assert result.failed == 0
