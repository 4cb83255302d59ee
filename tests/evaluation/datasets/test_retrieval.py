"""Retrieval folders: every layout reads to the same. Bad data has tests of its own beside this file."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.datasets.retrieval import RetrievalData, is_retrieval_folder, read_judgements, read_retrieval
from lagotto.evaluation.instructions import TaskHint
from support.judged import (
    BEIR,
    CORPUS_ROWS,
    DOCUMENTS,
    FLAG,
    QRELS,
    QUERIES,
    QUERY_ROWS,
    make,
    rename,
    triples,
    tsv,
    write,
)

LAYOUTS = {
    "BEIR": {"corpus.jsonl": CORPUS_ROWS, "queries.jsonl": QUERY_ROWS, "qrels/test.tsv": tsv(*BEIR)},
    "BEIR, gzipped": {
        "corpus.jsonl.gz": CORPUS_ROWS,
        "queries.jsonl.gz": QUERY_ROWS,
        "qrels/test.jsonl.gz": triples(*BEIR),
    },
    "FlagEmbedding": {
        "corpus.jsonl": rename(CORPUS_ROWS, _id="id"),
        "test_queries.jsonl": rename(QUERY_ROWS, _id="id"),
        "test_qrels.jsonl": triples(*FLAG),
    },
    "one split": {"corpus.ndjson": CORPUS_ROWS, "queries.ndjson": QUERY_ROWS, "qrels.tsv": tsv(*BEIR)},
    "Parquet": {"corpus.parquet": CORPUS_ROWS, "queries.parquet": QUERY_ROWS, "qrels/test.parquet": triples(*BEIR)},
    "Parquet, short ending": {"corpus.pq": CORPUS_ROWS, "queries.pq": QUERY_ROWS, "qrels.pq": triples(*FLAG)},
    "mixed": {"corpus.parquet": CORPUS_ROWS, "test_queries.jsonl": QUERY_ROWS, "test_qrels.tsv": tsv(*FLAG)},
    "TREC": {"corpus.jsonl": CORPUS_ROWS, "queries.jsonl": QUERY_ROWS, "qrels.trec": tsv(between=" ", middle=["0"])},
    "TREC, in a folder": {
        "corpus.jsonl": CORPUS_ROWS,
        "queries.jsonl": QUERY_ROWS,
        "qrels/test.txt": tsv(middle=["Q0"]),
    },
    "tables": {
        "corpus.csv": "_id,title,text\nd1,One,first\nd2,,two\nd3,,熊猫\n",
        "queries.tsv": "_id\ttext\nq1\twhat?\nq2\t谁\n",
        "qrels.csv": tsv("query_id", "corpus_id", "score", between=","),
    },
    "as Windows writes it": {
        "corpus.jsonl": "\ufeff" + "\r\n\r\n".join(json.dumps(row) for row in CORPUS_ROWS),
        "queries.jsonl": "\ufeff\r\n" + "\r\n".join(json.dumps(row) for row in QUERY_ROWS),
        "qrels/test.tsv": "\ufeff" + tsv(*BEIR).replace("\n", "\r\n\r\n"),
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_reads_to_the_same(tmp_path, layout):
    for name, rows in LAYOUTS[layout].items():
        write(tmp_path / "mine" / name, rows)
    assert is_retrieval_folder(tmp_path / "mine")
    data = read_retrieval(tmp_path / "mine")
    assert (data.name, data.split, data.warnings) == ("mine", "test", ())
    assert dict(zip(data.corpus.ids, data.corpus.texts(), strict=True)) == DOCUMENTS
    assert data.queries == QUERIES
    assert data.qrels == QRELS
    assert data.fingerprint == RetrievalData("x", ListCorpus(DOCUMENTS), QUERIES, QRELS).fingerprint


@pytest.mark.parametrize("header", [BEIR, FLAG, ("query_id", "corpus_id", "score"), ()])
@pytest.mark.parametrize("between", ["\t", "  "])
def test_judgements_with_and_without_a_header(tmp_path, header, between):
    write(tmp_path / "q.tsv", tsv(*header, between=between))
    assert read_judgements(tmp_path / "q.tsv") == QRELS


def test_what_a_report_says_of_it(tmp_path):
    meta = {
        "name": "Mine",
        "task": "NFCorpus",
        "task_type": "Reranking",
        "instruction": "Find it",
        "language": "zh",
        "group": "all",
        "measures": ["mrr@10"],
        "source": "beir/mine",
    }
    data = read_retrieval(make(tmp_path, meta=json.dumps(meta, indent=2)))
    assert data.task == TaskHint("NFCorpus", "Reranking", "Find it")
    assert (data.language, data.measures) == ("zh", ("mrr@10",))
    info = data.info()
    assert (info.name, info.kind, info.split, info.group, info.source) == (
        "Mine",
        "retrieval",
        "test",
        "all",
        "beir/mine",
    )
    assert (info.documents, info.queries, info.judgements) == (3, 2, 3)
    assert len(info.fingerprint) == 32
    plain = read_retrieval(make(tmp_path / "plain"))
    assert (plain.task, plain.group, plain.measures) == (TaskHint(type="Retrieval"), None, ())
    assert plain.source == str(tmp_path / "plain")


def test_splits(tmp_path):
    make(tmp_path)
    write(tmp_path / "qrels/dev.tsv", "q2\td1\t1\n")
    write(tmp_path / "qrels/notes.md", "no judgements")
    write(tmp_path / "train_queries.jsonl", [{"id": "t1", "text": "t"}])
    write(tmp_path / "train_qrels.jsonl", [{"qid": "t1", "docid": "d2", "relevance": 1}])
    assert read_retrieval(tmp_path).qrels == QRELS
    dev = read_retrieval(tmp_path, "dev")
    assert (dev.split, dev.queries, dev.qrels) == ("dev", {"q2": "谁"}, {"q2": {"d1": 1}})
    assert dev.warnings == ("1 queries have no judgements and are left out, as in trec_eval",)
    assert read_retrieval(tmp_path, "train").queries == {"t1": "t"}
    with pytest.raises(
        InvalidInputError, match=r"no split 'Test'; there are dev, test, train\. Choose one with --split"
    ):
        read_retrieval(tmp_path, "Test")
    (tmp_path / "qrels/test.tsv").unlink()
    with pytest.raises(InvalidInputError, match=r"several splits; there are dev, train\. Choose one with --split"):
        read_retrieval(tmp_path)
    shutil.rmtree(tmp_path / "qrels")
    (tmp_path / "queries.jsonl").unlink()
    assert read_retrieval(tmp_path).split == "train"


def test_excluded_documents_and_answers(tmp_path):
    rows = [
        {"_id": "q1", "text": "a", "excluded_ids": ["d2", "d9", "d2"], "answers": ["yes", "ja"]},
        {"_id": "q2", "text": "b", "excluded_ids": None, "answers": []},
    ]
    data = read_retrieval(make(tmp_path, queries=rows))
    assert data.excluded == {"q1": frozenset({"d2", "d9"})}
    assert data.answers == {"q1": ("yes", "ja")}
    assert data.warnings == ("1 excluded documents are not in the corpus",)
    (tmp_path / "qrels/test.tsv").unlink()
    answered = read_retrieval(tmp_path)
    assert (answered.queries, answered.qrels) == ({"q1": "a"}, {})
    assert answered.warnings[0] == "1 queries have no judgements and are left out, as in trec_eval"


def test_a_huge_document_and_a_huge_query(tmp_path):
    long = "語" * 500_000
    data = read_retrieval(
        make(
            tmp_path,
            corpus=[*CORPUS_ROWS, {"_id": "d4", "text": long}],
            queries=[{"_id": "q1", "text": long}, QUERY_ROWS[1]],
        )
    )
    assert data.corpus.text(3) == data.queries["q1"] == long


def test_the_fingerprint_changes_with_all_that_decides_figures_and_with_nothing_else():
    data = RetrievalData("a", ListCorpus(DOCUMENTS), QUERIES, QRELS)
    same = [
        replace(data, name="b", split="dev", source="x", warnings=("w",), group="g"),
        replace(data, queries=dict(reversed(QUERIES.items()))),
    ]
    assert {item.fingerprint for item in same} == {data.fingerprint}

    def corpus(**changes):
        return replace(data, corpus=ListCorpus({**DOCUMENTS, **changes}))

    others = [
        corpus(d1="One First"),
        corpus(d4=""),
        corpus(d4="", d5=""),
        replace(data, corpus=ListCorpus(dict(reversed(DOCUMENTS.items())))),
        replace(data, corpus=ListCorpus({"d1": DOCUMENTS["d1"], "d2": DOCUMENTS["d2"], "d4": DOCUMENTS["d3"]})),
        replace(data, corpus=ListCorpus({"d1": "One firs", "td2": "two", "d3": "熊猫"})),
        replace(data, queries={**QUERIES, "q1": "what"}),
        replace(data, queries={"q1": "谁", "q2": "what?"}),
        replace(data, queries={"q1": "what?"}),
        replace(data, qrels={**QRELS, "q2": {"d3": 2}}),
        replace(data, qrels={"q1": {"d1": 2}, "q2": {"d3": 1}}),
        replace(data, qrels={"q1": {"d1": 2, "d3": 0}, "q2": {"d3": 1}}),
        replace(data, excluded={"q1": frozenset({"d1"})}),
        replace(data, excluded={"q1": frozenset({"d2"})}),
        replace(data, excluded={"q2": frozenset({"d2"})}),
        replace(data, answers={"q1": ("a",)}),
        replace(data, answers={"q1": ("a", "b")}),
    ]
    assert len({item.fingerprint for item in [data, *others]}) == len(others) + 1


def test_a_name_that_would_steer_a_terminal_is_refused(tmp_path):
    folder = make(tmp_path)
    (folder / "dataset.json").write_text(json.dumps({"name": "a\x1b[2Jb"}), encoding="utf-8")
    with pytest.raises(InvalidInputError, match="can't be shown"):
        read_retrieval(folder)
