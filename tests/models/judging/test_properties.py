"""Whatever a model answers, a ranking holds every document once."""

from __future__ import annotations

import json
from concurrent.futures import Future
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from lagotto import Listwise, LLMReranker, Pairwise, Pointwise
from lagotto.llm.base import Chat, Reply
from lagotto.models.judging.answers import MalformedError, read_choice, read_grade, read_order, read_yes_no
from lagotto.models.judging.listwise import windows
from lagotto.models.judging.orders import aggregate, shuffles

FORMS = st.sampled_from(["json_schema", "json_object", "text"])
ORDERS = st.lists(st.integers(-2, 9), max_size=9)
ANSWERS = st.one_of(
    st.text(max_size=20),
    ORDERS.map(lambda ids: " > ".join(f"[{i}]" for i in ids)),
    ORDERS.map(lambda ids: json.dumps({"ranking": ids})),
    st.integers(-1, 12).map(str),
    st.integers(-1, 12).map(lambda grade: json.dumps({"relevance": grade})),
    st.sampled_from(["yes", "No.", "是", "A", "B", '{"better": "A"}', '{"better": "B"}', '{"relevant": true}', "null"]),
)
FINISHES = st.sampled_from(["stop", "length", None])
LOGPROBS = st.one_of(
    st.just((("maybe", -1.0),)),
    st.lists(st.tuples(st.sampled_from(["yes", " No", "是", "so"]), st.floats(-50, 0)), min_size=1).map(tuple),
)


class Scripted:
    """Answers from a list, over and over."""

    name, fingerprint = "scripted", "0" * 32

    def __init__(self, replies: list[Reply]) -> None:
        self._replies, self._asked = replies, 0

    def submit(self, chat: Chat) -> Future[Reply]:
        answer: Future[Reply] = Future()
        answer.set_result(self._replies[self._asked % len(self._replies)])
        self._asked += 1
        return answer

    def close(self) -> None:
        """Nothing to free."""


def listwise(draw: Any) -> Listwise:
    window = draw(st.integers(2, 6))
    return Listwise(
        window,
        draw(st.integers(1, window - 1)),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        draw(st.sampled_from(["borda", "reciprocal_rank"])),
    )


@settings(max_examples=60)
@given(st.data(), st.integers(0, 9), FORMS)
def test_a_ranking_is_a_permutation(data, count, form):
    kinds = [
        st.sampled_from(["grade", "yes_no", "logprobs"]).map(Pointwise),
        st.booleans().map(Pairwise),
        st.composite(listwise)(),
    ]
    strategy = data.draw(st.one_of(kinds))
    replies = data.draw(st.lists(st.builds(Reply, ANSWERS, FINISHES, LOGPROBS), min_size=1, max_size=6))
    documents = [f"document {number}" for number in range(count)]
    top_n = data.draw(st.none() | st.integers(1, 12))
    told: list[int] = []
    with LLMReranker(Scripted(replies), strategy=strategy, answers=form) as ranker:
        ranking = ranker.rank("q", documents, progress=told.append)
        first = ranker.rank("q", documents, top_n=top_n) if top_n else ranking
    assert sorted(hit.index for hit in ranking) == list(range(count))
    assert all(hit.text == documents[hit.index] for hit in ranking)
    scores = [hit.score for hit in ranking]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert sum(told) == count
    assert len(first) == min(count, top_n or count)
    report = ranking.report
    assert report.calls >= report.malformed >= report.unread
    assert set(ranking.unjudged) <= set(range(count))


@given(ANSWERS, FINISHES, FORMS, st.integers(1, 9))
def test_an_answer_is_read_or_refused_and_nothing_else(text, finish, form, count):
    reply = Reply(text, finish)
    for read in (
        lambda: read_grade(reply, form),
        lambda: read_yes_no(reply, form),
        lambda: read_choice(reply, form),
        lambda: read_order(reply, form, count),
    ):
        try:
            read()
        except MalformedError:
            continue
        assert finish != "length"


@given(st.lists(st.integers(-2, 12), min_size=1, max_size=15), st.integers(1, 9), st.sampled_from(["json", "text"]))
def test_every_identifier_is_accounted_for(ids, count, form):
    ids = [abs(number) for number in ids] if form == "text" else ids
    text = " > ".join(f"[{i}]" for i in ids) if form == "text" else json.dumps({"ranking": ids})
    try:
        order = read_order(Reply(text), "text" if form == "text" else "json_schema", count)
    except MalformedError:
        assert not set(ids) & set(range(1, count + 1))
        return
    assert len(set(order.named)) == len(order.named)
    assert set(order.named) == {number - 1 for number in ids} & set(range(count))
    assert len(order.named) + order.missing == count
    assert len(order.named) + order.duplicate + order.unknown == len(ids)


@given(st.integers(0, 60), st.integers(2, 12), st.data())
def test_windows_cover_everything_and_overlap(count, window, data):
    step = data.draw(st.integers(1, window - 1))
    found = windows(count, Listwise(window, step))
    assert {place for start, end in found for place in range(start, end)} == (set(range(count)) if count > 1 else set())
    assert all(0 <= start < end <= count and end - start <= window for start, end in found)
    for (start, _), (_, end) in zip(found, found[1:], strict=False):
        assert end - start == window - step  # what one window found best moves on to the next


@given(st.integers(1, 12), st.integers(1, 8), st.text(max_size=5), st.sampled_from(["borda", "reciprocal_rank"]))
def test_shuffles_and_what_is_made_of_them_are_permutations(count, number, seed, method):
    found = shuffles(count, number, seed)
    assert found == shuffles(count, number, seed)
    assert len(found) == number
    assert all(sorted(order) == list(range(count)) for order in found)
    assert all(found[i] == found[i - 1][::-1] for i in range(1, number, 2))
    assert sorted(aggregate(found, method)) == list(range(count))
    assert aggregate([found[0]], method) == found[0]
