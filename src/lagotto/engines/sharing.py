"""Which pairs of a batch begin alike, and what it saves to compute that once."""

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
    """(prefixes, tokens) the different beginnings, right-padded; at least one token wide."""
    lengths: Ids
    """(prefixes,) may be 0, where a row begins with its second segment."""
    owner: Ids
    """(rows,) which of them a row continues."""
    rest: Ids
    """(rows, tokens) what stands behind, right-padded."""
    behind: Ids
    """(rows,) its tokens, at least 1."""

    @property
    def size(self) -> int:
        """Tokens that are computed, padding counted."""
        return self.prefixes.size + self.rest.size


def part(batch: Batch) -> Shared:
    """The first segments of a batch's pairs, each different one once, and what stands behind them.

    A token of a causal model sees only what stands in front of it, so the states of a query that comes first do not
    depend on the passage behind it. A row's last token is never in the first part.
    """
    rows = len(batch.lengths)
    ends = np.minimum(batch.second, batch.lengths - 1)
    firsts = [batch.ids[row, : ends[row]].tobytes() for row in range(rows)]
    number = {first: place for place, first in enumerate(dict.fromkeys(firsts))}
    owner = np.array([number[first] for first in firsts], np.int32)
    lead = np.unique(owner, return_index=True)[1]
    lengths, behind = ends[lead], batch.lengths - ends
    prefixes = np.full((len(lead), max(1, int(lengths.max()))), batch.pad_id, np.int32)
    rest = np.full((rows, int(behind.max())), batch.pad_id, np.int32)
    for place, row in enumerate(lead):
        prefixes[place, : lengths[place]] = batch.ids[row, : lengths[place]]
    for row in range(rows):
        rest[row, : behind[row]] = batch.ids[row, ends[row] : batch.lengths[row]]
    return Shared(prefixes, lengths, owner, rest, behind)


def share(batch: Batch) -> Shared | None:
    """`part`, or None where it would compute hardly less, or shorten a second segment."""
    if batch.second.min() < 1 or (batch.lengths - batch.second).min() < 1:
        return None
    shared = part(batch)
    if len(shared.prefixes) == len(shared.rest) or shared.size > _WORTH * batch.ids.size:
        return None
    return shared
