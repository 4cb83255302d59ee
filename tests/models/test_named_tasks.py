"""Tasks by name: a card's prompt for a side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.cards.registry import find_card
from lagotto.cards.schema import ModelCard
from lagotto.core.errors import InvalidInputError
from lagotto.models.named_tasks import task_prompt, tasks_of

SIX = ("qa", "icl", "chat", "lrlm", "tool", "convsearch")


def card(name: str) -> ModelCard:
    found = find_card(name)
    assert found is not None
    return found


def test_llm_embedder_has_six_tasks_of_two_sides() -> None:
    embedder = card("BAAI/llm-embedder")
    assert tasks_of(embedder) == SIX
    for task in SIX:
        assert task_prompt(embedder, task, "query") == embedder.prompts[f"{task}_query"]
        assert task_prompt(embedder, task, "document") == embedder.prompts[f"{task}_document"]
        with pytest.raises(InvalidInputError, match=f"task '{task}' .* has prompts for query and document; say which"):
            task_prompt(embedder, task, "text")


def test_a_task_may_be_for_queries_alone() -> None:
    code = card("BAAI/bge-code-v1")
    assert {"apps", "text2sql", "mbpp"} <= set(tasks_of(code))
    prompt = code.prompts["apps"]
    assert [task_prompt(code, "apps", side) for side in ("query", "text", "document")] == [prompt, prompt, None]
    mistral = card("intfloat/e5-mistral-7b-instruct")
    assert task_prompt(mistral, "sts", "query") == task_prompt(mistral, "sts_query", "text")
    with pytest.raises(InvalidInputError, match="task 'sts' .* has prompts for query; say which"):
        task_prompt(mistral, "sts", "text")


@pytest.mark.parametrize(
    ("name", "message"),
    [("BAAI/llm-embedder", f"'poem' is none of BAAI/llm-embedder: known are {', '.join(SIX)}"),
     ("BAAI/bge-m3", "its card names none; give an instruction instead")],
)  # fmt: skip
def test_unknown_tasks_are_told_of_those_there_are(name: str, message: str) -> None:
    for side in ("query", "document", "text"):
        with pytest.raises(InvalidInputError, match=message):
            task_prompt(card(name), "poem", side)  # type: ignore[arg-type]


def test_tasks_in_the_library(tiny_bert: Path) -> None:
    with Embedder(tiny_bert, card="BAAI/llm-embedder", precision="f32", threads=1) as model:
        assert model.tasks == SIX
        prompts = model.card.prompts
        for encode, side in ((model.encode_queries, "query"), (model.encode_documents, "document")):
            expected = encode("dog", prompt=prompts[f"tool_{side}"]).dense
            np.testing.assert_array_equal(encode("dog", task="tool").dense, expected)
            (part,) = model.stream(["dog"], role=side, task="tool")  # type: ignore[arg-type]
            np.testing.assert_array_equal(part.dense, expected)
        spans = model.encode_spans("dog", [(0, 3)], role="query", task="tool").dense
        np.testing.assert_array_equal(
            spans, model.encode_spans("dog", [(0, 3)], role="query", prompt=prompts["tool_query"]).dense
        )
        states = model.encode_states("dog", role="query", task="tool").tokens
        assert states[0] > model.encode_states("dog").tokens[0]


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ({"task": "qa", "prompt": "a"}, "give prompt= .* or task="),
        ({"task": "qa", "instruction": "a"}, "give prompt= .* or task="),
        ({"task": 3}, "task is a int; give a string"),
        ({"task": "poem"}, "'poem' is none of"),
    ],
)
def test_one_way_to_word_a_call(tiny_bert: Path, wish: Any, message: str) -> None:
    model = Embedder(tiny_bert, card="BAAI/llm-embedder", threads=1)
    with model, pytest.raises(InvalidInputError, match=message):
        model.encode_queries("dog", **wish)
