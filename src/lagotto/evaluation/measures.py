"""Measures of a ranking, by their usual names, computed by trec_eval through ir-measures."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lagotto.core.errors import InvalidInputError, MissingDependencyError

PerQuery = dict[str, dict[str, float]]
"""Measure -> query id -> value."""

RETRIEVAL = ("ndcg@10", "recall@10", "recall@100", "mrr@10", "map")
"""What retrieval is measured by unless something else is asked for; the first is the primary one."""
RERANKING = ("map", "mrr@10", "ndcg@10")

# Ours -> (ir-measures' name, whether it takes a cutoff: "no", "may", "must").
_KNOWN: Mapping[str, tuple[str, str]] = {
    "ndcg": ("nDCG", "may"),
    "map": ("AP", "may"),
    "mrr": ("RR", "may"),
    "recall": ("R", "must"),
    "precision": ("P", "must"),
    "success": ("Success", "must"),
    "capped_recall": ("R", "must"),
    "rprec": ("Rprec", "no"),
    "bpref": ("Bpref", "no"),
    "answer_recall": ("", "must"),
}
_ALIASES: Mapping[str, str] = {
    "ndcg_cut": "ndcg",
    "ap": "map",
    "map_cut": "map",
    "rr": "mrr",
    "recip_rank": "mrr",
    "r": "recall",
    "p": "precision",
    "hit_rate": "success",
    "hit": "success",
    "recall_cap": "capped_recall",
    "r_cap": "capped_recall",
    "qa_recall": "answer_recall",
}
_FORM = re.compile(r"([a-z_]+?)(?:\(rel=(\d{1,9})\))?(?:(?:@|_at_|_|\.)(\d{1,9}))?")
_LEVELLESS = ("ndcg", "answer_recall")
"""Measures that ask nowhere from which level on a document is relevant."""

LARGEST_LEVEL = 10_000
"""The highest judgement: trec_eval's time for nDCG grows with its square, and beyond an integer it crashes."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of a ranking."""

    base: str
    """``ndcg``, ``recall`` ..."""
    cutoff: int | None = None
    """How many hits are looked at; all of them by default."""
    relevance: int = 1
    """Judgement from which on a document counts as relevant; nDCG uses the judgements as gains instead."""

    @property
    def name(self) -> str:
        """The usual name: ``ndcg@10``, ``map``, ``recall(rel=2)@100``."""
        level = f"(rel={self.relevance})" if self.relevance != 1 else ""
        return self.base + level + (f"@{self.cutoff}" if self.cutoff else "")

    @property
    def by_answers(self) -> bool:
        """Whether hits are judged by strings in their text, not by judgements."""
        return self.base == "answer_recall"


def parse_measure(text: str) -> Measure:
    """A measure by the name any of the common tools gives it. Raises `InvalidInputError` with the choices.

    >>> [parse_measure(name).name for name in ("nDCG@10", "ndcg_cut_10", "mrr_at_10", "R@100", "AP(rel=2)@100")]
    ['ndcg@10', 'ndcg@10', 'mrr@10', 'recall@100', 'map(rel=2)@100']
    """
    found = _FORM.fullmatch(text.strip().lower())
    base = _ALIASES.get(found[1], found[1]) if found else ""
    if not found or base not in _KNOWN:
        raise InvalidInputError(
            f"measure {text!r} is not known; known are {', '.join(_KNOWN)}, with a cutoff (ndcg@10) and perhaps a "
            "level of relevance (recall(rel=2)@100)"
        )
    cutoff = int(found[3]) if found[3] else None
    takes = _KNOWN[base][1]
    if cutoff == 0 or (takes == "must" and cutoff is None) or (takes == "no" and cutoff is not None):
        need = {
            "must": "needs a cutoff of at least 1, as in",
            "no": "takes no cutoff:",
            "may": "has a cutoff of 0; say",
        }
        raise InvalidInputError(f"measure {text!r} {need[takes]} {base}{'' if takes == 'no' else '@10'}")
    level = int(found[2] or 1)
    if level < 1 or (found[2] and base in _LEVELLESS):
        fault = "takes no level of relevance" if base in _LEVELLESS else "needs a level of at least 1"
        raise InvalidInputError(f"measure {text!r} {fault}; leave (rel={found[2]}) out, or say recall(rel=2)@100")
    return Measure(base, cutoff, level)


