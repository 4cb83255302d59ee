"""Bad data in retrieval folders: what makes figures impossible is refused by name, what lowers them is warned of."""

from __future__ import annotations

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.datasets.retrieval import is_retrieval_folder, read_judgements, read_retrieval
from support.judged import BEIR, CORPUS_ROWS, QUERY_ROWS, make, tsv, write

WARNED = {
    "an unknown document": (
        {"qrels": tsv(*BEIR) + "q1\tghost\t1\n"},
        "1 judgements name documents that are not in the corpus",
    ),
    "an unknown query": ({"qrels": tsv(*BEIR) + "ghost\td1\t1\n"}, "1 judged queries are not in the queries file"),
    "an empty query": ({"queries": [{"_id": "q1", "text": " "}, QUERY_ROWS[1]]}, "1 queries are empty ('q1' for one)"),
    "a query without judgements": (
        {"queries": [*QUERY_ROWS, {"_id": "q3", "text": ""}]},
        "1 queries have no judgements",
    ),
    "a query without relevant documents": (
        {"qrels": "q1\td1\t1\nq2\td1\t0\n"},
        "1 queries have no relevant document ('q2'",
    ),
    "negative levels": ({"qrels": "q1\td1\t1\nq2\td1\t-1\n"}, "1 queries have no relevant document ('q2' for one)"),
}


@pytest.mark.parametrize("what", WARNED)
def test_what_lowers_figures_is_a_warning(tmp_path, what):
    changes, warning = WARNED[what]
    data = read_retrieval(make(tmp_path, **changes))
    assert len(data.warnings) == 1
    assert data.warnings[0].startswith(warning)
    assert list(data.queries) == ["q1", "q2"]
    assert list(data.qrels) == ["q1", "q2"]
    assert data.info().warnings == data.warnings


def test_no_warning_where_all_is_well_though_it_looks_odd(tmp_path):
    qrels = "\ufeff\n" + tsv(between=" ") + "q1 d1 2\nq1 d3 2.0\n"  # the same judgement twice, and a level with a point
    data = read_retrieval(make(tmp_path, qrels=qrels))
    assert data.qrels == {"q1": {"d1": 2, "d2": 0, "d3": 2}, "q2": {"d3": 1}}
    assert data.warnings == ()


