"""Endpoints that fail, deadlines, calls taken back: what a reranker makes of them."""

from __future__ import annotations

import threading
import time

import pytest

import lagotto
from lagotto import JudgingReport
from lagotto.core.errors import (
    CallCancelledError,
    ClosedError,
    DeadlineExceededError,
    EndpointError,
    MalformedAnswerError,
)
from support.chat_server import Say, Silence, Status
from support.judged_documents import DOCUMENTS, STRATEGIES


def test_retries_are_counted(server, open_ranker):
    server.script = [Status(500), Status(429, headers={"Retry-After": "0"})]
    ranking = open_ranker(strategy="pointwise", concurrency=2).rank("q", DOCUMENTS[:2])
    assert ranking.report.retries == 2


def test_a_wrong_model_name_ends_the_call_at_once(server, open_ranker):
    server.judge = lambda asked: Status(404, {"error": {"message": "model 'judge-1' not found"}})
    with pytest.raises(EndpointError, match="not found") as caught:
        open_ranker(strategy="pointwise").rank("q", DOCUMENTS)
    assert caught.value.endpoint_status == 404
    assert caught.value.status == 502
    assert len(server.asked) < 4  # what waited behind the first was taken back


def test_calls_without_a_count_of_tokens_are_told_apart(server, open_ranker):
    server.judge = lambda asked: Say('{"relevance": 5}', usage=False)
    report = open_ranker(strategy="pointwise").rank("q", DOCUMENTS).report
    assert (report.calls, report.unmetered, report.prompt_tokens) == (6, 6, 0)
    assert "6 calls without a count of tokens" in str(report)


def test_a_deadline(server, open_ranker):
    server.judge = lambda asked: Silence()
    started = time.monotonic()
    with pytest.raises(DeadlineExceededError), lagotto.demand(timeout=0.2):
        open_ranker().rank("q", DOCUMENTS)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_call_can_be_taken_back(server, open_ranker, strategy):
    server.judge = lambda asked: Silence()
    ranker = open_ranker(strategy=strategy)
    with lagotto.demand() as mine:
        threading.Timer(0.2, mine.cancel).start()
        with pytest.raises(CallCancelledError):
            ranker.rank("q", DOCUMENTS)
    ranker.close()  # waits for nothing that was given up
    assert len(server.asked) == 1


def test_a_closed_one(open_ranker):
    ranker = open_ranker()
    with ranker:
        pass
    with pytest.raises(ClosedError):
        ranker.rank("q", DOCUMENTS)


def test_usage_is_added_up(open_ranker):
    ranker = open_ranker()
    reports = [ranker.rank("q", DOCUMENTS).report for _ in range(2)]
    assert ranker.usage == reports[0] + reports[1]
    assert ranker.usage.calls == 2
    assert JudgingReport() + reports[0] == reports[0]


def test_what_a_failed_call_cost_is_counted_too(server, open_ranker):
    server.judge = lambda asked: Say("nonsense")
    ranker = open_ranker(malformed="error", reasks=1)
    with pytest.raises(MalformedAnswerError):
        ranker.rank("q", DOCUMENTS)
    assert (ranker.usage.calls, ranker.usage.malformed, ranker.usage.prompt_tokens) == (2, 2, 200)
    assert ranker.usage.seconds > 0
