"""Measures against pytrec_eval itself, and against rules written out by hand."""

from __future__ import annotations

import math
import struct
import sys

import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.evaluation.measures import LARGEST_LEVEL, RERANKING, RETRIEVAL, Measure, mean, parse_measure, per_query

CUTOFFS = (1, 2, 3, 5, 10, 100)
THEIRS = {
    "ndcg": "ndcg_cut_{}",
    "map": "map_cut_{}",
    "recall": "recall_{}",
    "precision": "P_{}",
    "success": "success_{}",
}
WHOLE = {"ndcg": "ndcg", "map": "map", "mrr": "recip_rank", "rprec": "Rprec", "bpref": "bpref"}

DOCUMENTS = [*(f"d{i}" for i in range(12)), "D1", "d-1", "é", "熊", "𝛼", "a b"]
# Few values, so that many tie; 0.1 + 1e-9 is another number as a double and the same one as a float.
SCORES = st.sampled_from([0.0, 1.0, -1.0, 0.1, 0.1 + 1e-9, 0.1 + 1e-7, 1e-30, 16777216.0, 16777217.0, 3, 1e20])
RANKED = st.dictionaries(st.sampled_from(DOCUMENTS), SCORES, max_size=len(DOCUMENTS))
LEVELS = st.sampled_from([-2, -1, 0, 0, 1, 1, 2, 3, 7])
JUDGED = st.dictionaries(st.sampled_from(DOCUMENTS), LEVELS, min_size=1, max_size=10)
QUERIES = st.sampled_from(["q1", "q2", "10", "問"])
RUNS = st.dictionaries(QUERIES, RANKED, max_size=4)
QRELS = st.dictionaries(QUERIES, JUDGED, min_size=1, max_size=3)


def trec_eval(run, qrels, name, level=1):
    """query -> value by pytrec_eval alone, every judged query in it, as with ``-c``.

    A negative level means "not judged", which trec_eval's code can't read without risking a crash: left out here.
    """
    judged = {query: {doc: grade for doc, grade in docs.items() if grade >= 0} for query, docs in qrels.items()}
    asked = name if name in WHOLE.values() else ".".join(name.rsplit("_", 1))
    evaluator = pytrec_eval.RelevanceEvaluator(judged, {asked}, relevance_level=level)
    floats = {query: {doc: float(score) for doc, score in hits.items()} for query, hits in run.items() if hits}
    found = evaluator.evaluate(floats)
    return {query: found.get(query, {}).get(name, 0.0) for query in qrels}


def measured(run, qrels, name):
    """query -> value by `per_query`."""
    measure = parse_measure(name)
    return per_query(run, qrels, [measure])[measure.name]


def ranks(hits):
    """Documents as trec_eval orders them: by score as a float, falling, then by id, falling."""
    return sorted(hits, key=lambda doc: (struct.unpack("f", struct.pack("f", hits[doc]))[0], doc), reverse=True)


def reciprocal_rank(hits, judged, level, cutoff):
    for rank, document in enumerate(ranks(hits), 1):
        if judged.get(document, 0) >= level:
            return 1 / rank if cutoff is None or rank <= cutoff else 0.0
    return 0.0


@pytest.mark.parametrize("level", [1, 2])
@settings(max_examples=250)
@given(run=RUNS, qrels=QRELS)
def test_the_same_as_trec_eval(level, run, qrels):
    said = "" if level == 1 else f"(rel={level})"
    asked = {base + said: name for base, name in WHOLE.items() if base != "ndcg" or level == 1}
    for base, name in THEIRS.items():
        if base != "ndcg" or level == 1:
            asked |= {f"{base}{said}@{cutoff}": name.format(cutoff) for cutoff in CUTOFFS}
    found = per_query(run, qrels, [parse_measure(name) for name in asked])
    assert list(found) == list(asked)
    for name, theirs in asked.items():
        expected = trec_eval(run, qrels, theirs, level)
        assert list(found[name]) == list(qrels), name
        assert found[name] == pytest.approx(expected, abs=1e-6), name


@pytest.mark.parametrize("level", [1, 2])
@pytest.mark.parametrize("cutoff", [1, 2, 3, 5, 10, 100, None])
@settings(max_examples=100)
@given(run=RUNS, qrels=QRELS)
def test_reciprocal_rank_within_a_cutoff(level, cutoff, run, qrels):
    name = "mrr" + ("" if level == 1 else f"(rel={level})") + ("" if cutoff is None else f"@{cutoff}")
    expected = {q: reciprocal_rank(run.get(q, {}), judged, level, cutoff) for q, judged in qrels.items()}
    assert measured(run, qrels, name) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("rank", [1, 2, 3, 7, 10, 11, 99, 100, 101, 1000])