REFUSED = {
    "no documents": ({"corpus": "\n"}, r"corpus\.jsonl: no documents"),
    "a document twice": (
        {"corpus": [*CORPUS_ROWS, CORPUS_ROWS[0]]},
        r"corpus\.jsonl, line 4: id 'd1' was there before",
    ),
    "a broken line": ({"corpus": '{"_id": "d1", "text": "a"}\n{"_id"'}, r"corpus\.jsonl, line 2: not valid JSON"),
    "not UTF-8": (
        {"corpus": '{"_id": "d1", "text": "é"}'.encode("latin-1")},
        r"corpus\.jsonl, line 1: not valid UTF-8",
    ),
    "a document's id with a space": ({"corpus": [{"_id": "d 1", "text": ""}]}, "holds white space"),
    "no queries": ({"queries": ""}, "none of the judged queries is in the queries file, 'q1' for one"),
    "a query twice": ({"queries": [*QUERY_ROWS, QUERY_ROWS[0]]}, r"queries\.jsonl, line 3: id 'q1' was there before"),
    "a query's id with a space": ({"queries": [{"_id": "q 1", "text": ""}]}, r"queries\.jsonl, line 1: id 'q 1'"),
    "a query without an id": ({"queries": [{"text": "a"}]}, r"queries\.jsonl, line 1: no id"),
    "a query without a text": (
        {"queries": [{"_id": "q1"}]},
        "line 1: the text of query 'q1' is null, expected a string",
    ),
    "a query of another type": ({"queries": [{"_id": "q1", "text": ["a"]}]}, "the text of query 'q1' is a list"),
    "excluded documents of another type": (
        {"queries": [{"_id": "q1", "text": "", "excluded_ids": "d1"}]},
        "line 1: `excluded_ids` is not a list of strings",
    ),
    "answers of another type": (
        {"queries": [{"_id": "q1", "text": "", "answers": [1]}]},
        "`answers` is not a list of strings",
    ),
    "no judgements": (
        {"qrels": "query-id\tcorpus-id\tscore\n"},
        r"qrels/test\.tsv: no judgements, so there is nothing",
    ),
    "queries that are all unknown": (
        {"qrels": "x\td1\t1\ny\td1\t1\n"},
        "none of the judged queries is in the queries file",
    ),
    "documents that are all unknown": (
        {"qrels": "q1\tx\t1\nq2\ty\t1\n"},
        "none of the judged documents is in the corpus, 'x'",
    ),
    "nothing relevant": ({"qrels": "q1\td1\t0\nq2\td2\t-1\n"}, r"no document is judged relevant \(above 0\)"),
    "nothing relevant but to an unknown query": (
        {"qrels": "q1\td1\t0\nghost\td2\t1\n"},
        "no document is judged relevant",
    ),
    "a judgement that changes its mind": (
        {"qrels": "q1\td1\t1\nq1\td1\t2\n"},
        "line 2: query 'q1' and document 'd1' are judged 2 here and 1 before; keep one",
    ),
    "too few fields": ({"qrels": "q1\td1\n"}, r"test\.tsv, line 1: has 2 fields; a judgement is `query-id TAB"),
    "too many fields": ({"qrels": "q1 0 d1 1 x\n"}, "line 1: has 5 fields"),
    "a header nobody knows": (
        {"qrels": "query\tdocument\tgrade\nq1\td1\t1\n"},
        "line 1: relevance 'grade' is no integer",
    ),
    "a header in the midst": ({"qrels": tsv(*BEIR) + tsv(*BEIR)}, "line 5: relevance 'score' is no integer"),
    "a level with a fraction": ({"qrels": "q1\td1\t0.5\n"}, "relevance '0.5' is no integer; 0 is not relevant"),
    "an infinite level": ({"qrels": "q1\td1\tinf\n"}, "relevance 'inf' is no integer"),
    "a level that is no number": ({"qrels": "q1\td1\tnan\n"}, "relevance 'nan' is no integer"),
    "a level beyond all bounds": (
        {"qrels": "q1\td1\t1e300\n"},
        "relevance '1e300' is too large; levels go up to 10000",
    ),
    "judgements that are not UTF-8": ({"qrels": b"q1\td\xe91\t1\n"}, r"test\.tsv, line 1: not valid UTF-8"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_figures_impossible_is_refused(tmp_path, what):
    changes, message = REFUSED[what]
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_retrieval(make(tmp_path, **changes))
    assert str(tmp_path) in str(raised.value)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"qid": "q1", "docid": "d1"}', "a judgement has query-id, corpus-id, score or qid, docid, relevance"),
        ("{}", "found nothing"),
        ('{"qid": null, "docid": "d1", "relevance": 1}', "`qid` is null, expected a string or an integer"),
        ('{"qid": "q1", "docid": ["d1"], "relevance": 1}', "`docid` is a list"),
        ('{"qid": "q1", "docid": true, "relevance": 1}', "`docid` is a boolean"),
        ('{"qid": "q1", "docid": "d1", "relevance": true}', "relevance True is no integer"),
        ('{"qid": "q1", "docid": "d1", "relevance": null}', "relevance None is no integer"),
        ('{"qid": "q1", "docid": "d1", "relevance": "high"}', "relevance 'high' is no integer"),
        ('{"qid": "q1", "docid": "d1", "relevance": 10001}', "relevance 10001 is too large"),
        ('{"query-id": "q1", "corpus-id": "d1", "score": 1}', "found query-id, corpus-id, score"),
    ],
)
def test_a_bad_judgement_is_named_by_its_line(tmp_path, row, message):
    write(tmp_path / "q.jsonl", '{"qid": "q1", "docid": "d1", "relevance": 1}\n' + row)
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_judgements(tmp_path / "q.jsonl")
    assert str(raised.value).startswith(f"{tmp_path / 'q.jsonl'}, line 2: ")


def test_judgements_may_have_integers_for_ids(tmp_path):
    write(tmp_path / "q.jsonl", [{"qid": 1, "docid": 22, "relevance": 1.0}])
    assert read_judgements(tmp_path / "q.jsonl") == {"1": {"22": 1}}


def test_missing_files(tmp_path):
    assert not is_retrieval_folder(tmp_path)
    with pytest.raises(InvalidInputError, match=r"no corpus file; there should be corpus\.jsonl or corpus\.parquet"):
        read_retrieval(tmp_path)
    write(tmp_path / "corpus.jsonl", CORPUS_ROWS)
    with pytest.raises(InvalidInputError, match=r"no queries; there should be queries\.jsonl or test_queries\.jsonl"):
        read_retrieval(tmp_path)
    write(tmp_path / "queries.jsonl", QUERY_ROWS)
    with pytest.raises(InvalidInputError, match=r"queries\.jsonl: no judgements, so there is nothing to measure"):
        read_retrieval(tmp_path)
    (tmp_path / "qrels").mkdir()
    with pytest.raises(InvalidInputError, match="no judgements"):
        read_retrieval(tmp_path)


@pytest.mark.parametrize(
    ("meta", "message"),
    [
        ('{"nam": "x"}', r"dataset\.json: unknown keys \['nam'\]; known are name, task"),
        ('{"name": 5}', r"dataset\.json: name is a number, expected a string"),
        ('{"group": null}', "group is null, expected a string"),
        ('{"task": ["a"]}', "task is a list"),
        ('{"measures": "ndcg@10"}', "`measures` is not a list of strings"),
        ('{"measures": [10]}', "`measures` is not a list of strings"),
        ('{"measures": ["ndgc@10"]}', "measure 'ndgc@10' is not known"),
        ('["name"]', "holds a list, expected a JSON object"),
        ('{"name": "x"', r"dataset\.json, line 1: not valid JSON"),
        (b'{\n"name": "\xff"}', r"dataset\.json, line 2: not valid UTF-8"),
    ],
)
def test_a_bad_description_is_refused(tmp_path, meta, message):
    with pytest.raises(InvalidInputError, match=message):
        read_retrieval(make(tmp_path, meta=meta))
