"""The batch planner, by its properties."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.batch.planner import plan, similar

LENGTHS = st.lists(st.integers(0, 700), max_size=300)
BUDGETS = st.integers(1, 5000)
ROWS = st.integers(1, 64)


@given(LENGTHS, BUDGETS, ROWS)
def test_every_index_comes_once(lengths: list[int], budget: int, rows: int) -> None:
    batches = plan(lengths, budget, rows)
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    assert all(batches)


@given(LENGTHS, BUDGETS, ROWS)
def test_the_budget_holds_unless_a_sequence_is_alone(lengths: list[int], budget: int, rows: int) -> None:
    for batch in plan(lengths, budget, rows):
        longest = max(lengths[i] for i in batch)
        assert len(batch) <= rows
        assert len(batch) == 1 or len(batch) * longest <= budget


@given(LENGTHS, BUDGETS, ROWS)
def test_lengths_fall_and_equal_ones_keep_their_order(lengths: list[int], budget: int, rows: int) -> None:
    order = [i for batch in plan(lengths, budget, rows) for i in batch]
    assert order == sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))


@given(LENGTHS, BUDGETS, ROWS)
def test_no_sequence_is_padded_to_a_much_longer_one(lengths: list[int], budget: int, rows: int) -> None:
    for batch in plan(lengths, budget, rows):
        assert all(similar(max(1, lengths[i]), max(1, lengths[batch[0]])) for i in batch)


@given(LENGTHS, BUDGETS, ROWS)
def test_no_batch_could_have_taken_the_next_sequence(lengths: list[int], budget: int, rows: int) -> None:
    batches = plan(lengths, budget, rows)
    for batch, behind in zip(batches, batches[1:], strict=False):
        longest, following = max(1, lengths[batch[0]]), max(1, lengths[behind[0]])
        assert len(batch) == rows or (len(batch) + 1) * longest > budget or not similar(following, longest)


@given(st.integers(1, 1000), st.integers(1, 1000), st.integers(1, 1000))
def test_what_is_similar_to_a_length_is_similar_to_all_between(a: int, b: int, c: int) -> None:
    shortest, middle, longest = sorted((a, b, c))
    if similar(shortest, longest):
        assert similar(shortest, middle)
        assert similar(middle, longest)


@given(LENGTHS, BUDGETS)
def test_a_plan_depends_on_lengths_only(lengths: list[int], budget: int) -> None:
    assert plan(lengths, budget) == plan(tuple(lengths), budget)


def test_nothing_gives_no_batch() -> None:
    assert plan([], 100) == []


@pytest.mark.parametrize(("budget", "rows"), [(0, 1), (1, 0), (-5, 5)])
def test_impossible_limits_are_refused(budget: int, rows: int) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        plan([1], budget, rows)
