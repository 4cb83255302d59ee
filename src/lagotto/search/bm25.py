"""BM25, as Lucene computes it, on the library bm25s.

The score of a document is the sum, over the terms of the query (a term that is there twice counts twice), of::

    ln(1 + (N - n + 0.5) / (n + 0.5)) * f / (f + k1 * (1 - b + b * length / mean length))

with N documents, n of them with the term, f times in this one; lengths in terms. This is Lucene's formula since version
8, with exact lengths; Lucene itself rounds them to a byte.
"""

from __future__ import annotations

import math
import sys
from array import array
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.search.analysis import Analyzer
from lagotto.search.exact import NOTHING

SAMPLE_TEXTS = 1000
"""Texts at the beginning by which the language is found, where the analyser is to find it."""
_TEXTS_A_REPORT = 256


class Bm25:
    """An index of terms in memory.

    ``analyzer`` makes terms of documents and queries alike; one with language ``auto`` takes the language of the first
    texts that are indexed. ``k1`` (0 or more) says how much repeating a term counts, ``b`` (0 to 1) how much length is
    held against a document. Raises `InvalidInputError` for others.

    >>> bm25 = Bm25(analyzer=Analyzer("en"))
    >>> bm25.index(["A dog barks.", "Cats and dogs.", "A cat purrs."])
    >>> bm25.search(["barking dogs"], k=3)[1].tolist()
    [[0, 1, -1]]
    """

    def __init__(self, *, k1: float = 1.2, b: float = 0.75, analyzer: Analyzer) -> None:
        if not (math.isfinite(k1) and k1 >= 0):
            raise InvalidInputError(f"k1 is {k1}; give 0 or more (1.2 is usual)", param="k1")
        if not 0 <= b <= 1:
            raise InvalidInputError(f"b is {b}; give a number from 0 to 1 (0.75 is usual)", param="b")
        self.k1, self.b = k1, b
        self.analyzer = analyzer
        """What texts are analysed with; after `index`, in the language that was found."""
        self._given = analyzer
        self._vocabulary: dict[str, int] | None = None
        self._scorer: Any = None  # bm25s.BM25, once there is a term to score by

    def index(self, texts: Iterable[str], progress: Callable[[int], None] | None = None) -> None:
        """Index texts, whose places (0, 1, ...) searches will give; what was indexed before is forgotten,
        unless reading the texts fails.

        Texts are read once, and let go. ``progress`` is told how many were read since it was last called. Raises
        `MissingDependencyError` without bm25s, or what the analyser needs.
        """
        library = _library()
        rest = iter(texts)
        sample = _sample(rest)
        analyzer = self._given.resolve(sample)
        documents, vocabulary = _read(_drained(sample, rest), analyzer, progress)
        scorer = None
        if vocabulary:  # bm25s cannot index nothing
            scorer = library.BM25(k1=self.k1, b=self.b, method="lucene", backend="numpy")
            scorer.scores = scorer.build_index_from_ids(range(len(vocabulary)), documents, show_progress=False)
        self.analyzer, self._vocabulary, self._scorer = analyzer, vocabulary, scorer

    def search(self, queries: Sequence[str], k: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """The k best documents of each query that share a term with it.

        Returns scores (queries, k) float32, best first, and places (queries, k) int64; -inf and -1 behind the last hit.
        Equal scores are ordered by place. Raises `InvalidInputError` before anything is indexed.
        """
        if k < 1:
            raise InvalidInputError(f"k is {k}; give at least 1", param="k")
        if self._vocabulary is None:
            raise InvalidInputError("nothing is indexed yet; call index first")
        scores = np.full((len(queries), k), -np.inf, np.float32)
        places = np.full((len(queries), k), NOTHING, np.int64)
        for row, query in enumerate(queries):
            known = [self._vocabulary[term] for term in self.analyzer.terms(query) if term in self._vocabulary]
            if known:
                found = self._scorer.get_scores_from_ids(known)  # (documents,)
                best = _best(found, k)
                scores[row, : len(best)] = found[best]
                places[row, : len(best)] = best
        return scores, places

    @property
    def bytes(self) -> int:
        """Size of the index's arrays; the vocabulary comes on top."""
        if self._scorer is None:
            return 0
        return sum(self._scorer.scores[name].nbytes for name in ("data", "indices", "indptr"))


class _TermIds:
    """Documents as slices of one array of term ids: 4 bytes a term, where lists would take 36."""

    def __init__(self) -> None:
        self.ids = array("i")
        self.ends = array("q", [0])

    def __len__(self) -> int:
        return len(self.ends) - 1

    def __iter__(self) -> Iterator[array[int]]:
        return (self.ids[start:end] for start, end in pairwise(self.ends))


def _sample(texts: Iterator[str]) -> list[str]:
    """The first texts, or fewer where they are long."""
    sample: list[str] = []
    characters = 0
    for text in texts:
        sample.append(text)
        characters += len(text)
        if len(sample) >= SAMPLE_TEXTS or characters >= SAMPLE_TEXTS * 1000:
            break
    return sample


def _drained(sample: list[str], rest: Iterator[str]) -> Iterator[str]:
    """All texts in order; those of the sample are given up as they are read."""
    sample.reverse()
    while sample:
        yield sample.pop()
    yield from rest


def _read(
    texts: Iterable[str], analyzer: Analyzer, progress: Callable[[int], None] | None
) -> tuple[_TermIds, dict[str, int]]:
    """Ids of the documents' terms, and the id of each term, in the order of their first use."""
    documents = _TermIds()
    vocabulary: defaultdict[str, int] = defaultdict()
    vocabulary.default_factory = vocabulary.__len__  # a new term's id is the number of those before it
    read = 0
    for text in texts:
        documents.ids.extend(map(vocabulary.__getitem__, analyzer.terms(text)))
        documents.ends.append(len(documents.ids))
        read += 1
        if progress is not None and read % _TEXTS_A_REPORT == 0:
            progress(_TEXTS_A_REPORT)
    if progress is not None and read % _TEXTS_A_REPORT:
        progress(read % _TEXTS_A_REPORT)
    return documents, dict(vocabulary)


def _best(scores: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """Places of the k highest scores above 0, best first; of equal ones the lower place comes first."""
    bar = np.partition(scores, -k)[-k] if len(scores) > k else np.float32(0)
    # With all that tie with the k-th, for the stable sort to choose among.
    found = np.flatnonzero(scores >= bar) if bar > 0 else np.flatnonzero(scores > 0)
    order = np.argsort(-scores[found], kind="stable")[:k]
    best: NDArray[np.int64] = found[order]
    return best


def _library() -> Any:
    """``bm25s``, imported without JAX: it would start JAX up, with most of a GPU's memory, to sort numbers."""
    hide = not {"bm25s", "jax"} & sys.modules.keys()
    if hide:
        sys.modules["jax"] = None  # type: ignore[assignment]  # makes an import of it fail
    try:
        import bm25s
    except ImportError:
        raise MissingDependencyError('BM25 needs bm25s: pip install "lagotto[eval]"') from None
    finally:
        if hide:
            del sys.modules["jax"]
    return bm25s
