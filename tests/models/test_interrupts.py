"""A model stays usable whatever is raised on the way, and the exception reaches the caller."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from support.checkpoints import some_texts

TEXTS = some_texts(300, longest=12)


class Stop(Exception):
    """The caller's own."""


@pytest.fixture(params=[Stop, KeyboardInterrupt, SystemExit])
def error(request: pytest.FixtureRequest) -> type[BaseException]:
    kind: type[BaseException] = request.param
    return kind


@pytest.fixture
def model(tiny_bert: Path) -> Iterator[Embedder]:
    with Embedder(tiny_bert, precision="f32", threads=1) as opened:
        yield opened


def usable(model: Embedder, expected: np.ndarray) -> bool:
    return np.allclose(model.encode(TEXTS).dense, expected, atol=2e-5)


def test_an_exception_in_the_callers_iterator_reaches_the_caller(model: Embedder, error: type[BaseException]) -> None:
    expected = model.encode(TEXTS).dense

    def texts() -> Iterator[str]:
        yield from TEXTS * 8
        raise error

    for _ in range(3):
        with pytest.raises(error):
            model.encode(texts())
        with pytest.raises(error):
            list(model.stream(texts()))
    assert usable(model, expected)


def test_an_exception_in_the_progress_function_reaches_the_caller(model: Embedder, error: type[BaseException]) -> None:
    expected = model.encode(TEXTS).dense

    def progress(_: int) -> None:
        raise error

    for _ in range(8):  # more than the engine has workers and places in its queue
        with pytest.raises(error):
            model.encode(TEXTS, progress=progress)
    assert usable(model, expected)


def test_an_exception_between_two_parts_leaves_the_model_usable(model: Embedder, error: type[BaseException]) -> None:
    expected = model.encode(TEXTS).dense
    for _ in range(3):
        with pytest.raises(error):
            for _part in model.stream(TEXTS * 16):
                raise error
    assert usable(model, expected)


def test_an_exception_while_scoring_leaves_the_reranker_usable(tiny_reranker: Path, error: type[BaseException]) -> None:
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))

    def broken() -> Iterator[tuple[str, str]]:
        yield from pairs
        raise error

    with Reranker(tiny_reranker, precision="f32", threads=1) as model:
        expected = model.score(pairs).scores
        with pytest.raises(error):
            model.score(broken())
        np.testing.assert_allclose(model.score(pairs).scores, expected, atol=2e-5)
