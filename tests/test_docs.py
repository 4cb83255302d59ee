"""What is public is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

import lagotto
from lagotto.core import errors

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.parametrize("name", [name for name in [*lagotto.__all__, *errors.__all__] if not name.startswith("__")])
def test_every_public_name_is_in_the_library_page(name: str) -> None:
    assert f"`{name}" in (DOCS / "library.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", [name for name in lagotto.__all__ if not name.startswith("__")])
def test_every_public_name_has_a_docstring(name: str) -> None:
    assert getattr(lagotto, name).__doc__


def test_both_readmes_have_the_same_code_blocks() -> None:
    def skeleton(file: str) -> list[str]:
        text = (DOCS.parent / file).read_text(encoding="utf-8")
        return [line[:12] for block in text.split("```")[1::2] for line in block.splitlines() if "import" in line]

    assert skeleton("README.md") == skeleton("README_zh.md")
