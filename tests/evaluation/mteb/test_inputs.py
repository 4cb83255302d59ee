"""What is understood of mteb's calls."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.mteb.inputs import hint_of, side_of


def test_sides(mteb: Any) -> None:
    from mteb.types import PromptType

    assert [side_of(kind) for kind in (PromptType.query, PromptType.document, None)] == ["query", "document", "text"]


@pytest.mark.parametrize(
    ("prompt", "wanted"),
    [
        (None, ("", "", "")),
        ("Find", ("Find", "Find", "Find")),
        ({"query": "Find"}, ("Find", "", "Find")),
        ({"query": "Find", "document": "Read"}, ("Find", "Read", "Find")),
    ],
)
def test_instructions(prompt: Any, wanted: tuple[str, str, str]) -> None:
    metadata = SimpleNamespace(name="NFCorpus", type="Retrieval", prompt=prompt)
    for side, instruction in zip(("query", "document", "text"), wanted, strict=True):
        assert hint_of(metadata, side) == TaskHint("NFCorpus", "Retrieval", instruction)
