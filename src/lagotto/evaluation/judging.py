"""Rerank by a language model: query by query, several side by side, each ranking kept as soon as it is there."""

from __future__ import annotations

import contextvars
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lagotto import __version__
from lagotto.batch.demand import Demand, current, using
from lagotto.core.errors import CallCancelledError
from lagotto.core.judged_values import JudgedRanking, JudgingReport
from lagotto.evaluation.blocks import DENSE, Block, Dense, read_block, write_block
from lagotto.evaluation.pipeline import LLMRerank
from lagotto.evaluation.store import Stored, VectorStore
from lagotto.evaluation.workbench import Workbench
from lagotto.models.judging.reranker import LLMReranker

Group = tuple[str, Sequence[str]]
"""A query and its documents, in the order in which the model is to be shown them."""


@dataclass(frozen=True, slots=True)
class Judged:
    """The rankings of several queries."""

    stored: Stored[Dense]
    """A block a query that has documents: (n,), 1 for the best of n documents, 1/n for the last.

    Places and no grades: many grades are equal, and measures order equal scores by name. All tokens of a query's
    prompts stand at its first document. Seconds are a query's own, divided by how many run side by side.
    """
    notes: tuple[str, ...]
    """What was wrong with answers, of those that were not in the store."""


def judge(
    bench: Workbench, part: LLMRerank, groups: Iterable[Group], queries: int, done: Callable[[int], None]
) -> Judged:
    """Rankings of ``queries`` groups; read from the store where they are there. Raises what the model raises."""
    ranker, threads = bench.judge(part), max(1, min(part.side_by_side, queries))
    stored, report = Stored(DENSE), JudgingReport()
    failures: list[Exception] = []

    def ranked(query: str, documents: Sequence[str]) -> _Found:
        try:
            return _ranked(bench.store, ranker, query, documents, threads)
        except Exception as error:
            failures.append(error)
            current().cancel()
            raise

    # A failure, or Ctrl-C, must not wait for what the others still ask: all of them have this demand.
    with using(Demand(current().priority, current().deadline)) as wanted, ThreadPoolExecutor(threads) as pool:
        try:
            for path, block, took in _in_order(pool, ranked, groups, threads):
                stored.add(path, block)
                report = report + took
                done(len(block))
        except CallCancelledError:
            raise failures[0] from None  # the others were taken back because of it
        except BaseException:
            wanted.cancel()
            raise
    if report.calls:
        bench.watcher.say(f"{part.model}: {report}")
    flaws = report.complaints().removeprefix(", ")
    return Judged(stored, (f"{part.model} in {report.calls} calls: {flaws}",) if flaws else ())


_Found = tuple[Path, Block[Dense], JudgingReport]


def _in_order(
    pool: ThreadPoolExecutor,
    ranked: Callable[[str, Sequence[str]], _Found],
    groups: Iterable[Group],
    threads: int,
) -> Iterator[_Found]:
    """What becomes of each group, in their order; only so many are read ahead as are asked side by side."""
    running: deque[Future[_Found]] = deque()
    for query, documents in groups:
        if not documents:
            continue
        context = contextvars.copy_context()
        running.append(pool.submit(context.run, ranked, query, documents))
        if len(running) > threads:
            yield running.popleft().result()
    while running:
        yield running.popleft().result()


def _ranked(store: VectorStore, ranker: LLMReranker, query: str, documents: Sequence[str], threads: int) -> _Found:
    job = {"model": ranker.fingerprint, "way": "rank", "lagotto": __version__}
    path = store.path(job, [(query, text) for text in documents])
    found = read_block(path, DENSE)
    if found is not None:
        return path, found, JudgingReport()
    ranking = ranker.rank(query, documents)
    made = _block(ranking, len(documents), ranking.report.seconds / threads)
    write_block(path, made, DENSE)
    return path, made, ranking.report


def _block(ranking: JudgedRanking, count: int, seconds: float) -> Block[Dense]:
    scores, tokens, truncated = np.zeros(count, np.float32), np.zeros(count, np.int32), np.zeros(count, np.bool_)
    for place, hit in enumerate(ranking):
        scores[hit.index] = (count - place) / count
    tokens[0] = ranking.tokens
    truncated[list(ranking.truncated)] = True
    return Block(scores, tokens, truncated, seconds, cached=False)
