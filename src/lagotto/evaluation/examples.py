"""Which queries to look at: those on which systems differ most, with what each of them found."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lagotto.evaluation.datasets.retrieval import RetrievalData
from lagotto.evaluation.results import Example, Hit, Result

EACH = 10
"""Largest wins, and largest losses, of each system against the baseline that are shown."""
HITS = 5
CHARACTERS = 400


def examples(data: RetrievalData, results: Sequence[Result]) -> tuple[Example, ...]:
    """Wins and losses of each system against the first; of a single system, its worst queries."""
    results = [result for result in results if result.run is not None and result.metrics]
    if not results:
        return ()
    primary = next(iter(results[0].metrics))
    values = {result.system: result.per_query[primary] for result in results if primary in result.per_query}
    rows = {query: row for row, query in enumerate(data.queries)}
    chosen = _chosen(values)
    wanted = {document for query in chosen for document in data.qrels.get(query, {})}
    places = {document: place for place, document in enumerate(data.corpus.ids) if document in wanted}
    return tuple(
        Example(
            query=query,
            text=data.queries[query],
            values={system: found[query] for system, found in values.items() if query in found},
            hits={result.system: _hits(result, rows[query], query, data) for result in results},
            relevant=_relevant(query, data, places),
        )
        for query in chosen
    )


def _chosen(values: Mapping[str, Mapping[str, float]]) -> list[str]:
    systems = list(values.values())
    if not systems:
        return []
    baseline, others = systems[0], systems[1:]
    if not others:
        return sorted(baseline, key=lambda query: (baseline[query], query))[: 2 * EACH]
    chosen: dict[str, None] = {}
    for other in others:
        gaps = {query: value - baseline[query] for query, value in other.items() if query in baseline}
        order = sorted((query for query in gaps if gaps[query]), key=lambda query: (gaps[query], query))
        losses, wins = order[:EACH], order[::-1][:EACH]
        chosen |= dict.fromkeys(query for query in wins if gaps[query] > 0)
        chosen |= dict.fromkeys(query for query in losses if gaps[query] < 0)
    return list(chosen)


def _hits(result: Result, row: int, query: str, data: RetrievalData) -> tuple[Hit, ...]:
    run = result.run
    assert run is not None  # the caller left out results without one
    judged = data.qrels.get(query, {})
    found = zip(run.documents[row, :HITS].tolist(), run.scores[row, :HITS].tolist(), strict=True)
    return tuple(
        Hit(run.ids[place], _text(data, place), score, judged.get(run.ids[place]))
        for place, score in found
        if place >= 0
    )


def _relevant(query: str, data: RetrievalData, places: Mapping[str, int]) -> tuple[Hit, ...]:
    levels = [(doc, level) for doc, level in data.qrels.get(query, {}).items() if level > 0 and doc in places]
    levels.sort(key=lambda item: -item[1])
    return tuple(Hit(doc, _text(data, places[doc]), None, level) for doc, level in levels[:HITS])


def _text(data: RetrievalData, place: int) -> str:
    text = " ".join(data.corpus.text(place).split())
    return text if len(text) <= CHARACTERS else text[: CHARACTERS - 1].rstrip() + "…"
