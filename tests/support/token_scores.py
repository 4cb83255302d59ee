"""Scores of the miniature collection by each of an embedder's outputs, and what a ranking by them must be."""

from __future__ import annotations

from typing import Any

import numpy as np

from lagotto import Embedder
from lagotto.heads.similarity import lexical_matching, max_sim_matrix
from support.collection import documents, queries

DOCUMENT_TEXTS = list(documents().values())
QUERY_TEXTS = list(queries().values())
ALL = ("dense", "sparse", "multivector")


def tables(model: Embedder, query_prompt: str = "", document_prompt: str = "") -> dict[str, np.ndarray]:
    """(queries, documents) scores of every output. Token vectors are rounded as the store keeps them."""
    a = model.encode(QUERY_TEXTS, prompt=query_prompt, outputs=ALL)
    b = model.encode(DOCUMENT_TEXTS, prompt=document_prompt, outputs=ALL)
    return {
        "dense": a.dense @ b.dense.T,
        "sparse": lexical_matching(a.sparse, b.sparse),
        "multivector": max_sim_matrix(a.multivector.half(), b.multivector.half()),
    }


def check(ranked: Any, table: np.ndarray, k: int, *, hits_only: bool = False) -> None:
    """The same scores in the same order, and each the score of the document it stands by."""
    for row, values in enumerate(table):
        there = (values > 0).sum() if hits_only else len(values)
        wanted = np.sort(values)[::-1][: min(k, there)]
        found = ranked.places[row, : len(wanted)]
        np.testing.assert_allclose(ranked.scores[row, : len(wanted)], wanted, atol=1e-4)
        np.testing.assert_allclose(values[found], wanted, atol=1e-4)
        assert (ranked.places[row, len(wanted) :] == -1).all()
