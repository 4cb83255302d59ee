"""Fusion: the same as adding up in dictionaries."""

from __future__ import annotations

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError
from lagotto.search.exact import NOTHING
from lagotto.search.fusion import RRF_K, check_fusion, fuse

LISTS = st.lists(st.integers(0, 12), max_size=10, unique=True)


def ranking(*rows):
    """From lists of (place, score), one a query."""
    width = max((len(row) for row in rows), default=0)
    scores = np.full((len(rows), width), -np.inf, np.float32)
    places = np.full((len(rows), width), NOTHING, np.int64)
    for row, hits in enumerate(rows):
        for rank, (place, score) in enumerate(hits):
            places[row, rank], scores[row, rank] = place, score
    return scores, places


def scored(draw, places):
    """Hits with falling scores, some of them equal."""
    steps = [draw(st.sampled_from([0.0, 0.25, 1.0])) for _ in places]
    values = np.cumsum(steps[::-1])[::-1] - draw(st.integers(0, 3))
    return [(place, float(value)) for place, value in zip(places, values, strict=True)]


@st.composite
def rankings(draw):
    queries, count = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rows = [[scored(draw, draw(LISTS)) for _ in range(queries)] for _ in range(count)]
    weights = draw(st.none() | st.lists(st.sampled_from([0.25, 1.0, 3.0]), min_size=count, max_size=count))
    return rows, weights, draw(st.integers(1, 20))


def added(lists, weights, method, scaling, rrf_k, widths):
    """document -> fused score; ``widths`` say how many hits each list had room for."""
    documents = {place for hits in lists for place, _ in hits}
    total = dict.fromkeys(documents, 0.0)
    for weight, hits, width in zip(weights or [1.0] * len(lists), lists, widths, strict=True):
        if method == "rrf":
            for rank, (place, _) in enumerate(hits, 1):
                total[place] += weight / (rrf_k + rank)
        elif hits:
            scaled = scale([score for _, score in hits], scaling)
            missing = 0.0 if scaling == "min_max" else min(scaled)
            if scaling == "none" and len(hits) < width:
                missing = min(missing, 0.0)
            share = dict(zip((place for place, _ in hits), scaled, strict=True))
            for place in documents:
                total[place] += weight * share.get(place, missing)
    return total


def scale(values, scaling):
    if scaling == "none":
        return values
    if scaling == "min_max":
        low, high = min(values), max(values)
        return [(value - low) / (high - low) if high > low else 1.0 for value in values]
    spread = statistics.pstdev(values)
    return [(value - statistics.fmean(values)) / spread if spread else 0.0 for value in values]


@pytest.mark.parametrize(
    ("method", "scaling"), [("rrf", "min_max"), ("weighted", "min_max"), ("weighted", "z_score"), ("weighted", "none")]
)
@given(case=rankings(), rrf_k=st.sampled_from([0, 1, RRF_K]))
def test_the_same_as_adding_up_in_dictionaries(method, scaling, case, rrf_k):
    rows, weights, k = case
    scores, places = fuse(
        [ranking(*lists) for lists in rows], k, method=method, weights=weights, rrf_k=rrf_k, scaling=scaling
    )
    assert scores.shape == places.shape == (len(rows[0]), k)
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)
    for row in range(len(rows[0])):
        widths = [max(map(len, lists)) for lists in rows]
        total = added([lists[row] for lists in rows], weights, method, scaling, rrf_k, widths)
        hits = min(k, len(total))
        found, values = places[row, :hits].tolist(), scores[row, :hits].tolist()
        assert len(set(found)) == hits
        assert values == pytest.approx([total[place] for place in found], abs=1e-5)
        assert values == pytest.approx(sorted(total.values(), reverse=True)[:hits], abs=1e-5)
        assert (places[row, hits:] == NOTHING).all()
        assert (scores[row, hits:] == -np.inf).all()


def test_reciprocal_ranks():
    a, b = ranking([(4, 9.0), (7, 8.0)]), ranking([(7, 0.5), (1, 0.4)])
    scores, places = fuse([a, b], 3)
    assert places.tolist() == [[7, 4, 1]]
    np.testing.assert_allclose(scores[0], [1 / 62 + 1 / 61, 1 / 61, 1 / 62], rtol=1e-6)


def test_equal_sums_are_ordered_by_place():
    _, places = fuse([ranking([(9, 1.0), (3, 0.5)]), ranking([(3, 1.0), (9, 0.5)]), ranking([(1, 2.0), (0, 1.0)])], 4)
    assert places.tolist() == [[3, 9, 1, 0]]


def test_what_a_ranking_with_room_left_did_not_find_scores_0_as_it_is():
    """Sparse vectors that share no token have an inner product of 0, and not that of the last document that does."""
    dense, sparse = ranking([(0, 0.5), (1, 0.4), (2, 0.3)]), ranking([(0, 0.2)])
    room = ((0, 0), (0, 2))
    wide = np.pad(sparse[0], room, constant_values=-np.inf), np.pad(sparse[1], room, constant_values=NOTHING)
    full, rest = (fuse([dense, one], 3, method="weighted", weights=[1, 1], scaling="none")[0] for one in (sparse, wide))
    np.testing.assert_allclose(full, [[0.7, 0.6, 0.5]], rtol=1e-6)
    np.testing.assert_allclose(rest, [[0.7, 0.4, 0.3]], rtol=1e-6)


