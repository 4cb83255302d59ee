"""Progress: a bar on stderr, or a function that is told."""

from __future__ import annotations

import pytest

from lagotto import Embedder, Reranker
from support.checkpoints import some_texts

TEXTS = some_texts(150)


def test_a_function_is_told_of_every_text(embedder: Embedder) -> None:
    told: list[int] = []
    embedder.encode(iter(TEXTS), progress=told.append)
    assert sum(told) == len(TEXTS)
    assert all(isinstance(number, int) and number > 0 for number in told)


def test_a_stream_tells_too(embedder: Embedder) -> None:
    told: list[int] = []
    for _part in embedder.stream(TEXTS * 40, progress=told.append):
        pass
    assert sum(told) == 40 * len(TEXTS)


def test_nothing_to_do_tells_nothing(embedder: Embedder) -> None:
    told: list[int] = []
    embedder.encode([], progress=told.append)
    assert sum(told) == 0


def test_pairs_are_counted_not_their_windows(reranker: Reranker) -> None:
    told: list[int] = []
    reranker.score([("dog", "the panda " * 200), ("cat", "river")], progress=told.append)
    assert sum(told) == 2
    told.clear()
    reranker.rank("dog", ["the panda " * 200, "river", "cat"], progress=told.append)
    assert sum(told) == 3


def test_a_bar_is_drawn_on_stderr_and_ends_full(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(TEXTS, progress=True)
    captured = capsys.readouterr()
    assert "150/150" in captured.err
    assert captured.out == ""


def test_a_bar_for_one_text_and_for_one_pair(
    embedder: Embedder, reranker: Reranker, capsys: pytest.CaptureFixture[str]
) -> None:
    embedder.encode("a dog", progress=True)
    reranker.score(("a", "dog"), progress=True)
    lines = capsys.readouterr().err.split("\n")  # a bar may be drawn several times, each on its own line
    assert sum("1/1 " in line for line in lines) == 2


def test_silence_by_default(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(TEXTS)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "")
