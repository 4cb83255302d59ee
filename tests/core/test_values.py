"""The values models give: they behave like the arrays they hold."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto.core.values import Embeddings, RankedDocument, Ranking, Scores


def embeddings(rows: int, start: int = 0) -> Embeddings:
    dense = np.arange(start, start + rows * 3, dtype=np.float32).reshape(rows, 3)
    return Embeddings(dense, np.arange(1, rows + 1, dtype=np.int32), np.arange(rows) % 2 == 0)


def test_embeddings_behave_like_their_matrix() -> None:
    value = embeddings(4)
    assert len(value) == 4
    np.testing.assert_array_equal(np.asarray(value), value.dense)
    np.testing.assert_array_equal(np.stack(list(value)), value.dense)
    np.testing.assert_array_equal(value[1], value.dense[1])
    np.testing.assert_array_equal(value[-1], value.dense[3])
    assert np.asarray(value, np.float64).dtype == np.float64


def test_a_slice_keeps_tokens_and_truncation() -> None:
    part = embeddings(4)[1:3]
    assert isinstance(part, Embeddings)
    assert part.tokens.tolist() == [2, 3]
    assert part.truncated.tolist() == [False, True]


def test_an_index_beyond_the_end_raises() -> None:
    with pytest.raises(IndexError):
        embeddings(2)[2]


def test_repr_counts() -> None:
    assert repr(embeddings(3)) == "Embeddings(3 x 3, 6 tokens, 2 truncated)"


def test_concatenating_keeps_order() -> None:
    whole = Embeddings.concatenate([embeddings(2), embeddings(1, start=6)], 3)
    np.testing.assert_array_equal(whole.dense, embeddings(3).dense)
    assert whole.tokens.tolist() == [1, 2, 1]


def test_concatenating_nothing_keeps_the_dimension() -> None:
    nothing = Embeddings.concatenate([], 5)
    assert nothing.dense.shape == (0, 5)
    assert (nothing.dense.dtype, nothing.tokens.dtype, nothing.truncated.dtype) == (np.float32, np.int32, np.bool_)
    assert len(nothing) == 0


def test_embeddings_are_frozen() -> None:
    with pytest.raises(AttributeError):
        embeddings(1).dense = np.zeros((1, 3), np.float32)  # type: ignore[misc]


def test_scores_behave_like_their_array() -> None:
    scores = Scores(np.array([0.5, -1], np.float32), np.array([3, 4], np.int32), np.array([False, True]))
    assert len(scores) == 2
    assert list(scores) == [0.5, -1.0]
    assert scores[1] == -1.0
    assert isinstance(scores[0], float)
    np.testing.assert_array_equal(np.asarray(scores), scores.scores)


def test_ranking_is_a_sequence() -> None:
    best, worst = RankedDocument(1, 0.9, "b"), RankedDocument(0, 0.1, "a")
    ranking = Ranking((best, worst), tokens=7)
    assert list(ranking) == [best, worst]
    assert ranking[0] is best
    assert ranking[:1] == (best,)
    assert worst in ranking
    assert len(ranking) == 2
