"""Names of mteb's tasks, and what mteb knows of them."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.mteb.tasks import dataset_info, describe, find_task, task_names


@pytest.mark.parametrize("name", ["mteb/STS12", "STS12", "mteb/sts12", "mteb/MTEB(eng, v2)/STS12"])
def test_a_task(name: str, mteb: Any) -> None:
    assert task_names(name) == ("STS12",)
    assert find_task(name).metadata.name == "STS12"


def test_a_type_gives_its_current_text_tasks(mteb: Any) -> None:
    names = task_names("mteb/STS")
    assert {"STS12", "STS13"} <= set(names)
    for task in mteb.get_tasks(tasks=list(names)):
        assert (task.metadata.type, task.metadata.modalities) == ("STS", ["text"])
        assert task.metadata.superseded_by is None
    with pytest.raises(InvalidInputError, match="'mteb/ImageClustering' has no tasks of text alone"):
        task_names("mteb/ImageClustering")


def test_a_benchmark_gives_its_tasks_as_it_takes_them(mteb: Any) -> None:
    names = task_names("mteb/MTEB(eng, v2)")
    tasks = mteb.get_benchmark("MTEB(eng, v2)").tasks
    assert [name.rpartition("/")[2] for name in names] == [task.metadata.name for task in tasks]
    assert "MTEB(eng, v2)/STS17" in names  # of its languages the benchmark takes English alone
    assert find_task("mteb/MTEB(eng, v2)/STS17").hf_subsets == ["en-en"]
    assert len(find_task("mteb/STS17").hf_subsets) > 1


@pytest.mark.parametrize("name", ["cmteb", "mteb/cmteb", "mteb/C-MTEB", "mteb/MTEB(cmn, v1)"])
def test_cmteb(name: str, mteb: Any) -> None:
    tasks = mteb.get_benchmark("MTEB(cmn, v1)").tasks
    assert [name.rpartition("/")[2] for name in task_names(name)] == [task.metadata.name for task in tasks]


@pytest.mark.parametrize(
    ("name", "close"),
    [
        ("mteb/STS121", "mteb/STS12,"),
        ("mteb/MTEB(eng, v9)", r"mteb/MTEB\(eng, v2\)"),
        ("mteb/MTEB(eng, v2)/NFCorpsu", "mteb/NFCorpus"),
        ("mteb/Retrievl", "mteb/Retrieval"),
        ("mteb/", "close names: none"),
    ],
)
def test_an_unknown_name(name: str, close: str, mteb: Any) -> None:
    for function in (task_names, find_task, dataset_info):
        with pytest.raises(InvalidInputError, match=close):
            function(name)


def test_what_is_known_without_the_data(mteb: Any) -> None:
    info = dataset_info("mteb/NFCorpus")
    assert (info.name, info.kind, info.split) == ("mteb/NFCorpus", "mteb", "test")
    assert (info.documents, info.queries, info.judgements) == (3633, 323, 12334)
    assert info.source.startswith("mteb/nfcorpus@")
    assert len(info.fingerprint) == 32
    assert info.warnings == ()
    pairs = dataset_info("STS12")
    assert (pairs.documents, pairs.queries, pairs.judgements) == (3108, 3108, 3108)
    assert pairs.fingerprint != info.fingerprint


def test_a_part_of_a_task_is_another_data_set(mteb: Any) -> None:
    whole, part = dataset_info("mteb/STS17"), dataset_info("mteb/MTEB(eng, v2)/STS17")
    assert part.name == "mteb/MTEB(eng, v2)/STS17"
    assert part.queries < whole.queries
    assert part.fingerprint != whole.fingerprint


def test_a_mean_of_tasks_counts_them_all(mteb: Any) -> None:
    info = dataset_info("mteb/CQADupstackRetrieval")
    assert info.queries == 13145
    assert info.source.count("@") == 12


def test_remarks(mteb: Any, tasks: SimpleNamespace) -> None:
    (note,) = dataset_info("mteb/Banking77Classification").warnings
    assert note.startswith("mteb recommends Banking77Classification.v2")
    assert describe(tasks.sts()).warnings == ("mteb has no counts of this task, so they are given as 0",)
