"""Exact search: the same as sorting all scores, however the corpus is cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError
from lagotto.search import exact
from lagotto.search.exact import NOTHING, top_k

F32 = np.float32


def brute_force(queries, documents, k):
    """Every score, the largest first, equal ones by place."""
    scores = queries @ documents.T if len(documents) else np.zeros((len(queries), 0), F32)
    best = np.full((len(queries), k), -np.inf, F32)
    places = np.full((len(queries), k), NOTHING, np.int64)
    for row, line in enumerate(scores.tolist()):
        order = sorted(range(len(line)), key=lambda place: (-line[place], place))[:k]
        places[row, : len(order)] = order
        best[row, : len(order)] = [line[place] for place in order]
    return best, places


def blocks_of(documents, cuts):
    edges = [0, *sorted(cuts), len(documents)]
    return [(start, documents[start:end]) for start, end in zip(edges, edges[1:], strict=False)]


@st.composite
def searches(draw):
    """Vectors of small integers, so that scores are exact and often equal; any cutting, empty blocks among it."""
    rows, queries, dimension = draw(st.integers(0, 40)), draw(st.integers(0, 6)), draw(st.integers(1, 3))
    numbers = np.random.default_rng(draw(st.integers(0, 10_000)))
    largest = draw(st.integers(0, 3))
    documents = numbers.integers(-largest, largest + 1, (rows, dimension)).astype(F32)
    asked = numbers.integers(-largest, largest + 1, (queries, dimension)).astype(F32)
    return asked, documents, draw(st.lists(st.integers(0, rows), max_size=8)), draw(st.integers(1, 50))


@given(searches())
def test_the_same_as_sorting_however_the_corpus_is_cut(search):
    queries, documents, cuts, k = search
    scores, places = top_k(queries, blocks_of(documents, cuts), k)
    expected, order = brute_force(queries, documents, k)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(scores, expected)
    assert (scores.dtype, places.dtype) == (np.float32, np.int64)


@pytest.mark.parametrize("width", [1, 7, 100])
def test_the_same_as_sorting_on_real_vectors(width):
    numbers = np.random.default_rng(3)
    documents, queries = numbers.standard_normal((300, 24), F32), numbers.standard_normal((20, 24), F32)
    scores, places = top_k(queries, blocks_of(documents, range(0, 300, width)), 10)
    expected, order = brute_force(queries, documents, 10)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-6)


def test_queries_are_scored_in_parts(monkeypatch):
    monkeypatch.setattr(exact, "QUERIES_AT_ONCE", 3)
    numbers = np.random.default_rng(4)
    documents = numbers.integers(-2, 3, (30, 4)).astype(F32)
    queries = numbers.integers(-2, 3, (10, 4)).astype(F32)
    np.testing.assert_array_equal(
        top_k(queries, blocks_of(documents, [11]), 5)[1], brute_force(queries, documents, 5)[1]
    )


def test_all_documents_alike_are_found_by_place():
    documents = np.ones((1000, 2), F32)
    scores, places = top_k(np.ones((1, 2), F32), blocks_of(documents, [1, 100, 999]), 5)
    assert places.tolist() == [[0, 1, 2, 3, 4]]
    assert scores.tolist() == [[2.0] * 5]


def test_less_than_nothing_is_a_score_too():
    _, places = top_k(np.array([[1]], F32), [(0, np.array([[-3], [-1], [-2]], F32))], 2)
    assert places.tolist() == [[1, 2]]


def test_more_asked_for_than_there_is():
    scores, places = top_k(np.array([[1.0]], F32), [(0, np.array([[1], [3]], F32))], 4)
    assert places.tolist() == [[1, 0, NOTHING, NOTHING]]
    assert scores.tolist() == [[3.0, 1.0, -np.inf, -np.inf]]


def test_no_documents():
    scores, places = top_k(np.ones((2, 3), F32), [], 2)
    assert places.tolist() == [[NOTHING] * 2] * 2
    assert (scores == -np.inf).all()


def test_no_queries():
    scores, places = top_k(np.zeros((0, 3), F32), [(0, np.ones((4, 3), F32))], 2)
    assert scores.shape == places.shape == (0, 2)


def test_places_count_from_where_a_block_starts():
    _, places = top_k(np.ones((1, 1), F32), [(1_000_000_000_000, np.array([[1], [2]], F32))], 1)
    assert places.tolist() == [[1_000_000_000_001]]


def test_blocks_are_read_once_and_let_go():
    taken = []

    def blocks():
        for start in range(3):
            taken.append(start)
            yield start, np.full((1, 1), start, F32)

    _, places = top_k(np.ones((1, 1), F32), blocks(), 1)
    assert (places.tolist(), taken) == ([[2]], [0, 1, 2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(bad):
    fine = np.ones((3, 2), F32)
    wrong = fine.copy()
    wrong[1, 1] = bad
    with pytest.raises(InvalidInputError, match="query vectors hold numbers that are not finite"):
        top_k(wrong, [], 1)
    with pytest.raises(InvalidInputError, match="document vectors from place 3 on hold numbers that are not finite"):
        top_k(fine, [(0, fine), (3, wrong)], 1)


def test_infinities_that_cancel_are_refused():
    with pytest.raises(InvalidInputError, match="not finite"), np.errstate(invalid="ignore"):
        top_k(np.array([[np.inf, -np.inf]], F32), [], 1)


def test_the_largest_numbers_are_finite():
    largest = np.finfo(F32).max
    _, places = top_k(np.array([[1, 0]], F32), [(0, np.full((1000, 2), largest, F32))], 1)
    assert places.tolist() == [[0]]


@pytest.mark.parametrize(
    ("queries", "block", "k", "message"),
    [
        (np.ones(3, F32), np.ones((1, 3), F32), 1, r"queries have shape \(3,\); expected \(queries, dimension\)"),
        (np.ones((1, 3), F32), np.ones((1, 2), F32), 1, r"documents have shape \(1, 2\), queries \(1, 3\)"),
        (np.ones((1, 3), F32), np.ones(3, F32), 1, r"documents have shape \(3,\)"),
        (np.ones((1, 3), F32), np.ones((1, 3), F32), 0, "k is 0; give at least 1"),
        (np.ones((1, 3), F32), np.ones((1, 3), F32), -1, "k is -1; give at least 1"),
    ],
)
def test_what_does_not_fit_is_refused(queries, block, k, message):
    with pytest.raises(InvalidInputError, match=message):
        top_k(queries, [(0, block)], k)
