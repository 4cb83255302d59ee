"""mteb's tasks by name: one task, all of a type, or those of a benchmark; and what mteb knows of each."""

from __future__ import annotations

import difflib
import hashlib
import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.library import mteb_library
from lagotto.evaluation.results import DatasetInfo

PREFIX = "mteb/"
ALIASES: Mapping[str, str] = {"cmteb": "MTEB(cmn, v1)", "c-mteb": "MTEB(cmn, v1)"}
"""Names that people give a benchmark and mteb need not know."""


def task_names(name: str) -> tuple[str, ...]:
    """The tasks a name means, each as `find_task` takes it.

    ``mteb/STS12`` is a task, ``mteb/STS`` a task type (its public text tasks that no newer one has replaced),
    ``mteb/MTEB(eng, v2)`` or ``cmteb`` a benchmark. A task of which a benchmark takes a part of the languages or
    splits keeps the benchmark's name in front: ``MTEB(eng, v2)/STS17``. Case does not matter.

    Raises `InvalidInputError`, with names close to it, for one that is none of these.
    """
    wanted = _plain(name)
    classes = _classes()
    if wanted in classes:
        return (classes[wanted].metadata.name,)
    facts = [task.metadata for task in classes.values()]
    if any(task.type.casefold() == wanted for task in facts):
        chosen = tuple(task.name for task in facts if task.type.casefold() == wanted and _current(task))
        if not chosen:
            raise InvalidInputError(f"mteb task type {name!r} has no tasks of text alone")
        return chosen
    if benchmark := _benchmarks().get(wanted):
        return tuple(_name_in(benchmark.name, task) for task in benchmark.tasks)
    if found := _in_benchmark(wanted):
        return (_name_in(*found),)
    raise _unknown(name)


def find_task(name: str) -> Any:
    """mteb's task of a name as `task_names` gives it, with or without ``mteb/`` in front.

    Raises `InvalidInputError` for an unknown one.
    """
    wanted = _plain(name)
    if wanted in (classes := _classes()):
        with silenced():
            return classes[wanted]()
    if found := _in_benchmark(wanted):
        return found[1]
    raise _unknown(name)


def dataset_info(name: str) -> DatasetInfo:
    """What mteb knows of a task, without fetching its data. Raises `InvalidInputError` for an unknown name."""
    return describe(find_task(name), name.removeprefix(PREFIX))


def describe(task: Any, name: str | None = None) -> DatasetInfo:
    """What mteb knows of a task; ``name`` is how it was asked for, its own name by default.

    The counts are those that come with mteb; the fingerprint is over name, revision, splits and subsets, which decide
    what is fetched.
    """
    parts = parts_of(task)
    counted = [facts for part in parts for facts in _counted(part)]
    notes = remarks(task)
    if not counted:
        notes = (*notes, "mteb has no counts of this task, so they are given as 0")
    identity = [[p.metadata.name, p.metadata.dataset, list(p.eval_splits), sorted(p.hf_subsets)] for p in parts]
    hubs = (f"{part.metadata.dataset['path']}@{part.metadata.revision}" for part in parts)
    return DatasetInfo(
        name=PREFIX + (name or task.metadata.name),
        kind="mteb",
        split=", ".join(task.eval_splits),
        documents=sum(facts.get("num_documents", facts["num_samples"]) for facts in counted),
        queries=sum(facts.get("num_queries", facts["num_samples"]) for facts in counted),
        judgements=sum(map(_judgements, counted)),
        fingerprint=hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32],
        source=", ".join(dict.fromkeys(hubs)),
        warnings=notes,
    )


def samples_of(task: Any) -> int:
    """How many texts or pairs a task is made of, documents and queries together; 0 where mteb has not counted them."""
    return sum(facts["num_samples"] for part in parts_of(task) for facts in _counted(part))


