"""What rows begin with is computed once: the same scores, fewer tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lagotto.batch.sequences import Batch
from lagotto.engines.base import Scoring

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto.engines import sharing  # noqa: E402
from lagotto.engines.sharing import share  # noqa: E402
from lagotto.engines.torch.pair_scores import PairScores  # noqa: E402
from support.llm_rerankers import open_ranker, write_layerwise  # noqa: E402


def batch_of(second: list[int], lengths: list[int], firsts: list[int]) -> Batch:
    ids = np.zeros((len(lengths), max(lengths)), np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = 10 + np.arange(length) + row
        ids[row, : second[row]] = firsts[row]
    return Batch(ids, np.array(lengths, np.int32), np.array(second, np.int32), 0)


def test_each_different_beginning_is_taken_once() -> None:
    found = share(batch_of([8, 8, 5, 8, 5], [12, 10, 11, 12, 9], [3, 3, 4, 3, 4]))
    assert found is not None
    assert found.owner.tolist() == [0, 0, 1, 0, 1]
    assert found.lengths.tolist() == [8, 5]
    assert found.prefixes.tolist() == [[3] * 8, [4] * 5 + [0] * 3]
    assert found.rest.shape == (5, 6)
    assert found.rest[1].tolist() == [19, 20, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("second", "lengths", "firsts"),
    [
        ([8, 8], [12, 12], [3, 4]),  # no two alike
        ([1, 1], [30, 30], [3, 3]),  # alike, but hardly
        ([0, 0], [9, 9], [3, 3]),  # nothing in front
        ([9, 9], [9, 9], [3, 3]),  # nothing behind
    ],
)
def test_where_it_saves_little_rows_stay_whole(second: list[int], lengths: list[int], firsts: list[int]) -> None:
    assert share(batch_of(second, lengths, firsts)) is None


def test_scores_do_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []
    real = sharing.share
    monkeypatch.setattr("lagotto.engines.torch.pair_scores.share", lambda b: taken.append(real(b)) or taken[-1])
    with open_ranker(write_layerwise(tmp_path, "cost_wise_gemma"), "cost_wise_gemma") as ranker:
        compute = ranker._loaded.engine._compute._compute  # type: ignore[attr-defined]
        assert isinstance(compute, PairScores)
        query = "what is a giant panda and where does it find water"
        pairs = [(query, f"the animal is {number} days old") for number in range(8)]
        together = ranker.score(pairs).scores
        assert any(shared is not None and len(shared.prefixes) == 1 for shared in taken)
        compute._sharing = False
        assert np.allclose(ranker.score(pairs).scores, together, atol=1e-5)


def test_compression_keeps_what_is_shared_as_it_is(tmp_path: Path) -> None:
    from lagotto.cards.checkpoint import open_checkpoint
    from lagotto.cards.sources import Source

    folder = write_layerwise(tmp_path, "cost_wise_mistral")
    checkpoint = open_checkpoint(Source(str(folder), folder, row=None), "rerank", card="BAAI/Matroyshka-ReRanker-beir")
    given = batch_of([9, 9, 9], [25, 20, 22], [3, 3, 3])
    assert share(given) is not None
    how = Scoring(cutoff_layers=(2, 4), compress_layers=(1, 2, 3), compress_ratio=2, closing=4)
    one, other = (PairScores(checkpoint, "cpu", "f32", sharing=wanted)(given, how) for wanted in (True, False))
    assert np.allclose(one, other, atol=1e-5)