def test_weights_decide():
    a, b = ranking([(0, 1.0), (1, 0.0)]), ranking([(1, 1.0), (0, 0.0)])
    for method in ("rrf", "weighted"):
        assert fuse([a, b], 1, method=method, weights=[0.6, 0.4])[1].tolist() == [[0]]
        assert fuse([a, b], 1, method=method, weights=[0.4, 0.6])[1].tolist() == [[1]]
        assert fuse([a, b], 1, method=method, weights=[0, 0.1])[1].tolist() == [[1]]


def test_scales_differ_and_scaling_makes_them_alike():
    dense, words = ranking([(0, 0.9), (1, 0.6), (2, 0.5)]), ranking([(1, 30.0), (2, 29.0), (0, 5.0)])
    assert fuse([dense, words], 3, method="weighted", scaling="none")[1].tolist() == [[1, 2, 0]]
    assert fuse([dense, words], 3, method="weighted")[1].tolist() == [[1, 0, 2]]


@pytest.mark.parametrize("scaling", ["min_max", "z_score", "none"])
def test_a_ranking_that_found_nothing_changes_nothing(scaling):
    a, nothing = ranking([(5, 3.0), (2, 1.0)]), ranking([])
    for method in ("rrf", "weighted"):
        assert fuse([a, nothing], 2, method=method, scaling=scaling)[1].tolist() == [[5, 2]]


def test_the_only_hit_of_a_ranking_counts():
    """Its scaled score is 1, like that of a best hit, and documents that were not found get 0."""
    many, one = ranking([(0, 1.0), (1, 0.9), (2, 0.0)]), ranking([(1, 17.0)])
    assert fuse([many, one], 3, method="weighted")[1].tolist() == [[1, 0, 2]]


def test_nothing_found_at_all():
    scores, places = fuse([ranking([]), ranking([])], 2)
    assert places.tolist() == [[NOTHING, NOTHING]]
    assert scores.tolist() == [[-np.inf, -np.inf]]


def test_no_queries():
    nothing = (np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int64))
    assert fuse([nothing, nothing], 2)[0].shape == (0, 2)


def test_rankings_may_differ_in_depth():
    assert fuse([ranking([(0, 1.0)]), ranking([(1, 3.0), (2, 2.0), (0, 1.0)])], 9)[1].tolist()[0][:3] == [0, 1, 2]


def test_what_went_in_is_left_as_it_was():
    parts = [ranking([(0, 1.0), (1, 0.5)]), ranking([(1, 4.0)])]
    before = [(scores.copy(), places.copy()) for scores, places in parts]
    fuse(parts, 2, method="weighted", scaling="z_score")
    for (scores, places), (old_scores, old_places) in zip(parts, before, strict=True):
        np.testing.assert_array_equal(scores, old_scores)
        np.testing.assert_array_equal(places, old_places)


ONE = ranking([(0, 1.0)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"method": "sum"}, "fusion method is 'sum'; allowed are rrf, weighted"),
        ({"scaling": "softmax"}, "scaling is 'softmax'; allowed are min_max, z_score, none"),
        ({"rrf_k": -1}, r"rrf_k is -1; give 0 or more \(60 is usual\)"),
        ({"weights": [1.0]}, r"weights are \[1\.0\]; give 2 numbers of at least 0, not all 0"),
        ({"weights": []}, "weights are"),
        ({"weights": [1.0, 1.0, 1.0]}, "give 2 numbers"),
        ({"weights": [1.0, -1.0]}, "weights are"),
        ({"weights": [0, 0]}, "not all 0"),
        ({"weights": [float("nan"), 1]}, "weights are"),
        ({"weights": [float("inf"), 1]}, "weights are"),
        ({"weights": ["1", "2"]}, "weights are"),
        ({"weights": [True, False]}, "weights are"),
        ({"k": 0}, "k is 0; give at least 1"),
        ({"k": -3}, "k is -3"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        fuse([ONE, ONE], **{"k": 1, **settings})


def test_rankings_that_do_not_fit_are_refused():
    with pytest.raises(InvalidInputError, match="nothing to fuse"):
        fuse([], 1)
    with pytest.raises(InvalidInputError, match=r"rankings are of \[1, 2\] queries"):
        fuse([ONE, ranking([], [])], 1)


def test_settings_can_be_checked_before_there_is_a_ranking():
    check_fusion(2, method="weighted", weights=(1, 0.5), rrf_k=0, scaling="none")
    with pytest.raises(InvalidInputError, match="give 3 numbers"):
        check_fusion(3, method="rrf", weights=(1, 0.5), rrf_k=0, scaling="none")
