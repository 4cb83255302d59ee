"""A judge who prefers what is shown first: 4 points a place, more than documents differ by."""

from __future__ import annotations

import pytest

from lagotto import Listwise, Pairwise
from support.chat_server import judge
from support.judged_documents import BEST, DOCUMENTS, indexes


# Reciprocal ranks tell the first places apart, and hardly the last.
@pytest.mark.parametrize(("aggregation", "depth"), [("borda", 6), ("reciprocal_rank", 3)])
def test_permutations_take_it_away(server, open_ranker, aggregation, depth):
    server.judge = judge(bias=4)
    one = open_ranker(strategy=Listwise()).rank("q", DOCUMENTS)
    assert indexes(one)[:depth] != BEST[:depth]
    many = open_ranker(strategy=Listwise(permutations=30, aggregation=aggregation), concurrency=8)
    assert indexes(many.rank("q", DOCUMENTS))[:depth] == BEST[:depth]


def test_also_where_the_window_slides(server, open_ranker):
    documents = [f"worth {(number * 7) % 15}" for number in range(15)]
    best = sorted(range(15), key=lambda item: -((item * 7) % 15))
    server.judge = judge(bias=2)
    one = open_ranker(strategy=Listwise(8, 4)).rank("q", documents)
    assert indexes(one)[:4] != best[:4]
    many = open_ranker(strategy=Listwise(8, 4, permutations=24), concurrency=8).rank("q", documents)
    assert indexes(many)[:4] == best[:4]


def test_the_same_seed_asks_the_same_questions(server, open_ranker):
    def prompts(seed: int) -> list[str]:
        server.asked.clear()
        open_ranker(strategy=Listwise(permutations=4, seed=seed)).rank("q", DOCUMENTS)
        return [asked.prompt for asked in server.asked]

    first = prompts(1)
    assert first == prompts(1)
    assert first != prompts(2)
    assert len(set(first)) == 4


def test_both_orders_take_it_away_from_comparisons(server, open_ranker):
    server.judge = judge(bias=100)  # A wins, whatever it is
    one = open_ranker(strategy=Pairwise(both_orders=False)).rank("q", DOCUMENTS)
    assert [hit.score for hit in one] == [1, 0.8, 0.6, 0.4, 0.2, 0]
    assert indexes(one) == [0, 1, 2, 3, 4, 5]
    both = open_ranker(strategy=Pairwise()).rank("q", DOCUMENTS)
    assert [hit.score for hit in both] == [0.5] * 6
    server.judge = judge(bias=3)  # only comparisons of near ones are decided by the place
    assert indexes(open_ranker(strategy=Pairwise()).rank("q", DOCUMENTS)) == BEST
