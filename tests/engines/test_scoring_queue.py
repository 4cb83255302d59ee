"""Language models' rows in front of an engine: what is asked of them decides what they are computed with."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lagotto.batch.sequences import Batch
from lagotto.core.errors import EngineError
from lagotto.engines.base import Output, Scoring
from lagotto.engines.merging import MergingQueue
from support.engines import Vectors

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.llm_rerankers import open_ranker, write_layerwise  # noqa: E402


def batch(*firsts: int, length: int = 6) -> Batch:
    ids = np.full((len(firsts), length), 7, np.int32)
    ids[:, 0] = firsts
    return Batch(ids, np.full(len(firsts), length, np.int32), np.full(len(firsts), 2, np.int32), 0)


def test_rows_of_other_scorings_share_no_batch_and_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal rows are computed once for each scoring, and rows of one scoring together."""
    computed: list[tuple[Output, list[int]]] = []
    from threading import Event

    gate, entered = Event(), Event()

    def compute(given: Batch, output: Output) -> Vectors:
        if not entered.is_set():
            entered.set()
            gate.wait()
        assert isinstance(output, Scoring)
        computed.append((output, sorted(given.ids[:, 0].tolist())))
        layers = output.cutoff_layers
        return np.array([[first + layer / 10 for layer in layers] for first in given.ids[:, 0]], np.float32)

    queue = MergingQueue(1, compute, "scoring")
    low, high = Scoring(cutoff_layers=(8,)), Scoring(cutoff_layers=(8, 9))
    shorter = Scoring(cutoff_layers=(8,), compress_layers=(4,), compress_ratio=2, closing=1)
    queue.submit(batch(99), low)
    entered.wait()
    asked = [(low, 1), (high, 1), (low, 2), (shorter, 1), (Scoring(cutoff_layers=(8,)), 1)]
    futures = [(how, first, queue.submit(batch(first), how)) for how, first in asked]
    assert queue.stats().waiting == 4
    gate.set()
    for how, first, future in futures:
        expected = [[first + layer / 10 for layer in how.cutoff_layers]]
        np.testing.assert_allclose(future.result(), expected, rtol=1e-6)
    queue.close()
    assert sorted((str(how), rows) for how, rows in computed[1:]) == sorted(
        [(str(low), [1, 2]), (str(high), [1]), (str(shorter), [1])]
    )
    assert (queue.stats().shared, queue.stats().tokens) == (1, 5 * 6)


def test_a_scoring_goes_to_another_process() -> None:
    how = Scoring(yes=3, no=4, cutoff_layers=(1, 2))
    assert pickle.loads(pickle.dumps(how)) == how


def test_a_language_model_gives_scores_alone(tmp_path: Path) -> None:
    with open_ranker(write_layerwise(tmp_path, "minicpm"), "minicpm") as ranker:
        with pytest.raises(EngineError, match="not 'pooled': give a Scoring"):
            ranker._loaded.engine.submit(batch(5)).result()
        assert ranker.engine.output == 1


def test_two_devices_give_what_one_gives(tmp_path: Path) -> None:
    from lagotto import Reranker
    from support.llm_rerankers import CARDS

    folder = write_layerwise(tmp_path, "minicpm")
    pairs = [("what is a panda", f"the panda is {number} days old") for number in range(6)]
    with open_ranker(folder, "minicpm") as ranker:
        expected = ranker.score(pairs)
    where = {"engine": "torch", "device": "cpu,cpu", "precision": "f32", "threads": 2}
    with Reranker(folder, card=CARDS["minicpm"], **where) as ranker:  # type: ignore[arg-type]
        assert np.allclose(ranker.score(pairs).scores, expected.scores, atol=1e-5)
