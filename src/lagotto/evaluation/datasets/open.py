"""From what a user names to data sets: folders, files of pairs, named benchmarks, tasks of mteb."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lagotto.core.errors import InvalidInputError
from lagotto.core.paths import cache_dir
from lagotto.data.records import READABLE
from lagotto.evaluation.datasets.pairs import PairData, read_pairs
from lagotto.evaluation.datasets.retrieval import RetrievalData, is_retrieval_folder, read_retrieval


@dataclass(frozen=True, slots=True)
class MtebTask:
    """A task that mteb loads and scores itself."""

    name: str
    """``mteb/`` and what mteb calls it: ``mteb/STS12``."""


Data = RetrievalData | PairData | MtebTask


def open_data(
    names: Sequence[str | Path | Data],
    *,
    split: str | None = None,
    cache: str | Path | None = None,
    offline: bool = False,
    ignore_identical_ids: bool = False,
    say: Callable[[str], None] | None = None,
) -> tuple[Data, ...]:
    """Every data set that the names stand for, in order.

    A name is a folder (see `lagotto.evaluation.datasets.retrieval`), a folder or file of pairs, a benchmark
    (``beir/scifact``, ``miracl/zh``, ``bright``), ``mteb/TASK`` or ``mteb/BENCHMARK``, or data that was read before.
    ``ignore_identical_ids`` leaves a document out of the hits of the query that has the same id. Raises
    `InvalidInputError`.
    """
    if not names:
        raise InvalidInputError("no data set was given; name a folder, a file of pairs or a benchmark")
    found: list[Data] = []
    for name in names:
        found += [name] if isinstance(name, Data) else _open_one(name, split, cache, offline, say)
    if ignore_identical_ids:
        found = [_without_itself(data) if isinstance(data, RetrievalData) else data for data in found]
    return _with_names_apart(found)


def _open_one(
    name: str | Path, split: str | None, cache: str | Path | None, offline: bool, say: Callable[[str], None] | None
) -> list[Data]:
    try:
        path = Path(name).expanduser()
    except RuntimeError:  # "~" of a user who is not there
        raise InvalidInputError(f"{name}: no such file or folder") from None
    if path.is_file():
        return [read_pairs(path)]
    if path.is_dir():
        return _open_folder(path, split)
    text = os.fspath(name)
    if text.lower().startswith(("mteb/", "cmteb", "c-mteb")):
        from lagotto.evaluation.mteb.tasks import task_names

        return [MtebTask(f"mteb/{task}") for task in task_names(text)]
    if isinstance(name, Path) or text.startswith((".", "/", "~")):
        raise InvalidInputError(f"{text}: no such file or folder")
    from lagotto.evaluation.benchmarks.prepare import prepare
    from lagotto.evaluation.benchmarks.registry import expand

    benchmarks = expand(text)  # raises for what is neither a folder nor a benchmark
    folders = [prepare(one, cache=cache_dir(cache), offline=offline, say=say) for one in benchmarks]
    return [read_retrieval(folder, split) for folder in folders]


def _open_folder(folder: Path, split: str | None) -> list[Data]:
    if is_retrieval_folder(folder):
        return [read_retrieval(folder, split)]
    files = sorted(path for path in folder.iterdir() if path.name.lower().endswith(READABLE))
    if not files:
        raise InvalidInputError(
            f"{folder}: holds neither a corpus (corpus.jsonl, queries.jsonl, qrels/test.tsv) nor files of pairs "
            f"({', '.join(READABLE)})"
        )
    pairs = [read_pairs(path) for path in files]
    return [replace(item, group=folder.resolve().name) if len(pairs) > 1 else item for item in pairs]


def _without_itself(data: RetrievalData) -> RetrievalData:
    ids = set(data.corpus.ids)
    own = {query: data.excluded.get(query, frozenset()) | {query} for query in data.queries if query in ids}
    return replace(data, excluded={**data.excluded, **own})


def _with_names_apart(found: Sequence[Data]) -> tuple[Data, ...]:
    """Two data sets of one name get their sources' folders in front; figures are kept by name."""
    names = [data.name for data in found]
    out: list[Data] = []
    for data in found:
        if names.count(data.name) > 1 and not isinstance(data, MtebTask):
            parent = Path(data.source).resolve().parent.name
            data = replace(data, name=f"{parent}/{data.name}")
        out.append(data)
    again = [data.name for data in out]
    if twice := sorted({name for name in again if again.count(name) > 1}):
        raise InvalidInputError(
            f"two data sets are called {twice[0]!r}; give one another name in its dataset.json, or name it once"
        )
    return tuple(out)
