"""What may be said of long texts, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from lagotto.batch.long_texts import MultiCls, Windows, check_long_texts, check_truncation
from lagotto.core.errors import InvalidInputError


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"size": 0}, "size of windows is 0"),
        ({"size": 2.5}, "size of windows is 2.5"),
        ({"size": True}, "size of windows is True"),
        ({"overlap": -1}, "overlap of windows is -1"),
        ({"overlap": None}, "overlap of windows is None"),
        ({"combine": "sum"}, "combine is 'sum'; allowed are mean, max"),
    ],
)
def test_windows_that_are_none_are_refused(wrong: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        Windows(**wrong)


def test_cls_tokens_that_cannot_be_put_are_refused() -> None:
    with pytest.raises(InvalidInputError, match="every is 0"):
        MultiCls(every=0)
    with pytest.raises(InvalidInputError, match="truncation is Windows"):
        MultiCls(truncation=Windows())  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["right", "left", "error", Windows(), MultiCls()])
def test_what_an_embedder_takes(policy: Any) -> None:
    check_long_texts(policy)


@pytest.mark.parametrize("policy", ["middle", None, 3, ["right"], Windows])
def test_anything_else_is_refused(policy: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"right, left, error, Windows\(...\) and MultiCls\(...\)"):
        check_long_texts(policy)


def test_windows_are_no_way_to_cut() -> None:
    with pytest.raises(InvalidInputError, match="allowed are right, left, error"):
        check_truncation(Windows())
