"""Streaming: constant memory, early stops, exceptions on the way."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Embeddings
from lagotto.core.errors import InvalidInputError
from lagotto.models.pipeline import CHUNK
from support.checkpoints import some_texts, write_embedder

TEXTS = some_texts(100, longest=8)


class Counted:
    """An iterator that says how much of it was read."""

    def __init__(self, number: int) -> None:
        self.read = 0
        self._number = number

    def __iter__(self) -> Iterator[str]:
        for number in range(self._number):
            self.read += 1
            yield f"dog {number}"


def test_parts_together_are_what_encode_gives(embedder: Embedder) -> None:
    texts = TEXTS * 50
    parts = list(embedder.stream(iter(texts), dimensions=8, max_length=20))
    assert len(parts) > 1
    assert all(isinstance(part, Embeddings) for part in parts)
    whole = Embeddings.concatenate(parts, 8)
    expected = embedder.encode(texts, dimensions=8, max_length=20)
    np.testing.assert_allclose(whole.dense, expected.dense, atol=2e-5)
    np.testing.assert_array_equal(whole.tokens, expected.tokens)
    np.testing.assert_array_equal(whole.truncated, expected.truncated)


def test_a_million_texts_are_read_only_as_far_as_needed(embedder: Embedder) -> None:
    texts = Counted(1_000_000)
    parts = embedder.stream(texts)
    assert texts.read == 0
    first = next(parts)
    assert texts.read <= 2 * CHUNK + 1
    assert len(first) <= CHUNK
    next(parts)
    assert texts.read <= 3 * CHUNK + 1
    parts.close()  # type: ignore[attr-defined]
    read = texts.read
    embedder.encode("still works")
    assert texts.read == read


def test_memory_does_not_grow_with_the_number_of_texts(embedder: Embedder) -> None:
    parts = embedder.stream(Counted(12 * CHUNK))
    next(parts)
    tracemalloc.start()
    try:
        peaks = []
        for _ in range(2):
            tracemalloc.reset_peak()
            for _ in range(5):
                next(parts)
            peaks.append(tracemalloc.get_traced_memory()[1])
    finally:
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0] + 200_000


def test_nothing_streams_nothing(embedder: Embedder) -> None:
    assert list(embedder.stream([])) == []


def test_a_single_string_streams_one_row(embedder: Embedder) -> None:
    (part,) = embedder.stream("dog")
    assert part.dense.shape == (1, 32)


def test_bad_arguments_are_refused_before_the_first_part_is_asked_for(embedder: Embedder) -> None:
    wrong: list[dict[str, Any]] = [{"dimensions": 0}, {"max_length": 65}, {"truncation": "x"}, {"prompt": 5}]
    for keywords in wrong:
        with pytest.raises(InvalidInputError):
            embedder.stream(TEXTS, **keywords)


def test_a_prompt_is_used(embedder: Embedder) -> None:
    (part,) = embedder.stream(["dog"], prompt="the ")
    np.testing.assert_allclose(part.dense, embedder.encode("the dog").dense, atol=2e-5)


def test_long_texts_make_smaller_parts(embedder: Embedder) -> None:
    long = "dog " * 500_000
    parts = list(embedder.stream([long, "cat", long, "dog", long]))
    assert sum(map(len, parts)) == 5
    assert len(parts) > 1
    np.testing.assert_allclose(Embeddings.concatenate(parts, 32).dense[1], embedder.encode("cat").dense[0], atol=2e-5)


def test_an_abandoned_stream_is_cleaned_up(embedder: Embedder) -> None:
    parts = embedder.stream(Counted(1_000_000))
    next(parts)
    del parts
    gc.collect()
    assert embedder.encode("still works").dense.shape == (1, 32)


def test_a_role_writes_texts_as_the_card_says(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "e5", prompts={"query": "query: ", "document": "passage: "})
    e5 = Embedder(folder)
    for role, whole in (("query", e5.encode_queries), ("document", e5.encode_documents), ("text", e5.encode)):
        parts = list(e5.stream(iter(TEXTS), role=role))  # type: ignore[arg-type]
        np.testing.assert_allclose(np.concatenate([part.dense for part in parts]), whole(TEXTS).dense, atol=2e-5)
    with pytest.raises(InvalidInputError, match="role is 'passage'; allowed are text, query, document"):
        e5.stream(TEXTS, role="passage")  # type: ignore[arg-type]
