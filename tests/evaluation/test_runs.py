"""TREC's files: written and read back to the same numbers; names that any file system takes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError
from lagotto.core.paths import write_atomically
from lagotto.evaluation.results import Run
from lagotto.evaluation.runs import as_arrays, file_name, read_qrels, read_run, write_qrels, write_run

IDS = ("d0", "d-1", "熊猫", "d.3", "https://x/y?z=1#a")
FLOATS = st.floats(width=32, allow_nan=False, allow_infinity=False)


def run_of(*rows, queries=None):
    """From lists of (place, score), one a query."""
    depth = max((len(row) for row in rows), default=0)
    documents = np.full((len(rows), depth), -1, np.int32)
    scores = np.full((len(rows), depth), -np.inf, np.float32)
    for number, row in enumerate(rows):
        for rank, (place, score) in enumerate(row):
            documents[number, rank], scores[number, rank] = place, score
    return Run(queries or tuple(f"q{i}" for i in range(len(rows))), documents, scores, IDS)


def assert_same(a, b):
    assert (a.queries, a.ids) == (b.queries, b.ids)
    np.testing.assert_array_equal(a.documents, b.documents)
    np.testing.assert_array_equal(a.scores, b.scores)
    assert (b.documents.dtype, b.scores.dtype) == (np.int32, np.float32)


@st.composite
def runs(draw):
    rows = []
    for _ in range(draw(st.integers(1, 4))):
        places = draw(st.lists(st.integers(0, len(IDS) - 1), unique=True))
        scores = sorted(draw(st.lists(FLOATS, min_size=len(places), max_size=len(places))), reverse=True)
        rows.append(list(zip(places, scores, strict=True)))
    return run_of(*([[(0, 1.0)]] if not any(rows) else rows))


@given(run=runs())
@example(run_of([(0, np.float32(0.1)), (1, np.nextafter(np.float32(0.1), np.float32(0)))]))
@example(run_of([(0, np.nextafter(np.float32(1024), np.float32(0))), (1, 1023.9999)]))
@example(run_of([(0, 3.4028235e38), (1, 1e-45), (2, -0.0), (3, -3.4028235e38)]))
def test_a_run_comes_back_to_the_same_float32(tmp_path_factory, run):
    path = tmp_path_factory.mktemp("run") / "a.trec"
    write_run(path, run, "tag")
    scored = read_run(path)
    assert scored == {query: hits for query, hits in run.to_dict().items() if hits} or run.scores.size
    for query, hits in scored.items():
        row = run.queries.index(query)
        assert list(hits) == [document for document, _ in run.hits(row)]
        np.testing.assert_array_equal(np.array(list(hits.values()), np.float32), run.scores[row, : len(hits)])
    assert_same(as_arrays(scored, run.queries, run.ids), run)


def test_a_line_of_a_run(tmp_path):
    write_run(tmp_path / "runs/x/a.trec", run_of([(2, 0.5), (0, 0.25)], [(1, 7)]), "bge-m3 → re\tranker")
    assert (tmp_path / "runs/x/a.trec").read_text(encoding="utf-8").splitlines() == [
        "q0 Q0 熊猫 1 0.5 bge-m3_→_re_ranker",
        "q0 Q0 d0 2 0.25 bge-m3_→_re_ranker",
        "q1 Q0 d-1 1 7 bge-m3_→_re_ranker",
    ]


def test_queries_without_hits_have_no_lines_and_are_empty_as_arrays(tmp_path):
    run = run_of([], [(3, 1.0)], [])
    write_run(tmp_path / "a.trec", run, "x")
    assert read_run(tmp_path / "a.trec") == {"q1": {"d.3": 1.0}}
    assert_same(as_arrays(read_run(tmp_path / "a.trec"), run.queries, IDS), run)


def test_arrays_are_ordered_by_score_whatever_the_files_order(tmp_path):
    (tmp_path / "a.trec").write_text("q0 Q0 d0 1 1 x\nq0 Q0 d-1 2 3 x\nq0 Q0 d.3 3 3 x\n")
    assert_same(as_arrays(read_run(tmp_path / "a.trec"), ("q0",), IDS), run_of([(1, 3), (3, 3), (0, 1)]))


def test_arrays_of_a_document_that_is_not_there():
    with pytest.raises(KeyError, match="ghost"):
        as_arrays({"q0": {"ghost": 1.0}}, ("q0",), IDS)
    assert as_arrays({}, ("q0",), IDS).documents.shape == (1, 0)


def test_runs_of_other_tools(tmp_path):
    content = "\ufeffq1\t0  d1 7 1e-3 a\r\n\r\n \nq1 Q0 d2 x +.5 b\nq2 Q0 d1 1 -12 c"
    (tmp_path / "a").write_bytes(content.encode())
    assert read_run(tmp_path / "a") == {"q1": {"d1": 0.001, "d2": 0.5}, "q2": {"d1": -12.0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.trec: no hits"),
        ("\n\n", "a.trec: no hits"),
        ("q Q0 d 1 0.5 x\nq Q0 d 2 0.4\n", r"line 2: 'q Q0 d 2 0\.4' is no line of a TREC run \(query Q0 document"),
        ("q Q0 d 1 0.5 x y\n", "line 1: 'q Q0 d 1 0.5 x y' is no line"),
        ("\nq Q0 d 1 high x\n", "line 2: 'q Q0 d 1 high x' is no line"),
        ("q 0 d 1\n", "line 1: 'q 0 d 1' is no line"),
        ("q Q0 d 1 2 x\nr Q0 d 1 2 x\nq Q0 d 2 1 x\n", "line 3: document 'd' comes twice for query 'q'"),
        ("x" * 1000, "line 1: '" + "x" * 80 + "' is no line"),
        (b"q Q0 d 1 1 x\nq Q0 \xff 1 1 x\n", "line 2: not valid UTF-8"),
        (b"\x1f\x8b\x08\x00", "line 1: not valid UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path, content, message):
    (tmp_path / "a.trec").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidInputError, match=message) as raised:
        read_run(tmp_path / "a.trec")
    assert str(raised.value).startswith(str(tmp_path / "a.trec"))


LEVELS = st.dictionaries(st.sampled_from(IDS), st.integers(-2, 9), min_size=1)


@given(qrels=st.dictionaries(st.sampled_from(["q", "1", "問"]), LEVELS, min_size=1))
def test_judgements_come_back(tmp_path_factory, qrels):
    path = tmp_path_factory.mktemp("qrels") / "x.qrels.txt"
    write_qrels(path, qrels)
    assert read_qrels(path) == qrels


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.qrels", "q 0 d1 1\nq 0 d2 0\n"),
        ("a.trec", "q Q0 d1 1\nq Q0 d2 0\n"),
        ("a", "q 0 d1 1\nq 0 d2 0\n"),
        ("a.tsv", "query-id\tcorpus-id\tscore\nq\td1\t1\nq\td2\t0\n"),
        ("a.jsonl", '{"qid": "q", "docid": "d1", "relevance": 1}\n{"qid": "q", "docid": "d2", "relevance": 0}\n'),
        ("a.csv", "query-id,corpus-id,score\nq,d1,1\nq,d2,0\n"),
    ],
)
def test_judgements_in_every_layout(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    assert read_qrels(tmp_path / name) == {"q": {"d1": 1, "d2": 0}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "a.tsv: no judgements"),
        ("q\td\t1\nq\td\t0\n", "line 2: query 'q' and document 'd' are judged 0 here and 1 before; keep one"),
        ("q Q0 d 1 0.5 x\n", "line 1: has 6 fields; a judgement is"),
        ("q 0 d high\n", "line 1: relevance 'high' is no integer"),
    ],
)
def test_bad_judgements(tmp_path, content, message):
    (tmp_path / "a.tsv").write_text(content)
    with pytest.raises(InvalidInputError, match=message):
        read_qrels(tmp_path / "a.tsv")


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("bge-m3", "bge-m3"),
        ("bge-m3 [256d, int8]", "bge-m3 [256d, int8]"),
        ("a + BM25 → b", "a + BM25 _ b"),
        ("熊猫 é", "熊猫 é"),
        ("MTEB(eng, v2)/STS17", "MTEB(eng, v2)_STS17"),
        ("a/b\\c", "a_b_c"),
        ("../../x", "_.._x"),
        ("/etc/passwd", "_etc_passwd"),
        ("C:\\x|y*z?", "C__x_y_z_"),
        ("~/x", "__x"),
        (".hidden", "hidden"),
        ("a\nb\0c\td", "a_b_c_d"),
        (" a. ", "a"),
        ("", "_"),
        (".", "_"),
        ("....", "_"),
        (" . ", "_"),
        ("CON", "_CON"),
        ("nul.txt", "_nul.txt"),
        ("com1", "_com1"),
        ("console", "console"),
    ],
)
def test_names_of_files(name, safe):
    assert file_name(name) == safe


@given(st.text(max_size=300))
@example("a" * 5000)
@example("熊" * 200)
@example("🐼" * 200)
@example("x" * 159 + "熊")
def test_any_name_makes_a_file_in_its_folder(tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("names")
    safe = file_name(name)
    path = folder / f"{safe}.trec"
    write_atomically(path, b"")
    assert [item.name for item in folder.iterdir()] == [path.name]
    assert file_name(safe) == safe
    assert len(safe.encode()) <= 160


def test_long_names_stay_apart():
    names = ["x" * 300, "x" * 301, "x" * 299 + "y", "熊" * 100, "熊" * 101]
    safe = [file_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert safe[0].startswith("x" * 100)
    assert file_name("x" * 160) == "x" * 160
