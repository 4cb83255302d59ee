"""Windows over long documents, by their properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.batch.windows import shares, windows

SIZES = st.integers(1, 60).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))
LENGTH = st.integers(0, 500)


@given(LENGTH, SIZES)
def test_everything_is_covered(length: int, sizes: tuple[int, int]) -> None:
    spans = windows(length, *sizes)
    assert {token for start, end in spans for token in range(start, end)} == set(range(length))
    assert spans[0][0] == 0
    assert spans[-1][1] == length


@given(LENGTH, SIZES)
def test_windows_are_full_and_never_repeat(length: int, sizes: tuple[int, int]) -> None:
    size, _ = sizes
    spans = windows(length, *sizes)
    assert len(set(spans)) == len(spans)
    assert all(end - start == min(size, length) for start, end in spans)


@given(LENGTH, SIZES)
def test_neighbours_share_the_overlap_at_least(length: int, sizes: tuple[int, int]) -> None:
    spans = windows(length, *sizes)
    shared = [before[1] - after[0] for before, after in zip(spans, spans[1:], strict=False)]
    assert all(overlap == sizes[1] for overlap in shared[:-1])
    assert all(overlap >= sizes[1] for overlap in shared[-1:])


@pytest.mark.parametrize(("size", "overlap"), [(4, 4), (4, 5), (4, -1), (0, 0)])
def test_an_overlap_that_does_not_advance_is_refused(size: int, overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        windows(10, size, overlap)


@given(LENGTH, SIZES)
def test_every_token_counts_once_and_for_the_window_that_knows_most_around_it(
    length: int, sizes: tuple[int, int]
) -> None:
    spans = windows(length, *sizes)
    parts = shares(spans)
    assert [token for start, end in parts for token in range(start, end)] == list(range(length))
    for (start, end), part in zip(spans, parts, strict=True):
        assert start <= part[0] <= part[1] <= end
        assert part[0] < part[1] or length == 0
        for token in range(*part):
            rivals = [min(token - a, b - 1 - token) for a, b in spans if a <= token < b]
            assert min(token - start, end - 1 - token) == max(rivals)
