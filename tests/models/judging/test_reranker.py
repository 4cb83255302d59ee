"""`LLMReranker` against a scripted endpoint: every strategy, what goes wrong, what is counted."""

from __future__ import annotations

import json
from concurrent.futures import Future

import numpy as np
import pytest

from lagotto import (
    JudgedRanking,
    JudgedScores,
    Listwise,
    LLMReranker,
    Pairwise,
    Pointwise,
    Prompt,
    Reranker,
)
from lagotto.core.errors import (
    InvalidInputError,
    UnsupportedModelError,
)
from lagotto.llm.base import Chat, Reply
from lagotto.models.ranker import Ranker
from support.judged_documents import BEST, DOCUMENTS, STRATEGIES, WORTHS, indexes

FORMS = ["json_schema", "json_object", "text"]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("strategy", [*STRATEGIES, Pairwise(both_orders=False), Listwise(window=3, step=1, passes=3)])
def test_the_order_is_the_judges(server, open_ranker, strategy, form, language):
    ranker = open_ranker(strategy=strategy, answers=form, language=language, concurrency=4)
    ranking = ranker.rank("which?", DOCUMENTS)
    assert isinstance(ranking, JudgedRanking)
    assert indexes(ranking) == BEST
    assert [hit.text for hit in ranking] == [DOCUMENTS[item] for item in BEST]
    scores = [hit.score for hit in ranking]
    assert scores == sorted(scores, reverse=True)
    assert 0 <= scores[-1] < scores[0] <= 1
    report = ranking.report
    assert report.calls == len(server.asked)
    assert (report.prompt_tokens, report.completion_tokens) == (100 * report.calls, 7 * report.calls)
    assert ranking.tokens == report.prompt_tokens
    assert (report.flaws, report.retries, report.unmetered, report.unread) == (0, 0, 0, 0)
    assert report.seconds > 0
    formats = [asked.body.get("response_format", {"type": "text"})["type"] for asked in server.asked]
    assert set(formats) == {form}
    assert ("查询" if language == "zh" else "query") in server.asked[0].prompt.replace("<query>", "")


def test_how_many_calls_each_strategy_makes(server, open_ranker):
    calls = [
        (open_ranker(strategy=strategy).rank("q", DOCUMENTS).report.calls)
        for strategy in ("pointwise", Pairwise(), Pairwise(both_orders=False), Listwise(), Listwise(4, 2, 2, 3))
    ]
    assert calls == [6, 30, 15, 1, 2 * 2 * 3]


def test_scores_of_each_strategy(open_ranker):
    assert [hit.score for hit in open_ranker(strategy="listwise").rank("q", DOCUMENTS, top_n=2)] == [1.0, 5 / 6]
    assert [hit.score for hit in open_ranker(strategy="pairwise").rank("q", DOCUMENTS)] == [1, 0.8, 0.6, 0.4, 0.2, 0]
    graded = open_ranker(strategy="pointwise")
    assert [hit.score for hit in graded.rank("q", DOCUMENTS, top_n=3)] == pytest.approx([0.9, 0.7, 0.5])
    assert [hit.score for hit in graded.rank("q", DOCUMENTS, top_n=3, normalize=False)] == [9, 7, 5]
    yes = open_ranker(strategy=Pointwise("yes_no"))
    assert [hit.score for hit in yes.rank("q", DOCUMENTS, normalize=False)] == [1, 1, 1, 0, 0, 0]
    assert indexes(yes.rank("q", DOCUMENTS)) == [1, 3, 5, 0, 2, 4]  # equal ones in the order given


def test_scores_of_pairs(server, open_ranker):
    ranker = open_ranker(strategy="pointwise")
    told: list[int] = []
    found = ranker.score([("q", text) for text in DOCUMENTS], progress=told.append)
    assert isinstance(found, JudgedScores)
    np.testing.assert_array_equal(found.scores, np.array(WORTHS, np.float32))
    np.testing.assert_array_equal(found.tokens, [100] * 6)
    assert not found.truncated.any()
    assert found.unjudged == ()
    assert sum(told) == 6
    assert ranker.score(("q", DOCUMENTS[1]), normalize=True)[0] == pytest.approx(0.9)
    assert len(ranker.score([])) == 0
    for other in ("pairwise", "listwise"):
        with pytest.raises(UnsupportedModelError, match="pointwise"):
            open_ranker(strategy=other).score([("q", "d")])


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_few_documents(server, open_ranker, strategy):
    ranker = open_ranker(strategy=strategy)
    assert indexes(ranker.rank("q", [])) == []
    assert server.asked == []
    assert indexes(ranker.rank("q", ["worth 4"])) == [0]
    assert len(server.asked) == (1 if strategy == "pointwise" else 0)
    assert indexes(ranker.rank("q", ["worth 4", "worth 5"], top_n=1)) == [1]


