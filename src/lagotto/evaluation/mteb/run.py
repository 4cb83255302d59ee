"""Run one task of mteb's with a model, and read what mteb says of it as a `Result`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.cross_encoder import MtebCrossEncoder
from lagotto.evaluation.mteb.encoder import MtebEncoder
from lagotto.evaluation.mteb.library import mteb_library
from lagotto.evaluation.mteb.scores import metrics_of
from lagotto.evaluation.mteb.tasks import PREFIX, find_task, parts_of, remarks, samples_of, silenced
from lagotto.evaluation.results import Cost, Result, Stage
from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker

_RERANKING = ("Reranking", "InstructionReranking")


def run_task(
    name: str, model: Embedder | Reranker, *, folder: Path | None, progress: bool = False, **options: Any
) -> Result:
    """Run the task of a name (as `task_names` gives it) with a model; see `evaluate_task`.

    Raises `InvalidInputError` for an unknown name too.
    """
    result = evaluate_task(find_task(name), model, folder=folder, progress=progress, **options)
    return replace(result, dataset=PREFIX + name.removeprefix(PREFIX))


def evaluate_task(
    task: Any, model: Embedder | Reranker, *, folder: Path | None, progress: bool = False, **options: Any
) -> Result:
    """Run a task of mteb's, or one of your own that follows its ``AbsTask``, with a model.

    - ``folder``: where mteb's result files are kept, and found again: what is finished there is not computed again.
      None keeps nothing.
    - ``options``: those of `MtebEncoder` or `MtebCrossEncoder`.

    mteb gives no values of single queries, so the estimates have no interval. Texts that were cut are counted in a
    warning where the task was computed now.

    Raises `InvalidInputError` for data that can't be fetched, for a task the model can't do, and for wrong options;
    `MissingDependencyError` without mteb.
    """
    mteb = mteb_library()
    _check_task(task, model)
    plugged = MtebCrossEncoder(model, **options) if isinstance(model, Reranker) else MtebEncoder(model, **options)
    cache = None if folder is None else mteb.ResultCache(folder)
    started = datetime.now(tz=UTC)
    with silenced(), _bars(progress), _data(task, finished=_finished(task, plugged.mteb_model_meta, cache)):
        outcome = mteb.evaluate(
            plugged,
            task,
            co2_tracker=False,
            cache=cache,
            overwrite_strategy="only-missing",
            encode_kwargs={"batch_size": 256, "show_progress_bar": progress},
            show_progress_bar=progress,
        )
    found = outcome.task_results[0]
    return Result(
        system=model.name,
        dataset=PREFIX + task.metadata.name,
        metrics=metrics_of(found, task),
        per_query={},
        cost=_cost(task, found, plugged, fresh=found.date is not None and found.date >= started),
        warnings=_warnings(task, found, plugged),
    )


def _check_task(task: Any, model: Embedder | Reranker) -> None:
    metadata = task.metadata
    if list(metadata.modalities) != ["text"]:
        raise InvalidInputError(
            f"mteb task {metadata.name} is of {' and '.join(metadata.modalities)}; Lagotto's models read text"
        )
    if isinstance(model, Reranker) and metadata.type not in _RERANKING:
        raise InvalidInputError(
            f"mteb task {metadata.name} is of type {metadata.type}, which gives a reranker no candidates; "
            f"give it tasks of type {' or '.join(_RERANKING)}, or an Embedder to this task"
        )


def _finished(task: Any, meta: Any, cache: Any) -> bool:
    """Whether the folder has the whole result, so that no data are needed."""
    if cache is None:
        return False
    try:
        known = cache.load_task_result(task.metadata.name, meta)
    except ValueError as error:
        path = cache.get_task_result_path(task.metadata.name, meta)
        raise InvalidInputError(
            f"{path} is no result file of mteb's ({error}); delete it to compute it again"
        ) from None
    return known is not None and not known.get_missing_evaluations(task)


@contextmanager
def _data(task: Any, *, finished: bool) -> Iterator[None]:
    """The task's data while they are needed. What was loaded before stays."""
    parts = [] if finished else [part for part in parts_of(task) if not part.data_loaded]
    try:
        for part in parts:
            _load(part)
        yield
    finally:
        for part in parts:
            if part.data_loaded:
                part.unload_data()


def _load(task: Any) -> None:
    metadata = task.metadata
    try:
        task.load_data()
    except Exception as error:  # whatever a data set's own loader runs into
        access = "" if metadata.is_public else " It is not public: your Hugging Face account needs access to it."
        raise InvalidInputError(
            f"the data of mteb task {metadata.name} can't be loaded, which are the hub's data set "
            f"{metadata.dataset['path']} at revision {metadata.revision} ({type(error).__name__}: {error}).{access} "
            f"Without a connection: run python -c \"import mteb; mteb.get_task('{metadata.name}').load_data()\" "
            "where there is one, and bring that machine's $HF_HOME (~/.cache/huggingface) here"
        ) from error


@contextmanager
def _bars(shown: bool) -> Iterator[None]:
    """datasets' own progress bars are shown or not, like ours."""
    from datasets.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    if shown or are_progress_bars_disabled():
        yield
        return
    disable_progress_bars()
    try:
        yield
    finally:
        enable_progress_bars()


def _cost(task: Any, found: Any, plugged: MtebEncoder | MtebCrossEncoder, *, fresh: bool) -> Cost:
    items = samples_of(task) or plugged.work.inputs
    seconds = found.evaluation_time  # mteb's mean of tasks has NaN where one has none
    stage = Stage(
        "evaluate",
        seconds=seconds if seconds is not None and math.isfinite(seconds) else 0.0,
        items=items,
        tokens=plugged.work.tokens,
        cached=0 if fresh else items,
    )
    return Cost((stage,))


def _warnings(task: Any, found: Any, plugged: MtebEncoder | MtebCrossEncoder) -> tuple[str, ...]:
    notes = list(remarks(task))
    if found.dataset_revision != task.metadata.revision:
        notes.append(
            f"the result in the folder is of revision {found.dataset_revision} of the data, "
            f"this mteb names {task.metadata.revision}; delete the file to compute it again"
        )
    work, limit = plugged.work, plugged.mteb_model_meta.max_tokens
    if work.truncated:
        notes.append(
            f"{work.truncated} of {work.inputs} inputs are longer than {limit:.0f} tokens and were not read to the end"
        )
    return tuple(notes)
