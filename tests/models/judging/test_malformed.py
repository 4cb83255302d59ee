"""Answers that have not the form that was asked for: mended by the rule, asked for again, counted."""

from __future__ import annotations

import logging

import pytest

from lagotto import Listwise
from lagotto.core.errors import (
    MalformedAnswerError,
)
from support.chat_server import Say, judge
from support.judged_documents import BEST, DOCUMENTS, indexes


@pytest.mark.parametrize(
    ("answer", "order", "counted"),
    [
        ("[4] > [2]", [3, 1, 0, 2, 4, 5], {"missing": 4}),
        ("[2] > [2] > [1] > [3] > [4] > [5] > [6] > [2]", [1, 0, 2, 3, 4, 5], {"duplicate": 2}),
        ("[99] > [6] > [0] > [1]", [5, 0, 1, 2, 3, 4], {"missing": 4, "unknown": 2}),
    ],
)
def test_orders_are_mended_by_the_rule_and_counted(server, open_ranker, answer, order, counted):
    server.script = [Say(answer)]
    ranking = open_ranker(answers="text").rank("q", DOCUMENTS)
    assert indexes(ranking) == order
    nothing = {"missing": 0, "duplicate": 0, "unknown": 0, "malformed": 0}
    assert {name: getattr(ranking.report, name) for name in nothing} == nothing | counted
    assert ranking.report.flaws == sum(counted.values())
    assert len(server.asked) == 1


def test_missing_ones_of_a_shuffle_keep_the_windows_order_and_not_the_shuffles(server, open_ranker):
    server.judge = lambda asked: Say(
        "[" + next(name for name, text in asked.passages.items() if "document 4" in text) + "]"
    )
    ranking = open_ranker(answers="text", strategy=Listwise(permutations=5)).rank("q", DOCUMENTS)
    assert indexes(ranking) == [4, 0, 1, 2, 3, 5]
    assert ranking.report.missing == 25


def test_the_model_is_told_and_asked_again(server, open_ranker, caplog):
    server.script = [Say("I think [2] is best.")]
    ranking = open_ranker(answers="text").rank("q", DOCUMENTS)
    assert indexes(ranking) == BEST
    assert (ranking.report.calls, ranking.report.malformed, ranking.report.unread) == (2, 1, 0)
    turns = [turn["role"] for turn in server.asked[1].body["messages"]]
    assert turns == ["system", "user", "assistant", "user"]
    assert server.asked[1].body["messages"][2]["content"] == "I think [2] is best."
    assert "[3] > [1] > [2]" in server.asked[1].body["messages"][3]["content"]
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("strategy", "order", "unjudged"),
    [("listwise", [0, 1, 2], ()), ("pairwise", [0, 1, 2], ()), ("pointwise", [0, 1, 2], (0, 1, 2))],
)
def test_what_stays_unread_keeps_its_order_and_is_counted(server, open_ranker, caplog, strategy, order, unjudged):
    server.judge = lambda asked: Say("no idea")
    caplog.set_level(logging.WARNING)
    ranker = open_ranker(strategy=strategy, reasks=2)
    ranking = ranker.rank("q", DOCUMENTS[:3])
    assert indexes(ranking) == order
    assert ranking.unjudged == unjudged
    questions = ranking.report.unread
    assert (ranking.report.malformed, ranking.report.calls) == (3 * questions, 3 * questions)
    assert "no answer that can be read: not JSON" in caplog.text
    assert "no idea" not in caplog.text  # it may repeat a document
    assert "questions without a readable answer" in str(ranking.report)


def test_a_document_without_judgement_stands_last(server, open_ranker):
    server.judge = lambda asked: Say("?") if "worth 9" in asked.prompt else judge()(asked)
    ranker = open_ranker(strategy="pointwise")
    assert indexes(ranker.rank("q", DOCUMENTS)) == [3, 5, 0, 2, 4, 1]
    found = ranker.score([("q", text) for text in DOCUMENTS])
    assert found.unjudged == (1,)
    assert found.scores[1] == 0


def test_it_is_an_error_where_that_is_wanted(server, open_ranker):
    server.judge = lambda asked: Say("x" * 500)
    with pytest.raises(MalformedAnswerError, match=r"x{79}….*not JSON.*malformed='keep'"):
        open_ranker(malformed="error").rank("q", DOCUMENTS)


def test_an_answer_cut_off_says_so(server, open_ranker):
    server.judge = lambda asked: Say('{"ranking": [2, 1', finish="length")
    with pytest.raises(MalformedAnswerError, match="larger max_tokens"):
        open_ranker(malformed="error", reasks=0).rank("q", DOCUMENTS)


def test_what_a_model_thinks_aloud_is_passed_over(server, open_ranker):
    server.script = [Say('<think>\n[9] > [8]? {"ranking": [1]}\n</think>\n\n{"ranking": [6, 1, 2, 3, 4, 5]}')]
    assert indexes(open_ranker().rank("q", DOCUMENTS)) == [5, 0, 1, 2, 3, 4]
