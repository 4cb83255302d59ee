"""Benchmarks of ir_datasets: its own readers, over miniatures of the files it downloads."""

from __future__ import annotations

import gzip
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.evaluation.benchmarks.prepare import prepare
from lagotto.evaluation.benchmarks.registry import expand
from lagotto.evaluation.datasets.retrieval import RetrievalData

pytestmark = pytest.mark.usefixtures("online")
Opened = Callable[[str], RetrievalData]


def texts(data: RetrievalData) -> dict[str, str]:
    return dict(zip(data.corpus.ids, data.corpus.texts(), strict=True))


def write_beir(
    archive: Path,
    documents: Sequence[Mapping[str, Any]],
    queries: Mapping[str, str],
    qrels: Mapping[str, Sequence[tuple[str, str, int]]],
    folder: str = "",
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """BEIR's archive of a data set: its three files in a folder of its name."""
    folder = folder or archive.parent.name
    extra = {"metadata": dict(metadata or {})}
    archive.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive, "a") as file:
        lines = [json.dumps({"title": "", **document, **extra}) for document in documents]
        file.writestr(f"{folder}/corpus.jsonl", "\n".join(lines) + "\n")
        lines = [json.dumps({"_id": key, "text": text, **extra}) for key, text in queries.items()]
        file.writestr(f"{folder}/queries.jsonl", "\n".join(lines) + "\n")
        for split, judged in qrels.items():
            rows = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{score}" for q, d, score in judged)]
            file.writestr(f"{folder}/qrels/{split}.tsv", "\n".join(rows) + "\n")


def test_a_data_set_of_beir(ir_home: Path, opened: Opened) -> None:
    write_beir(
        ir_home / "beir/nfcorpus/source.zip",
        [
            {"_id": "MED-1", "title": "Statins", "text": "Statins and cancer."},
            {"_id": "MED-2", "text": "Diet only."},
        ],
        {"PLAIN-1": "Do statins help?", "PLAIN-2": "For training"},
        {"train": [("PLAIN-2", "MED-2", 1)], "dev": [], "test": [("PLAIN-1", "MED-1", 2), ("PLAIN-1", "MED-2", 1)]},
        metadata={"url": "http://example.org"},
    )

    data = opened("beir/nfcorpus")

    assert texts(data) == {"MED-1": "Statins Statins and cancer.", "MED-2": "Diet only."}
    assert data.queries == {"PLAIN-1": "Do statins help?"}
    assert data.qrels == {"PLAIN-1": {"MED-1": 2, "MED-2": 1}}
    assert (data.name, data.split, data.language, data.task.name) == ("beir/nfcorpus", "test", "en", "NFCorpus")
    assert data.task.instruction == expand("beir/nfcorpus")[0].instruction
    assert data.measures == ("ndcg@10", "recall@100")
    assert data.source.endswith(": beir/nfcorpus/test")
    assert data.source.startswith("ir_datasets 0.")
    assert data.warnings == ()


@pytest.mark.parametrize("name", ["arguana", "quora"])
def test_a_query_does_not_find_itself(ir_home: Path, opened: Opened, name: str) -> None:
    write_beir(
        ir_home / f"beir/{name}/source.zip",
        [{"_id": "pro-a", "text": "Yes."}, {"_id": "con-b", "text": "No."}],
        {"pro-a": "Yes.", "other": "Perhaps."},
        {"test": [("pro-a", "con-b", 1), ("other", "con-b", 1)], "dev": []},
    )

    data = opened(f"beir/{name}")

    assert data.excluded == {"pro-a": {"pro-a"}}
    assert data.qrels == {"pro-a": {"con-b": 1}, "other": {"con-b": 1}}


def test_forums_are_averaged_together(ir_home: Path, opened: Opened) -> None:
    for forum in ("android", "tex"):
        write_beir(
            ir_home / "beir/cqadupstack/source.zip",
            [{"_id": "1", "title": f"About {forum}", "text": "How?"}],
            {"2": "how"},
            {"test": [("2", "1", 1)]},
            folder=f"cqadupstack/{forum}",
            metadata={"tags": ["x"]},
        )

    for forum in ("android", "tex"):
        data = opened(f"beir/cqadupstack/{forum}")
        assert texts(data) == {"1": f"About {forum} How?"}
        assert (data.name, data.group) == (f"beir/cqadupstack/{forum}", "cqadupstack")


def test_touche_is_read_with_its_corrected_judgements(ir_home: Path, opened: Opened) -> None:
    write_beir(
        ir_home / "beir/webis-touche2020/v2/source.zip",
        [{"_id": "c67482ba", "title": "Vaping", "text": "It is harmful."}],
        {"1": "Should vaping be banned?"},
        {"test": [("1", "c67482ba", 2)]},
        folder="webis-touche2020",
        metadata={"stance": "PRO", "url": "", "description": "", "narrative": ""},
    )

    assert opened("beir/webis-touche2020").qrels == {"1": {"c67482ba": 2}}


