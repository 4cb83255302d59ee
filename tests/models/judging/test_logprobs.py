"""Judgements by the log-probabilities of yes and no."""

from __future__ import annotations

import numpy as np
import pytest

from lagotto import Pointwise
from lagotto.core.errors import (
    EndpointError,
)
from support.chat_server import Say
from support.judged_documents import indexes


def test_log_odds_of_yes_and_no(server, open_ranker):
    server.script = [
        Say("yes", logprobs={" Yes": -0.5, "yes": -1.5, "No": -2.0}),
        Say("是", logprobs={"是": -0.1, "maybe": -4.0}),
        Say("no", logprobs={"no": -0.1, "yes": -3.0}, finish="length"),
    ]
    ranker = open_ranker(strategy=Pointwise("logprobs"))
    found = ranker.score([("q", "a"), ("q", "b"), ("q", "c")])
    yes = np.log(np.exp(-0.5) + np.exp(-1.5))
    np.testing.assert_allclose(found.scores, [yes + 2.0, -0.1 + 4.0, -2.9], rtol=1e-5)
    body = server.asked[0].body
    assert (body["logprobs"], body["top_logprobs"], body["max_tokens"]) == (True, 20, 1)
    assert "response_format" not in body


def test_probabilities(server, open_ranker):
    server.judge = lambda asked: Say("yes", logprobs={"yes": np.log(0.8), "no": np.log(0.2)})
    (hit,) = open_ranker(strategy=Pointwise("logprobs")).rank("q", ["a"])
    assert hit.score == pytest.approx(0.8)


def test_an_endpoint_that_gives_none_is_an_error_and_no_guess(server, open_ranker):
    server.judge = lambda asked: Say("yes")
    with pytest.raises(EndpointError, match="judgement='grade'"):
        open_ranker(strategy=Pointwise("logprobs")).rank("q", ["a"])


def test_neither_yes_nor_no(server, open_ranker):
    server.judge = lambda asked: (
        Say("well", logprobs={"<think>": -0.1})
        if "first" in asked.prompt
        else Say("no", logprobs={"no": -0.1, "yes": -9.0})
    )
    ranker = open_ranker(strategy=Pointwise("logprobs"), reasks=0)
    ranking = ranker.rank("q", ["the first", "the second"])
    assert ranking.unjudged == (0,)
    assert indexes(ranking) == [1, 0]
    assert [hit.score for hit in ranking] == pytest.approx([0.000136, 0.0], abs=1e-5)
    assert ranker.score([("q", "the first")])[0] == -100
