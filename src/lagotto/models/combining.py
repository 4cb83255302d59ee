"""From the windows of texts to one value a text."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.long_texts import Combination
from lagotto.batch.sequences import Sequences
from lagotto.core.arrays import normalize
from lagotto.core.token_values import MultiVectors, SparseVectors


def combine_dense(
    vectors: NDArray[np.float32], sequences: Sequences, how: Combination, unit: bool
) -> NDArray[np.float32]:
    """(sequences, dimension) -> (inputs, dimension); what is one sequence stays as it is to the bit.

    ``unit``: whether the result is normalised, as the vectors are then.
    """
    if len(sequences) == sequences.inputs:
        return vectors
    firsts = sequences.firsts()
    if how == "max":
        out: NDArray[np.float32] = np.maximum.reduceat(vectors, firsts, axis=0)
    else:
        total = np.add.reduceat(vectors * sequences.weights()[:, None].astype(np.float64), firsts, axis=0)
        out = (total / sequences.totals()[:, None]).astype(np.float32)
    out = normalize(out) if unit else out
    alone = np.flatnonzero(np.diff(firsts, append=len(sequences)) == 1)
    out[alone] = vectors[firsts[alone]]
    return out


def combine_sparse(found: SparseVectors, sequences: Sequences, most: int | None) -> SparseVectors:
    """For each token of an input the largest of its weights in all windows; of these the ``most`` largest, if given."""
    if len(sequences) == sequences.inputs and most is None:
        return found
    rows = []
    for start, end in pairwise([*sequences.firsts().tolist(), len(sequences)]):
        part = slice(int(found.indptr[start]), int(found.indptr[end]))
        ids, places = np.unique(found.indices[part], return_inverse=True)
        weights = np.zeros(len(ids), np.float32)
        np.maximum.at(weights, places, found.values[part])
        if most is not None and len(ids) > most:
            kept = np.sort(np.argpartition(weights, -most)[-most:])
            ids, weights = ids[kept], weights[kept]
        rows.append((ids, weights))
    return SparseVectors.from_rows(rows, found.vocabulary)


def combine_multivector(found: MultiVectors, sequences: Sequences) -> MultiVectors:
    """The windows' vectors one below another; each window gives those of the tokens that it speaks for."""
    ends = np.append(sequences.firsts(), len(sequences))
    return MultiVectors(found.vectors, found.offsets[ends])