def test_ms_marco_passages(ir_home: Path, opened: Opened, tmp_path: Path) -> None:
    home = ir_home / "msmarco-passage"
    for folder in ("dev/small", "trec-dl-2019", "trec-dl-2020"):
        (home / folder).mkdir(parents=True)
    (home / "irds_version.txt").write_text("v2")
    (home / "collection.tsv").write_text("0\tThe Manhattan Project.\n1\tA café in Rome.\n2\tRome.\n", encoding="utf-8")
    (home / "dev/small/queries.tsv").write_text("11\twhat was it\n")
    (home / "dev/small/qrels").write_text("11\t0\t0\t1\n")
    (home / "trec-dl-2019/queries.tsv").write_text("21\tcoffee in rome\n22\tnot judged\n")
    (home / "trec-dl-2019/qrels").write_text("21 Q0 1 3\n21 Q0 2 1\n21 Q0 0 0\n")
    with gzip.open(home / "trec-dl-2020/queries.tsv.gz", "wt") as file:
        file.write("31\trome\n")
    (home / "trec-dl-2020/qrels").write_text("31 0 2 2\n")

    dev, dl19, dl20 = (opened(f"msmarco/{part}") for part in ("dev", "dl19", "dl20"))

    assert texts(dev) == {"0": "The Manhattan Project.", "1": "A café in Rome.", "2": "Rome."}
    assert (dev.queries, dev.qrels) == ({"11": "what was it"}, {"11": {"0": 1}})
    assert (dl19.queries, dl19.qrels) == ({"21": "coffee in rome"}, {"21": {"1": 3, "2": 1, "0": 0}})
    assert (dl20.queries, dl20.qrels) == ({"31": "rome"}, {"31": {"2": 2}})
    assert (dev.split, dl19.split, dl20.split) == ("dev", "dl19", "dl20")
    assert dl19.warnings == ()
    folders = [tmp_path / "cache/benchmarks/msmarco" / part / "corpus.jsonl" for part in ("dev", "dl19", "dl20")]
    assert folders[0].samefile(folders[1])
    assert folders[0].samefile(folders[2])


def test_ms_marco_documents(ir_home: Path, opened: Opened) -> None:
    home = ir_home / "msmarco-document"
    (home / "trec-dl-2019").mkdir(parents=True)
    document = "<DOC>\n<DOCNO>D1</DOCNO>\n<TEXT>\nhttp://example.org/a\nThe title\nThe body.\nMore.\n</TEXT>\n</DOC>\n"
    with gzip.open(home / "collection.tsv.gz", "wt") as file:
        file.write(document)
    with gzip.open(home / "trec-dl-2019/queries.tsv.gz", "wt") as file:
        file.write("21\twhat is it\n22\tnot judged\n")
    (home / "trec-dl-2019/qrels").write_text("21 Q0 D1 3\n")

    data = opened("msmarco-doc/dl19")

    assert [text.split() for text in data.corpus.texts()] == [["The", "title", "The", "body.", "More."]]
    assert data.corpus.ids == ("D1",)
    assert (data.queries, data.qrels) == ({"21": "what is it"}, {"21": {"D1": 3}})


def test_a_language_of_miracl(ir_home: Path, opened: Opened) -> None:
    home = ir_home / "miracl/v1.0/yo"
    (home / "docs").mkdir(parents=True)
    (home / "dev").mkdir()
    with gzip.open(home / "docs/docs-1.jsonl.gz", "wt", encoding="utf-8") as file:
        for key, title, text in (("12#0", "Ìbàdàn", "Ìlú ńlá."), ("12#1", "Ìbàdàn", "Ọ̀yọ́.")):
            file.write(json.dumps({"docid": key, "title": title, "text": text}) + "\n")
    (home / "dev/topics.tsv").write_text("7#0\tKí ni Ìbàdàn?\n", encoding="utf-8")
    (home / "dev/qrels.tsv").write_text("7#0\tQ0\t12#0\t1\n7#0\tQ0\t12#1\t0\n")

    data = opened("miracl/yo")

    assert texts(data) == {"12#0": "Ìbàdàn Ìlú ńlá.", "12#1": "Ìbàdàn Ọ̀yọ́."}
    assert (data.queries, data.qrels) == ({"7#0": "Kí ni Ìbàdàn?"}, {"7#0": {"12#0": 1, "12#1": 0}})
    assert (data.split, data.language, data.task.name) == ("dev", "yo", "MIRACLRetrieval")


def test_what_can_t_be_downloaded_is_explained(ir_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ir_datasets

    def refuse(*_: object, **__: object) -> None:
        raise ir_datasets.lazy_libs.requests().exceptions.ConnectionError("no route to host\nand more")

    monkeypatch.setattr(ir_datasets.lazy_libs.requests(), "get", refuse)

    with pytest.raises(InvalidInputError) as raised:
        prepare(expand("beir/scidocs")[0], cache=tmp_path)

    message = str(raised.value)
    assert "beir/scidocs is not on this machine, and ir_datasets could not get it" in message
    assert "no route to host)" in message
    assert f"Looked in {tmp_path / 'benchmarks/beir/scidocs'} ($LAGOTTO_BENCHMARKS is not set)" in message
    assert "It comes from beir/scidocs in ir_datasets" in message
    assert "run `lagotto eval benchmarks --fetch beir/scidocs` and copy the folder" in message
    assert list((tmp_path / "benchmarks/beir").iterdir()) == []


def test_an_ir_datasets_that_is_too_old_is_named(
    ir_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ir_datasets

    monkeypatch.setattr(ir_datasets, "registry", {})

    with pytest.raises(MissingDependencyError, match=r"does not know 'beir/nq': pip install -U \"lagotto\[bench"):
        prepare(expand("beir/nq")[0], cache=tmp_path)


def test_without_ir_datasets_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ir_datasets", None)

    with pytest.raises(MissingDependencyError, match=r'pip install "lagotto\[benchmarks\]"'):
        prepare(expand("beir/nq")[0], cache=tmp_path)