@pytest.mark.parametrize("strategy", [*STRATEGIES, Listwise(3, 1, 2)])
def test_progress_hears_of_every_document_once(open_ranker, strategy):
    told: list[int] = []
    open_ranker(strategy=strategy).rank("q", DOCUMENTS, progress=told.append)
    assert sum(told) == len(DOCUMENTS)


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        ({"strategy": "setwise"}, "allowed are pointwise, pairwise, listwise"),
        ({"strategy": 3}, "strategy is 3"),
        ({"answers": "xml"}, "answers is 'xml'"),
        ({"language": "fr"}, "allowed are en, zh"),
        ({"truncation": "left"}, "truncation is 'left'"),
        ({"malformed": "drop"}, "malformed is 'drop'"),
        ({"max_characters": 0}, "max_characters is 0"),
        ({"reasks": -1}, "reasks is -1"),
        ({"reasks": None}, "reasks is None"),
    ],
)
def test_settings_that_cannot_be(open_ranker, keywords, words):
    with pytest.raises(InvalidInputError, match=words):
        open_ranker(**keywords)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Listwise(window=1), "window is 1"),
        (lambda: Listwise(window=4, step=4), "smaller"),
        (lambda: Listwise(step=0), "step is 0"),
        (lambda: Listwise(passes=0), "passes"),
        (lambda: Listwise(permutations=0), "permutations"),
        (lambda: Listwise(seed=None), "seed is None"),
        (lambda: Listwise(aggregation="mean"), "allowed are borda, reciprocal_rank"),
        (lambda: Pointwise("score"), "allowed are grade, yes_no, logprobs"),
        (lambda: Pairwise(both_orders=1), "True or False"),
        (lambda: Pairwise(max_calls=0), "max_calls"),
    ],
)
def test_strategies_that_cannot_be(make, words):
    with pytest.raises(InvalidInputError, match=words):
        make()


def test_too_many_comparisons_are_refused_before_any_is_made(server, open_ranker):
    with pytest.raises(InvalidInputError, match="6 documents need 30 comparisons, max_calls is 29"):
        open_ranker(strategy=Pairwise(max_calls=29)).rank("q", DOCUMENTS)
    assert server.asked == []


def test_inputs_that_cannot_be(open_ranker):
    ranker = open_ranker()
    for query, documents, words in [(3, ["a"], "query is a int"), ("q", "a", "one string"), ("q", [3], "text 0")]:
        with pytest.raises(InvalidInputError, match=words):
            ranker.rank(query, documents)
    with pytest.raises(InvalidInputError, match="top_n"):
        ranker.rank("q", ["a"], top_n=0)


def test_the_fingerprint_tells_settings_apart(open_ranker):
    own = Prompt("{query}{passages}{answer}")
    found = [
        open_ranker(**keywords).fingerprint
        for keywords in (
            {},
            {"strategy": "pointwise"},
            {"strategy": Listwise(seed=1)},
            {"answers": "text"},
            {"language": "zh"},
            {"prompt": own},
            {"max_characters": 5},
            {"reasks": 0},
        )
    ]
    assert len(set(found)) == len(found)
    assert open_ranker(strategy=Listwise()).fingerprint == found[0]


def test_it_says_what_it_is(server, open_ranker):
    ranker = open_ranker(strategy=Pointwise("yes_no"))
    assert ranker.name == "judge-1"
    assert ranker.strategy == Pointwise("yes_no")
    assert repr(ranker) == (
        f"LLMReranker(ChatEndpoint('{server.url}', 'judge-1'), strategy=Pointwise(judgement='yes_no'), "
        "answers='json_schema')"
    )


def test_both_rerankers_have_the_common_surface(tiny_reranker, open_ranker):
    def first(ranker: Ranker) -> tuple[int, int]:
        found = ranker.rank("q", DOCUMENTS, top_n=3)
        return len(found), len(ranker.score([("q", "worth 1")], normalize=True))

    asking: Ranker = open_ranker(strategy="pointwise")
    with Reranker(tiny_reranker, precision="f32", threads=1) as computing:
        assert first(asking) == first(computing) == (3, 1)


def test_schemas_are_strict(server, open_ranker):
    open_ranker().rank("q", DOCUMENTS)
    form = server.asked[0].body["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["required"] == ["ranking"]
    assert form["schema"]["additionalProperties"] is False
    assert json.loads(json.dumps(form)) == form


def test_a_model_of_ones_own():
    class Backwards:
        """Thinks that the last is the best, without any endpoint."""

        name, fingerprint = "backwards", "0" * 32

        def submit(self, chat: Chat) -> Future[Reply]:
            count = chat.messages[-1].content.count("<passage")
            answer: Future[Reply] = Future()
            answer.set_result(Reply(json.dumps({"ranking": list(range(count, 0, -1))})))
            return answer

        def close(self) -> None:
            """Nothing to free."""

    with LLMReranker(Backwards()) as ranker:
        ranking = ranker.rank("q", DOCUMENTS)
    assert indexes(ranking) == [5, 4, 3, 2, 1, 0]
    assert ranking.report.unmetered == 1
