"""From names to data sets: folders, files, benchmarks, tasks, and data that was read before."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.datasets.open import MtebTask, open_data
from lagotto.evaluation.datasets.pairs import PairData, read_pairs
from lagotto.evaluation.datasets.retrieval import RetrievalData, read_retrieval
from support.judged import QRELS, make, write

PAIRS = [{"sentence1": "a", "sentence2": "b"}]


@pytest.fixture
def fetched(tmp_path, monkeypatch):
    """Benchmarks are made on the spot; what was asked for is noted."""
    from lagotto.evaluation.benchmarks import prepare

    asked = []

    def made(benchmark, *, cache, offline=False, say=None):
        asked.append((benchmark.name, cache, offline, say))
        folder = tmp_path / "fetched" / benchmark.name
        return folder if folder.exists() else make(folder, meta=json.dumps({"name": benchmark.name}))

    monkeypatch.setattr(prepare, "prepare", made)
    return asked


@pytest.fixture
def tasks(monkeypatch):
    """mteb's names, without mteb."""
    from lagotto.evaluation.mteb import tasks as module

    asked = []

    def names(name):
        asked.append(name)
        return ("STS12", "STS13") if "cmteb" in name.lower() else (name.rpartition("/")[2],)

    monkeypatch.setattr(module, "task_names", names)
    return asked


def names_of(*given, **options):
    return [data.name for data in open_data(given, **options)]


def test_folders_files_and_data_in_order(tmp_path):
    folder = make(tmp_path / "retrieval")
    write(tmp_path / "sts.jsonl", [{**PAIRS[0], "score": 1}, {**PAIRS[0], "score": 2}])
    mine = PairData("mine", "bitext", ("a",), ("b",))
    found = open_data([str(tmp_path / "sts.jsonl"), folder, mine])
    assert [type(data) for data in found] == [PairData, RetrievalData, PairData]
    assert [data.name for data in found] == ["sts", "retrieval", "mine"]
    assert found[0] == read_pairs(tmp_path / "sts.jsonl")
    assert found[1].fingerprint == read_retrieval(folder).fingerprint
    assert found[2] is mine


def test_a_split_is_handed_on(tmp_path):
    write(make(tmp_path / "a") / "qrels/dev.tsv", "q1\td2\t1\n")
    assert open_data([tmp_path / "a"], split="dev")[0].qrels == {"q1": {"d2": 1}}
    with pytest.raises(InvalidInputError, match="no split 'train'; there are dev, test"):
        open_data([tmp_path / "a"], split="train")


def test_a_folder_of_pairs_is_a_group_of_sets(tmp_path):
    for name in ("b.jsonl", "a.jsonl", "notes.md"):
        write(tmp_path / "languages" / name, PAIRS)
    found = open_data([tmp_path / "languages"])
    assert [(data.name, data.group) for data in found] == [("a", "languages"), ("b", "languages")]
    (tmp_path / "languages/b.jsonl").unlink()
    assert [(data.name, data.group) for data in open_data([tmp_path / "languages"])] == [("a", None)]


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    make(tmp_path / "mine")
    assert names_of("~/mine") == ["mine"]


def test_a_benchmark_is_fetched(fetched, tmp_path):
    def say(line):
        pass

    assert names_of("beir/scifact", cache=tmp_path / "c", offline=True, say=say) == ["beir/scifact"]
    assert fetched == [("beir/scifact", tmp_path / "c", True, say)]


def test_a_family_of_benchmarks_is_all_of_them(fetched):
    from lagotto.evaluation.benchmarks.registry import expand

    expected = [row.name for row in expand("beir/cqadupstack")]
    assert len(expected) > 1
    assert names_of("beir/cqadupstack") == expected


def test_a_folder_goes_before_a_benchmark(fetched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "beir/scifact")
    assert names_of("beir/scifact") == ["scifact"]
    assert fetched == []


