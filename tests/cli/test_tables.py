"""Tables line up, whatever the script."""

from __future__ import annotations

import pytest

from lagotto.cli.tables import cut, pad, plain, table, width


@pytest.mark.parametrize(
    ("text", "columns"), [("", 0), ("panda", 5), ("熊猫", 4), ("\uff50", 2), ("e\u0301", 1), ("a\u200bb", 2)]
)
def test_width(text, columns):
    assert width(text) == columns


@pytest.mark.parametrize(
    ("text", "columns", "expected"),
    [("panda", 5, "panda"), ("panda", 4, "pan…"), ("熊猫", 4, "熊猫"), ("熊猫", 3, "熊…"), ("熊猫", 2, "…")],
)
def test_cut(text, columns, expected):
    assert cut(text, columns) == expected
    assert width(cut(text, columns)) <= columns


def test_pad():
    assert pad("熊猫", 6) == "熊猫  "
    assert pad("1", 3, right=True) == "  1"


def test_plain_keeps_a_document_from_steering_the_terminal():
    assert plain("a\x1b[31m\tb\r\nc") == "a [31m b c"


def test_table():
    assert table(("name", "n"), [("熊猫", "1"), ("a", "10")], right=(1,)).splitlines() == [
        "name   n",
        "----  --",
        "熊猫   1",
        "a     10",
    ]


def test_table_without_rows():
    assert table(("name", "n"), []) == "name  n\n----  -"
