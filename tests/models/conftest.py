"""Models opened once for all tests here; none of them may close one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from lagotto import Embedder, Reranker


@pytest.fixture(scope="session")
def embedder(tiny_bert: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(tiny_bert, precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="session", params=["bert", "xlm-roberta"])
def reranker(request: pytest.FixtureRequest, tiny_reranker: Path, tiny_xlmr_reranker: Path) -> Iterator[Reranker]:
    folder = tiny_reranker if request.param == "bert" else tiny_xlmr_reranker
    with Reranker(folder, precision="f32", threads=2) as model:
        yield model