def per_query(
    run: Mapping[str, Mapping[str, float]], qrels: Mapping[str, Mapping[str, int]], measures: Sequence[Measure]
) -> PerQuery:
    """Values of every judged query, by trec_eval's rules.

    - Hits are ordered by score, equal scores by document id from the last to the first, whatever order they came in.
    - Queries without judgements are left out. A judged query that found nothing counts as 0, as with trec_eval's
      ``-c``: a system must not gain by leaving hard queries out. One without relevant documents is 0 as well.
    - ``capped_recall@k`` is hits / min(relevant, k) (BEIR's ``recall_cap``).

    Raises `InvalidInputError` for scores that are no numbers and judgements above `LARGEST_LEVEL`,
    `MissingDependencyError` without ir-measures.
    """
    for query, hits in run.items():
        if not all(math.isfinite(score) for score in hits.values()):
            bad = next(document for document, score in hits.items() if not math.isfinite(score))
            raise InvalidInputError(f"query {query!r}: the score of {bad!r} is {hits[bad]}; scores must be finite")
    library = measuring_library()
    largest = max((level for docs in qrels.values() for level in docs.values()), default=0)
    if largest > LARGEST_LEVEL:
        raise InvalidInputError(f"a document is judged {largest}; levels go up to {LARGEST_LEVEL}")
    # A negative level means "not judged" to trec_eval (only bpref tells it from 0), where it does not crash on it.
    judged = {query: {doc: level for doc, level in docs.items() if level >= 0} for query, docs in qrels.items()}
    asked = {measure: _provided(measure, library) for measure in measures if not measure.by_answers}
    found: dict[Any, dict[str, float]] = {theirs: {} for theirs in asked.values()}
    judged_run = {query: dict(run[query]) for query in judged if run.get(query)}
    for metric in library.pytrec_eval.evaluator(list(found), judged).iter_calc(judged_run):
        found[metric.measure][metric.query_id] = metric.value
    return {
        measure.name: {query: _value(measure, found[theirs].get(query, 0.0), judged[query]) for query in judged}
        for measure, theirs in asked.items()
    }


def measuring_library() -> Any:
    """``ir_measures``. Raises `MissingDependencyError` without it."""
    try:
        import ir_measures
    except ImportError:
        raise MissingDependencyError('measuring needs ir-measures: pip install "lagotto[eval]"') from None
    return ir_measures


def _provided(measure: Measure, library: Any) -> Any:
    """ir-measures' own measure that ours is, or is derived from."""
    theirs = getattr(library, _KNOWN[measure.base][0])
    if measure.relevance != 1 and measure.base != "ndcg":
        theirs = theirs(rel=measure.relevance)
    # pytrec_eval gives the reciprocal rank of the whole run only; the cutoff is applied to its value.
    return theirs @ measure.cutoff if measure.cutoff and measure.base != "mrr" else theirs


def _value(measure: Measure, value: float, judged: Mapping[str, int]) -> float:
    if measure.base == "mrr" and measure.cutoff:
        return value if value >= 1 / measure.cutoff - 1e-9 else 0.0
    if measure.base == "capped_recall" and measure.cutoff:
        relevant = sum(1 for level in judged.values() if level >= measure.relevance)
        return value * relevant / min(relevant, measure.cutoff) if relevant else 0.0
    return value


def mean(values: Iterable[float]) -> float:
    """The mean, summed exactly; 0 of nothing."""
    numbers = list(values)
    return math.fsum(numbers) / len(numbers) if numbers else 0.0
