"""`Reranker`: scores in order, rankings, windows over long documents."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Ranking, Reranker, Scores
from lagotto.core.arrays import sigmoid
from lagotto.core.errors import ClosedError, InvalidInputError, TextTooLongError
from support.checkpoints import BERT, classifier_tensors, some_texts, write_reranker, write_weights

TEXTS = some_texts(40, longest=20)
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))
WORDS = ("the giant panda is in paris and the big bear of the river is good for what dog " * 12).split()
FINE = 2e-5


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=FINE)


# Scores.


def test_scores_are_raw_logits_in_the_order_of_the_pairs(reranker: Reranker) -> None:
    found = reranker.score(PAIRS)
    assert found.scores.shape == (40,)
    assert found.scores.dtype == np.float32
    assert np.ptp(found.scores) > 0.1
    same(found, [reranker.score([pair])[0] for pair in PAIRS])


def test_normalising_is_the_sigmoid(reranker: Reranker) -> None:
    same(reranker.score(PAIRS, normalize=True), sigmoid(reranker.score(PAIRS).scores))


def test_the_two_texts_are_told_apart(reranker: Reranker) -> None:
    there = reranker.score([("the dog", "a panda in paris")])[0]
    back = reranker.score([("a panda in paris", "the dog")])[0]
    assert abs(there - back) > 1e-3


def test_one_pair_and_any_iterable_of_pairs_will_do(reranker: Reranker) -> None:
    expected = reranker.score(PAIRS)
    same(reranker.score(iter(PAIRS)), expected)
    same(reranker.score([list(pair) for pair in PAIRS]), expected)
    same(reranker.score(PAIRS[0]), expected.scores[:1])
    same(reranker.score(list(PAIRS[0])), expected.scores[:1])


def test_no_pairs_give_no_scores(reranker: Reranker) -> None:
    found = reranker.score([])
    assert (len(found), found.tokens.tolist(), found.truncated.tolist()) == (0, [], [])
    assert len(reranker.score([], normalize=True)) == 0


def test_empty_texts_are_texts(reranker: Reranker) -> None:
    assert np.isfinite(reranker.score([("", ""), ("a", ""), ("", "a")]).scores).all()


@pytest.mark.parametrize("wrong", [None, 5, "text", b"text", {"a": "b"}])
def test_what_are_no_pairs_is_refused(reranker: Reranker, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="pairs is a"):
        reranker.score(wrong)


@pytest.mark.parametrize("wrong", ["ab", ("a",), ("a", "b", "c"), ("a", 5), (None, "b"), 7, {"a": "b"}, (b"a", b"b")])
def test_a_wrong_pair_is_named_by_its_number(reranker: Reranker, wrong: Any) -> None:
    with pytest.raises(InvalidInputError, match="pair 2 is"):
        reranker.score([("a", "b"), ("c", "d"), wrong])


def test_a_bad_pair_behind_the_first_chunk_is_named_by_its_number(reranker: Reranker) -> None:
    pairs = [("a", "b")] * 3000
    with pytest.raises(InvalidInputError, match="(text|pair) 3000"):
        reranker.score([*pairs, ("a", "\ud800")])
    with pytest.raises(TextTooLongError, match="(text|pair) 3000"):
        reranker.score([*pairs, ("a", "dog " * 100)], truncation="error", max_windows=1)


def test_an_unknown_keyword_is_a_type_error(reranker: Reranker) -> None:
    with pytest.raises(TypeError, match="batch_size"):
        reranker.score(PAIRS, batch_size=8)  # type: ignore[call-arg]


# Rankings.


def test_documents_are_ordered_by_score(reranker: Reranker) -> None:
    ranking = reranker.rank("the dog", TEXTS)
    scores = reranker.score([("the dog", text) for text in TEXTS], normalize=True).scores
    assert isinstance(ranking, Ranking)
    assert [document.index for document in ranking] == np.argsort(-scores, kind="stable").tolist()
    assert [document.text for document in ranking] == [TEXTS[document.index] for document in ranking]
    same([document.score for document in ranking], np.sort(scores)[::-1])


def test_raw_scores_may_be_asked_for(reranker: Reranker) -> None:
    ranking = reranker.rank("the dog", TEXTS, normalize=False)
    assert ranking[0].score == pytest.approx(
        reranker.score([("the dog", text) for text in TEXTS]).scores.max(), abs=FINE
    )


def test_top_n_keeps_the_best(reranker: Reranker) -> None:
    every = reranker.rank("the dog", TEXTS)
    few = reranker.rank("the dog", TEXTS, top_n=3)
    assert [document.index for document in few] == [document.index for document in every][:3]
    assert few.tokens == every.tokens
    assert len(reranker.rank("the dog", TEXTS, top_n=1000)) == len(TEXTS)


def test_equal_documents_keep_their_order(reranker: Reranker) -> None:
    ranking = reranker.rank("the dog", ["panda"] * 7)
    assert [document.index for document in ranking] == list(range(7))


def test_large_logits_are_ordered_though_their_sigmoids_are_equal(tmp_path: Path) -> None:
    folder = write_reranker(tmp_path / "model")
    tensors = classifier_tensors(BERT)
    tensors["classifier.bias"] += 40
    write_weights(folder, tensors)
    with Reranker(folder, precision="f32", threads=1) as model:
        logits = model.score([("the dog", text) for text in TEXTS]).scores
        ranking = model.rank("the dog", TEXTS)
    assert {document.score for document in ranking} == {1.0}
    assert [document.index for document in ranking] == np.argsort(-logits, kind="stable").tolist()


def test_no_documents_give_an_empty_ranking(reranker: Reranker) -> None:
    ranking = reranker.rank("the dog", [])
    assert (len(ranking), ranking.tokens, ranking.truncated) == (0, 0, ())


def test_tokens_are_counted(reranker: Reranker) -> None:
    scores = reranker.score([("the dog", "panda"), ("the dog", "cat")])
    assert reranker.rank("the dog", ["panda", "cat"], top_n=1).tokens == scores.tokens.sum()


@pytest.mark.parametrize(
    ("query", "documents", "match"),
    [
        (None, ["a"], "query is a NoneType"),
        (["a"], ["a"], "query is a list"),
        ("a", "text", "documents is one string"),
        ("a", None, "NoneType"),
        ("a", ["a", 5], "text 1 is a int"),
    ],
)
def test_wrong_types_are_refused(reranker: Reranker, query: Any, documents: Any, match: str) -> None:
    with pytest.raises(InvalidInputError, match=match):
        reranker.rank(query, documents)


@pytest.mark.parametrize(
    "keywords",
    [{"top_n": 0}, {"top_n": -1}, {"top_n": True}, {"max_windows": 0}, {"overlap": -1}, {"query_max_length": 0},
     {"max_windows": 1.5}, {"max_length": 65}, {"truncation": "x"}],
)  # fmt: skip
def test_bad_numbers_are_refused(reranker: Reranker, keywords: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=next(iter(keywords))):
        reranker.rank("a", ["b"], **keywords)


# Long documents.


def manual_windows(reranker: Reranker, query: str, size: int, overlap: int) -> Scores:
    """Scores of the windows, cut by hand: every word here is one token."""
    starts = [*range(0, len(WORDS) - size, size - overlap), len(WORDS) - size]
    return reranker.score([(query, " ".join(WORDS[start : start + size])) for start in starts])


def room(reranker: Reranker, query: str) -> int:
    """Words of a document that fit beside a query."""
    return 64 - int(reranker.score([(query, "")]).tokens[0])


def test_the_words_are_one_token_each(reranker: Reranker) -> None:
    bare = reranker.score([("", "")]).tokens[0]
    assert reranker.score([("", " ".join(WORDS[:20]))]).tokens[0] == bare + 20


def test_the_best_windows_score_counts(reranker: Reranker) -> None:
    document, size = " ".join(WORDS), room(reranker, "the dog")
    windows = manual_windows(reranker, "the dog", size, overlap=10)
    assert len(windows) > 3
    found = reranker.score([("the dog", document)], overlap=10, max_windows=None)
    same(found.scores, [windows.scores.max()])
    assert found.tokens[0] == windows.tokens.sum()
    assert not found.truncated[0]


def test_windows_beyond_the_limit_are_not_read(reranker: Reranker) -> None:
    document, size = " ".join(WORDS), room(reranker, "the dog")
    windows = manual_windows(reranker, "the dog", size, overlap=10)
    found = reranker.score([("the dog", document), ("the dog", "cat")], overlap=10, max_windows=2)
    same(found.scores[0], windows.scores[:2].max())
    assert found.truncated.tolist() == [True, False]


def test_one_window_cuts_the_document(reranker: Reranker) -> None:
    size = room(reranker, "the dog")
    found = reranker.score([("the dog", " ".join(WORDS))], max_windows=1)
    same(found, reranker.score([("the dog", " ".join(WORDS[:size]))]))
    assert found.truncated[0]


def test_windows_of_many_pairs_do_not_mix(reranker: Reranker) -> None:
    pairs = [(TEXTS[number], " ".join(WORDS[number : 5 * number])) for number in range(40)]
    same(reranker.score(pairs), [reranker.score([pair])[0] for pair in pairs])


def test_a_ranking_names_the_documents_that_were_cut(reranker: Reranker) -> None:
    documents = ["cat", " ".join(WORDS), "dog", " ".join(WORDS)]
    assert reranker.rank("the dog", documents, max_windows=2).truncated == (1, 3)
    assert reranker.rank("the dog", documents, max_windows=None).truncated == ()


def test_a_very_long_query_leaves_room_for_the_document(reranker: Reranker) -> None:
    found = reranker.score([(" ".join(WORDS), "cat"), (" ".join(WORDS), "dog river")])
    assert (found.tokens <= 64).all()
    assert found.truncated.tolist() == [True, True]
    assert abs(found[0] - found[1]) > 1e-4


def test_a_very_long_query_and_document_are_bounded(reranker: Reranker) -> None:
    found = reranker.score([(" ".join(WORDS), " ".join(WORDS))], max_windows=3)
    assert found.tokens[0] <= 3 * 64
    assert found.truncated[0]


def test_refusing_truncation(reranker: Reranker) -> None:
    with pytest.raises(TextTooLongError):
        reranker.score([("the dog", " ".join(WORDS))], truncation="error", max_windows=1)
    reranker.score([("the dog", " ".join(WORDS))], truncation="error", max_windows=None)


# What it says about itself, closing, many callers.


def test_it_describes_itself(tiny_reranker: Path) -> None:
    with Reranker(tiny_reranker, precision="f32", threads=1) as model:
        assert model.name == str(tiny_reranker)
        assert (model.card.task, model.max_length, model.engine.output) == ("rerank", 64, 1)
        assert repr(model) == f"Reranker({str(tiny_reranker)!r}: 64 tokens, openvino cpu f32, 1 threads)"
        assert len(model.fingerprint) == 32


def test_a_closed_model_says_so(tiny_reranker: Path) -> None:
    with Reranker(tiny_reranker, precision="f32", threads=1) as model:
        model.score(PAIRS)
    with pytest.raises(ClosedError, match="closed"):
        model.rank("a", ["b"])


def test_asyncio_tasks_get_equal_scores(reranker: Reranker) -> None:
    expected = reranker.score(PAIRS)

    async def together() -> list[Scores]:
        return await asyncio.gather(*(asyncio.to_thread(reranker.score, PAIRS) for _ in range(16)))

    for found in asyncio.run(together()):
        same(found, expected)


def test_bf16_keeps_the_scores(tiny_reranker: Path) -> None:
    with (
        Reranker(tiny_reranker, precision="f32", threads=1) as exact,
        Reranker(tiny_reranker, precision="bf16", threads=1) as half,
    ):
        np.testing.assert_allclose(half.score(PAIRS), exact.score(PAIRS), atol=0.05)


# Documents of a given length.


@pytest.mark.parametrize("side", ["right", "left"])
def test_document_max_length_reads_so_many_tokens_in_as_many_windows_as_they_need(
    reranker: Reranker, side: Any
) -> None:
    for length in (5, 60, 150):
        kept = WORDS[:length] if side == "right" else WORDS[-length:]
        pairs = [("panda", " ".join(WORDS)), ("panda", "a dog")]
        found = reranker.score(pairs, document_max_length=length, truncation=side)
        expected = reranker.score([("panda", " ".join(kept)), ("panda", "a dog")], truncation=side)
        same(found, expected)
        assert found.tokens.tolist() == expected.tokens.tolist()
        assert found.truncated.tolist() == [len(WORDS) > length, False]


def test_a_document_over_document_max_length_is_refused_when_asked(reranker: Reranker) -> None:
    with pytest.raises(TextTooLongError):
        reranker.rank("panda", [" ".join(WORDS)], document_max_length=5, truncation="error")
    with pytest.raises(InvalidInputError, match="document_max_length"):
        reranker.rank("panda", ["a"], document_max_length=0)
