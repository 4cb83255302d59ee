"""Which rows of a batch begin alike, and what it saves to compute that once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lagotto.batch.sequences import Batch, Ids

_WORTH = 0.9
"""Share of a batch's padded tokens above which computing prefixes apart is not worth its masks."""


@dataclass(frozen=True, slots=True)
class Shared:
    """A batch whose rows were parted from what they begin with."""

    prefixes: Ids
    """(prefixes, tokens) the different beginnings, right-padded."""
    lengths: Ids
    """(prefixes,)"""
    owner: Ids
    """(rows,) which of them a row continues."""
    rest: Ids
    """(rows, tokens) what stands behind, right-padded."""


def share(batch: Batch) -> Shared | None:
    """The first segments of a batch's pairs, each different one once; None where that computes hardly less.

    A token of a causal model sees only what stands in front of it, so the states of a query that comes first do not
    depend on the passage behind it.
    """
    rows = len(batch.lengths)
    firsts = [batch.ids[row, : batch.second[row]].tobytes() for row in range(rows)]
    number = {first: place for place, first in enumerate(dict.fromkeys(firsts))}
    owner = np.array([number[first] for first in firsts], np.int32)
    lead = np.unique(owner, return_index=True)[1]
    lengths = batch.second[lead]
    behind = batch.lengths - batch.second
    padded = len(lead) * int(lengths.max()) + rows * int(behind.max())
    if len(lead) == rows or lengths.min() < 1 or behind.min() < 1 or padded > _WORTH * batch.ids.size:
        return None
    prefixes = np.full((len(lead), int(lengths.max())), batch.pad_id, np.int32)
    rest = np.full((rows, int(behind.max())), batch.pad_id, np.int32)
    for place, row in enumerate(lead):
        prefixes[place, : lengths[place]] = batch.ids[row, : lengths[place]]
    for row in range(rows):
        rest[row, : behind[row]] = batch.ids[row, batch.second[row] : batch.lengths[row]]
    return Shared(prefixes, lengths, owner, rest)