@pytest.mark.parametrize("name", ["mteb/STS12", "MTEB/STS12"])
def test_a_task_of_mteb(tasks, name):
    assert open_data([name]) == (MtebTask("mteb/STS12"),)
    assert tasks == [name]


@pytest.mark.parametrize("name", ["cmteb", "C-MTEB", "c-mteb"])
def test_a_benchmark_of_mteb(tasks, name):
    open_data([name])
    assert tasks == [name]


def test_names_that_stand_for_nothing(tmp_path, fetched):
    for name in ("./nowhere", "/nowhere/at/all", "../no.jsonl", tmp_path / "none", "~nobody-has-this-name/x"):
        with pytest.raises(InvalidInputError, match="no such file or folder") as raised:
            open_data([name])
        assert str(raised.value).startswith(str(name))
    with pytest.raises(InvalidInputError, match=r"'scifct' is no benchmark.*Did you mean"):
        open_data(["scifct"])
    with pytest.raises(InvalidInputError, match="is no benchmark"):
        open_data(["nowhere.jsonl"])
    with pytest.raises(InvalidInputError, match="no data set was given; name a folder"):
        open_data([])
    assert fetched == []


def test_a_folder_that_holds_nothing(tmp_path):
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty/readme.md", "hello")
    with pytest.raises(InvalidInputError, match=r"holds neither a corpus \(corpus\.jsonl, .*nor files of pairs"):
        open_data([tmp_path / "empty"])


def test_a_file_that_is_no_pairs(tmp_path):
    write(tmp_path / "a.txt", "hello")
    with pytest.raises(InvalidInputError, match="the ending does not tell the format"):
        open_data([tmp_path / "a.txt"])


def test_two_sets_of_one_name_get_their_folders_in_front(tmp_path, tasks):
    a, b = make(tmp_path / "x/mini"), make(tmp_path / "y/mini")
    write(tmp_path / "z/mini.jsonl", PAIRS)
    write(tmp_path / "z/other.jsonl", PAIRS)
    assert names_of(a, tmp_path / "z/other.jsonl", b, tmp_path / "z/mini.jsonl") == [
        "x/mini",
        "other",
        "y/mini",
        "z/mini",
    ]
    write(tmp_path / "z/STS12.jsonl", PAIRS)
    assert names_of("mteb/STS12", tmp_path / "z/STS12.jsonl") == ["mteb/STS12", "STS12"]


def test_the_same_set_twice_is_refused(tmp_path, tasks):
    folder = make(tmp_path / "x/mini")
    with pytest.raises(InvalidInputError, match="two data sets are called 'x/mini'; give one another name in its"):
        open_data([folder, str(folder)])
    other = shutil.copytree(folder, tmp_path / "further/x/mini")
    with pytest.raises(InvalidInputError, match="two data sets are called 'x/mini'"):
        open_data([folder, other])
    write(other / "dataset.json", '{"name": "another"}')
    assert names_of(folder, other) == ["mini", "another"]
    with pytest.raises(InvalidInputError, match="two data sets are called 'mteb/STS12'"):
        open_data(["mteb/STS12", "mteb/STS12"])
    mine = PairData("mine", "bitext", ("a",), ("b",))
    with pytest.raises(InvalidInputError, match="two data sets are called"):
        open_data([mine, replace(mine, left=("c",))])


def test_documents_with_the_querys_own_id_are_left_out_where_asked(tmp_path):
    corpus = ListCorpus({"q1": "a", "d1": "b", "d2": "c", "d3": "d"})
    data = RetrievalData("x", corpus, {"q1": "a", "q2": "b"}, QRELS, excluded={"q1": frozenset({"d1"})})
    assert open_data([data])[0] is data
    hidden = open_data([data, PairData("p", "bitext", ("a",), ("b",))], ignore_identical_ids=True)[0]
    assert hidden.excluded == {"q1": frozenset({"d1", "q1"})}
    assert hidden.fingerprint != data.fingerprint