@pytest.mark.parametrize("cutoff", [1, 3, 7, 10, 100, 1000])
def test_reciprocal_rank_at_the_edge_of_the_cutoff(rank, cutoff):
    run = {"q": {f"d{place:04}": -float(place) for place in range(1, 1002)}}
    expected = 1 / rank if rank <= cutoff else 0.0
    assert measured(run, {"q": {f"d{rank:04}": 1}}, f"mrr@{cutoff}")["q"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("level", [1, 2])
@settings(max_examples=100)
@given(run=RUNS, qrels=QRELS)
def test_capped_recall(level, run, qrels):
    for cutoff in (1, 3, 10):
        expected = {}
        for query, judged in qrels.items():
            relevant = {doc for doc, grade in judged.items() if grade >= level}
            hits = relevant & set(ranks(run.get(query, {}))[:cutoff])
            expected[query] = len(hits) / min(len(relevant), cutoff) if relevant else 0.0
        name = "capped_recall" + ("" if level == 1 else f"(rel={level})") + f"@{cutoff}"
        assert measured(run, qrels, name) == pytest.approx(expected, abs=1e-6)


def test_ndcg_written_out():
    run = {"q": {"a": 3.0, "b": 2.0, "c": 1.0}}
    gained = 1 / math.log2(2) + 0 + 3 / math.log2(4)
    ideal = 3 / math.log2(2) + 1 / math.log2(3)
    assert measured(run, {"q": {"a": 1, "c": 3}}, "ndcg@10")["q"] == pytest.approx(gained / ideal)


def test_ties_go_to_the_last_id_whatever_order_they_came_in():
    for hits in ({"a": 1.0, "b": 1.0}, {"b": 1.0, "a": 1.0}, {"a": 1.0, "b": 1.0 + 1e-9}, {"b": 1.0, "a": 1.0 + 1e-9}):
        assert measured({"q": hits}, {"q": {"b": 1}}, "mrr")["q"] == 1.0
        assert measured({"q": hits}, {"q": {"a": 1}}, "mrr")["q"] == 0.5


def test_judged_queries_that_found_nothing_count_as_0_and_others_are_left_out():
    qrels = {"found": {"a": 1}, "absent": {"a": 1}, "empty": {"a": 1}, "hopeless": {"a": 0}, "unjudged": {"a": -1}}
    run = {"found": {"a": 1.0}, "empty": {}, "hopeless": {"a": 1.0}, "unjudged": {"a": 1.0}, "strange": {"a": 1.0}}
    names = [*RETRIEVAL, *RERANKING, "mrr@1", "capped_recall@1", "bpref", "rprec", "success@1", "precision@1"]
    found = per_query(run, qrels, [parse_measure(name) for name in names])
    for name, values in found.items():
        assert values == {"found": 1.0, "absent": 0.0, "empty": 0.0, "hopeless": 0.0, "unjudged": 0.0}, name


def test_an_empty_run_and_empty_judgements():
    assert measured({}, {"q": {"a": 1}}, "ndcg@10") == {"q": 0.0}
    assert measured({"q": {"a": 1.0}}, {}, "ndcg@10") == {}


def test_no_measures_and_measures_by_answers_need_no_trec_eval():
    assert per_query({"q": {"a": 1.0}}, {"q": {"a": 1}}, []) == {}
    assert per_query({"q": {"a": 1.0}}, {"q": {"a": 1}}, [parse_measure("answer_recall@20")]) == {}


def test_measures_come_in_the_order_asked_for_and_twice_is_once():
    measures = [parse_measure(name) for name in ("map", "capped_recall@3", "recall@3", "MAP")]
    found = per_query({"q": {"a": 1.0}}, {"q": {"a": 1}}, measures)
    assert list(found) == ["map", "capped_recall@3", "recall@3"]


def test_what_went_in_is_left_as_it_was():
    run, qrels = {"q": {"a": 1.0, "b": 2.0}}, {"q": {"a": -1, "b": 2}}
    per_query(run, qrels, [parse_measure("ndcg@10")])
    assert (run, qrels) == ({"q": {"a": 1.0, "b": 2.0}}, {"q": {"a": -1, "b": 2}})


def test_levels_as_high_as_allowed():
    qrels = {"q": {"a": LARGEST_LEVEL, "b": 1}}
    assert measured({"q": {"a": 2.0, "b": 1.0}}, qrels, "ndcg@10")["q"] == pytest.approx(1)
    for level in (LARGEST_LEVEL + 1, 2**40):
        with pytest.raises(InvalidInputError, match=f"a document is judged {level}; levels go up to 10000"):
            measured({"q": {"a": 1.0}}, {"q": {"a": 1}, "r": {"b": level}}, "map")


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf])
def test_scores_that_are_no_numbers_are_named(score):
    with pytest.raises(InvalidInputError, match=f"query 'q': the score of 'b' is {score}; scores must be finite"):
        measured({"q": {"a": 1.0, "b": score}}, {"q": {"a": 1}}, "map")


