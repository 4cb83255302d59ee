"""Padding chosen sequences into a batch."""

from __future__ import annotations

import numpy as np

from lagotto.batch.sequences import Sequences, pad

IDS = [np.array(ids, np.int32) for ids in ([5, 6, 7], [8], [9, 10])]
SEQUENCES = Sequences(IDS, [3, 1, 1], [False, False, True], [0, 1, 1], 2)


def test_rows_come_in_the_order_asked_for_and_are_padded_on_the_right() -> None:
    batch = pad(SEQUENCES, [2, 1], pad_id=99)
    assert batch.ids.tolist() == [[9, 10], [8, 99]]
    assert batch.lengths.tolist() == [2, 1]
    assert batch.second.tolist() == [1, 1]
    assert batch.pad_id == 99
    assert {array.dtype for array in (batch.ids, batch.lengths, batch.second)} == {np.dtype(np.int32)}


def test_lengths_count_tokens() -> None:
    assert SEQUENCES.lengths() == [3, 1, 2]
    assert len(SEQUENCES) == 3