def parts_of(task: Any) -> list[Any]:
    """The tasks whose data a task needs: itself, or those it is the mean of."""
    return [part for whole in task.metadata.tasks for part in parts_of(whole)] if task.is_aggregate else [task]


def remarks(task: Any) -> tuple[str, ...]:
    """What mteb warns of before it runs a task."""
    notes = []
    if newer := task.metadata.superseded_by:
        notes.append(f"mteb recommends {newer} instead of this task, except to compare with older figures")
    if task.metadata.is_beta:
        notes.append("mteb calls this task a beta: its data, and with them the figures, may change")
    return tuple(notes)


@contextmanager
def silenced() -> Iterator[None]:
    """mteb does not itself warn of what `remarks` says."""
    with warnings.catch_warnings():
        for said in ("is superseded by", "is currently in beta"):
            warnings.filterwarnings("ignore", f"The task '.*' {said}", UserWarning)
        yield


def _plain(name: str) -> str:
    text = name.removeprefix(PREFIX).strip().casefold()
    head, slash, tail = text.rpartition("/")
    benchmark, task = (head, tail) if slash else (text, "")
    benchmark = ALIASES.get(benchmark, benchmark).casefold()
    return benchmark + slash + task


def _classes() -> dict[str, Any]:
    mteb_library()
    from mteb.get_tasks import TASK_LIST

    return {task.metadata.name.casefold(): task for task in TASK_LIST}


def _benchmarks() -> dict[str, Any]:
    benchmarks = mteb_library().get_benchmarks()
    names = {alias.casefold(): benchmark for benchmark in benchmarks for alias in benchmark.aliases or ()}
    return names | {benchmark.name.casefold(): benchmark for benchmark in benchmarks}


def _in_benchmark(wanted: str) -> tuple[str, Any] | None:
    """(the benchmark's name, the task as it takes it) of a name ``BENCHMARK/TASK``."""
    benchmark, _, short = wanted.rpartition("/")
    if (found := _benchmarks().get(benchmark)) is None:
        return None
    return next(((found.name, task) for task in found.tasks if task.metadata.name.casefold() == short), None)


def _current(metadata: Any) -> bool:
    text = list(metadata.modalities) == ["text"]
    return text and metadata.is_public and not metadata.is_beta and metadata.superseded_by is None


def _name_in(benchmark: str, task: Any) -> str:
    metadata = task.metadata
    whole = set(task.hf_subsets) == set(metadata.hf_subsets) and set(task.eval_splits) == set(metadata.eval_splits)
    return metadata.name if whole else f"{benchmark}/{metadata.name}"


def _unknown(name: str) -> InvalidInputError:
    classes, benchmarks = _classes(), _benchmarks()
    known = {benchmark.name.casefold(): benchmark.name for benchmark in benchmarks.values()}
    for task in classes.values():
        known[task.metadata.name.casefold()] = task.metadata.name
        known[task.metadata.type.casefold()] = task.metadata.type
    wanted = _plain(name).rpartition("/")[2]  # of BENCHMARK/TASK, the task
    close = [PREFIX + known[match] for match in difflib.get_close_matches(wanted, known, n=4)]
    return InvalidInputError(
        f"{name!r} is no task, task type or benchmark of this mteb; close names: {', '.join(close) or 'none'}"
    )


def _counted(task: Any) -> Iterator[Mapping[str, Any]]:
    """mteb's statistics of each split and subset of a task, where it has them."""
    known = task.metadata.descriptive_stats or {}
    whole = set(task.hf_subsets) == set(task.metadata.hf_subsets)
    for split in task.eval_splits:
        facts = known.get(split, {})
        subsets = facts.get("hf_subset_descriptive_stats", {})
        yield from filter(None, [facts] if whole or not subsets else [subsets.get(name) for name in task.hf_subsets])


def _judgements(facts: Mapping[str, Any]) -> int:
    retrieval = facts.get("relevant_docs_statistics")
    return int(retrieval["num_relevant_docs"] if retrieval else facts["num_samples"])
