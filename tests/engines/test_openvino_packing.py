"""Batches as the CPU engine's graphs take them: texts one behind another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.batch.sequences import Batch
from lagotto.engines.base import Engine
from lagotto.engines.openvino.packing import MULTIPLE, pack
from support.checkpoints import BERT, XLMR, write_embedder
from support.engines import checkpoint_of


def batch(*rows: list[int], lengths: list[int] | None = None, second: list[int] | None = None, pad: int = 0) -> Batch:
    sizes = [len(row) for row in rows]
    ids = np.full((len(rows), max(sizes)), pad, np.int32)
    for number, row in enumerate(rows):
        ids[number, : len(row)] = row
    return Batch(ids, np.array(lengths or sizes, np.int32), np.array(second or sizes, np.int32), pad)


def test_tokens_lie_one_behind_another(tiny_bert: Path) -> None:
    found = pack(batch([5, 6, 7], [8], [9, 10]), checkpoint_of(tiny_bert).config)
    assert found["ids"].tolist() == [5, 6, 7, 8, 9, 10]
    assert found["positions"].tolist() == [0, 1, 2, 0, 0, 1]
    assert found["firsts"].tolist() == [0, 3, 4]
    assert found["lengths"].tolist() == [3, 1, 2]
    assert found["index"].tolist() == [[0, 1, 2], [3, 3, 3], [4, 5, 5]]
    assert found["slots"].tolist() == [0, 1, 2, 3, 6, 7]
    assert all(values.dtype == np.int32 for values in found.values())


def test_the_second_text_of_a_pair_is_marked(tiny_reranker: Path) -> None:
    found = pack(batch([5, 6, 7, 8], [9, 10], second=[2, 1]), checkpoint_of(tiny_reranker, "rerank").config)
    assert found["kinds"].tolist() == [0, 0, 1, 1, 0, 1]


def test_robertas_positions_skip_padding_that_a_text_spells_out(tiny_xlmr_reranker: Path) -> None:
    config = checkpoint_of(tiny_xlmr_reranker, "rerank").config
    pad = config.pad_token_id
    found = pack(batch([5, pad, 7], [8, 9], pad=pad), config)
    assert found["positions"].tolist() == [pad + 1, pad, pad + 2, pad + 1, pad + 2]


def test_tokens_that_see_and_are_not_seen_are_kept(tiny_bert: Path) -> None:
    """A ColBERT query's expansion stands behind its length."""
    found = pack(batch([5, 6, 4, 4], [7], lengths=[2, 1]), checkpoint_of(tiny_bert).config)
    assert found["ids"].tolist() == [5, 6, 4, 4, 7]
    assert found["lengths"].tolist() == [2, 1]


def test_many_tokens_are_made_up_to_a_multiple(tiny_bert: Path) -> None:
    config = checkpoint_of(tiny_bert).config
    rows = [list(range(5, 5 + size)) for size in (100, 50)]
    found = pack(batch(*rows), config)
    assert len(found["ids"]) == -(-150 // MULTIPLE) * MULTIPLE > 150
    assert found["index"].max() == 149
    assert len(pack(batch(*rows), config, multiple=1)["ids"]) == 150


@pytest.fixture(scope="module", params=[BERT, XLMR], ids=["bert", "xlm-roberta"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Iterator[Engine]:
    folder = write_embedder(tmp_path_factory.mktemp("packing") / "model", request.param)
    with Embedder(folder, precision="f32", threads=1, cache_dir=cache) as model:
        yield model._loaded.engine


def test_rows_of_any_lengths_give_what_they_give_alone(engine: Engine) -> None:
    random = np.random.default_rng(3)
    rows = [random.integers(5, 60, size).tolist() for size in (1, 40, 7, 60, 2, 40)]
    pad = 1
    alone = [engine.submit(batch(row, pad=pad)).result()[0] for row in rows]
    np.testing.assert_allclose(engine.submit(batch(*rows, pad=pad)).result(), alone, atol=2e-5)
    states = engine.submit(batch(*rows, pad=pad), "states").result()
    assert states.shape[:2] == (6, 60)
    for number, row in enumerate(rows):
        one = engine.submit(batch(row, pad=pad), "states").result()[0]
        np.testing.assert_allclose(states[number, : len(row)], one[: len(row)], atol=2e-5)