def test_without_ir_measures_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependencyError, match=r'pip install "lagotto\[eval\]"'):
        measured({"q": {"a": 1.0}}, {"q": {"a": 1}}, "map")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("ndcg", "ndcg"),
        ("ndcg@10", "ndcg@10"),
        ("nDCG@10", "ndcg@10"),
        (" NDCG_at_10\n", "ndcg@10"),
        ("ndcg_cut_10", "ndcg@10"),
        ("ndcg_cut.10", "ndcg@10"),
        ("map", "map"),
        ("AP", "map"),
        ("map_at_100", "map@100"),
        ("map_cut_5", "map@5"),
        ("mrr@10", "mrr@10"),
        ("RR", "mrr"),
        ("recip_rank", "mrr"),
        ("recall_100", "recall@100"),
        ("R@100", "recall@100"),
        ("P_5", "precision@5"),
        ("P.5", "precision@5"),
        ("precision_at_1", "precision@1"),
        ("hit_rate_at_3", "success@3"),
        ("hit@3", "success@3"),
        ("Success@1", "success@1"),
        ("recall_cap@100", "capped_recall@100"),
        ("r_cap_at_100", "capped_recall@100"),
        ("Rprec", "rprec"),
        ("bpref", "bpref"),
        ("qa_recall@20", "answer_recall@20"),
        ("recall(rel=2)@100", "recall(rel=2)@100"),
        ("R(rel=1)@100", "recall@100"),
        ("AP(rel=2)", "map(rel=2)"),
        ("mrr(REL=3)_at_10", "mrr(rel=3)@10"),
        ("bpref(rel=2)", "bpref(rel=2)"),
    ],
)
def test_names_of_the_common_tools(text, name):
    measure = parse_measure(text)
    assert measure.name == name
    assert parse_measure(name) == measure


def test_a_measure_says_what_it_looks_at():
    assert parse_measure("recall(rel=2)@100") == Measure("recall", 100, 2)
    assert parse_measure("map") == Measure("map", None, 1)
    assert parse_measure("answer_recall@20").by_answers
    assert not parse_measure("recall@20").by_answers
    assert [parse_measure(name).name for name in (*RETRIEVAL, *RERANKING)] == [*RETRIEVAL, *RERANKING]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "measure '' is not known; known are ndcg, map, mrr"),
        ("accuracy", "is not known"),
        ("ndcg@", "is not known"),
        ("ndcg@-1", "is not known"),
        ("ndcg@1.5", "is not known"),
        ("ndcg@ten", "is not known"),
        ("ndcg@10@5", "is not known"),
        ("ndcg 10", "is not known"),
        ("@10", "is not known"),
        ("recall(rel=-1)@10", "is not known"),
        ("recall@10(rel=2)", "is not known"),
        ("ndcg@" + "9" * 5000, "is not known"),
        ("recall", "measure 'recall' needs a cutoff of at least 1, as in recall@10"),
        ("P", "needs a cutoff of at least 1, as in precision@10"),
        ("success@0", "needs a cutoff of at least 1, as in success@10"),
        ("answer_recall", "needs a cutoff of at least 1, as in answer_recall@10"),
        ("ndcg@0", "measure 'ndcg@0' has a cutoff of 0; say ndcg@10"),
        ("rprec@10", "takes no cutoff: rprec"),
        ("bpref@0", "takes no cutoff: bpref"),
        ("recall(rel=0)@10", r"needs a level of at least 1; leave \(rel=0\) out"),
        ("ndcg(rel=2)@10", r"takes no level of relevance; leave \(rel=2\) out"),
        ("answer_recall(rel=2)@10", "takes no level of relevance"),
    ],
)
def test_names_that_say_nothing_are_refused(text, message):
    with pytest.raises(InvalidInputError, match=message):
        parse_measure(text)


def test_the_mean():
    assert mean([]) == 0.0
    assert mean(iter([1.0, 2.0, 6.0])) == 3.0
    assert mean([0.1] * 10) == 0.1
    assert mean([1e100, 1.0, -1e100]) == pytest.approx(1 / 3)
