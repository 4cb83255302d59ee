"""Open a model as what it is, where the caller does not know."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from lagotto.cards.card_file import chosen_card
from lagotto.cards.checkpoint import check_runs
from lagotto.cards.folder import read_folder
from lagotto.cards.registry import find_named
from lagotto.cards.schema import Task
from lagotto.models.embedder import Embedder
from lagotto.models.finding import find_source
from lagotto.models.loading import Options
from lagotto.models.reranker import Reranker


def task_of(name: str | Path, options: Options) -> Task:
    """What a model is for, by its card or its own config.json. Fetches it if need be."""
    row = chosen_card(options.card) if options.card else find_named(str(name))
    if row is not None:
        check_runs(row)
        return row.task
    source, adapter = find_source(name, options, options.places())
    scores = adapter is not None and adapter.scores
    return "rerank" if scores or read_folder(source.folder).reranker else "embed"


def open_any(name: str | Path, options: Options) -> Embedder | Reranker:
    """An `Embedder` or a `Reranker`, whichever the model is."""
    if task_of(name, options) == "embed":
        return Embedder(name, **asdict(options))
    return Reranker(name, **options.for_reranker())
