"""Both languages are whole, and nothing is said that no one asks for."""

from __future__ import annotations

import re
from pathlib import Path
from string import Formatter

import pytest

import lagotto.evaluation.report
from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.report.words import WORDS, Words, words, words_or

PACKAGE = Path(lagotto.evaluation.report.__file__).parent
FAMILIES = ("env.", "kind.", "measure.", "mark.", "filter.", "stage.", "texts.")
"""Beginnings of keys whose rest is computed."""
ORDERS = {"key.one", "lead.one", "warning.result"}
"""Which hold nothing but places to fill and punctuation."""


def names(text):
    return sorted(field for _, field, _, _ in Formatter().parse(text) if field)


@pytest.mark.parametrize("key", WORDS)
def test_each_has_both_languages_with_the_same_places_to_fill(key):
    english, chinese = WORDS[key]
    assert english.strip()
    assert chinese.strip()
    assert names(english) == names(chinese)
    assert not re.search("[\u4e00-\u9fff]", english)


def test_chinese_words_are_chinese():
    same = {key for key, (english, chinese) in WORDS.items() if not re.search("[\u4e00-\u9fff]", chinese)}
    assert same == {"env.lagotto", "env.python", "column.p", "column.holm"} | ORDERS


def test_every_key_is_used_and_every_used_key_is_there():
    code = "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py") if path.name != "words.py")
    quoted = set(re.findall(r'"([a-z.]+)"', code))
    used = quoted | {f"column.{key}" for key in quoted}
    assert not [key for key in WORDS if key not in used and not key.startswith(FAMILIES)]
    said = re.findall(r'(?:say|words|note|head|section)\(\s*"([a-z.]+)"', code)
    assert not [key for key in said if key not in WORDS]


def test_values_are_filled_in_by_language():
    kind = WORDS["kind.sts"]
    assert words("row.mean", n=3, kind=kind) == Words("Mean of 3: Semantic similarity", "3 项平均：语义相似度")


def test_values_are_not_read_again():
    assert words("lead.one", system="{datasets}", datasets=2).en == "{datasets} on 2."


def test_an_unknown_key_is_an_error():
    with pytest.raises(InvalidInputError, match=r"nothing\.such.*both languages"):
        words("nothing.such")


def test_a_name_that_is_none_of_ours_stands_for_itself():
    assert words_or("env", "threads").zh == "线程数"
    assert words_or("env", "kernel") == Words("kernel", "kernel")
