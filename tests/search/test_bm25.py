from __future__ import annotations

import math
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lagotto.core.errors import InvalidInputError, MissingDependencyError
from lagotto.search import bm25
from lagotto.search.analysis import Analyzer
from lagotto.search.bm25 import Bm25

ENGLISH = [
    "The cat sat on the mat.",
    "Dogs chase cats, and cats chase mice; a dog chased a cat.",
    "",
    "Mice eat cheese.",
    "The cat sat on the mat.",
    "Nothing of the kind, at all, in a rather long sentence about cheese and wine and bread.",
]
CHINESE = [
    "信息检索研究如何找到文档。",
    "文档由词语组成，词语由汉字组成。",
    "检索文档，检索词语，检索信息",
    "今天天气很好",
    "检索文档，检索词语，检索信息",
]


def indexed(texts: Sequence[str], language: str = "und", **settings: float) -> Bm25:
    made = Bm25(analyzer=Analyzer(language), **settings)
    made.index(texts)
    return made


def formula(texts: Sequence[str], query: str, analyzer: Analyzer, k1: float, b: float) -> list[float]:
    """The score of every text, straight from the formula."""
    documents = [Counter(analyzer.terms(text)) for text in texts]
    lengths = [sum(document.values()) for document in documents]
    mean = sum(lengths) / len(lengths)
    scores = []
    for document, length in zip(documents, lengths, strict=True):
        score = 0.0
        for term in analyzer.terms(query):
            if frequency := document[term]:
                n = sum(1 for other in documents if term in other)
                idf = math.log(1 + (len(texts) - n + 0.5) / (n + 0.5))
                score += idf * frequency / (frequency + k1 * (1 - b + b * length / mean))
        scores.append(score)
    return scores


def check(made: Bm25, texts: Sequence[str], query: str, k: int) -> None:
    """Scores are the formula's, hits are in order, and a shorter list is the beginning of the full one."""
    expected = formula(texts, query, made.analyzer, made.k1, made.b)
    every_score, every_place = (found[0] for found in made.search([query], len(texts)))
    hits = every_place[every_place >= 0].tolist()
    assert sorted(hits) == [place for place, score in enumerate(expected) if score > 0]
    np.testing.assert_allclose(every_score[: len(hits)], [expected[place] for place in hits], rtol=1e-5)
    assert hits == sorted(hits, key=lambda place: (-every_score[hits.index(place)], place))
    assert np.isneginf(every_score[len(hits) :]).all()
    scores, places = made.search([query], k)
    assert scores.shape == places.shape == (1, k)
    shown = min(k, len(texts))
    assert places[0, :shown].tolist() == every_place[:shown].tolist()
    assert scores[0, :shown].tolist() == every_score[:shown].tolist()
    assert (places[0, shown:] == -1).all()
    assert np.isneginf(scores[0, shown:]).all()


@pytest.mark.parametrize("query", ["cat", "cats chasing dogs", "cheese cheese mice", "the", "zebra", "", "zebra cat"])
@pytest.mark.parametrize("k", [1, 2, 9])
def test_english_against_the_formula(query: str, k: int) -> None:
    check(indexed(ENGLISH, "en"), ENGLISH, query, k)


@pytest.mark.parametrize("query", ["检索", "信息检索", "检索检索文档", "词语的组成", "模型"])
@pytest.mark.parametrize("k", [1, 2, 9])
def test_chinese_against_the_formula(query: str, k: int) -> None:
    check(indexed(CHINESE, "zh", k1=0.9, b=0.4), CHINESE, query, k)


WORDS = st.lists(st.sampled_from(["ant", "bee", "cat", "山", "川", "dog"]), max_size=8).map(" ".join)


@given(
    texts=st.lists(WORDS, min_size=1, max_size=12),
    query=WORDS,
    k=st.integers(1, 15),
    k1=st.floats(0, 5),
    b=st.floats(0, 1),
)
def test_any_corpus_against_the_formula(texts: list[str], query: str, k: int, k1: float, b: float) -> None:
    check(indexed(texts, k1=k1, b=b), texts, query, k)


def test_a_term_said_twice_counts_twice() -> None:
    made = indexed(["a b", "b c", "c d"])
    once, twice = made.search(["a", "a a"], 1)[0][:, 0]
    assert twice == 2 * once > 0


def test_ties_go_to_the_lower_place_even_where_they_are_cut() -> None:
    made = indexed(["x y", *["x"] * 50, "y y y"])
    scores, places = made.search(["x"], 5)
    assert places.tolist() == [[1, 2, 3, 4, 5]]
    assert len(set(scores[0].tolist())) == 1
    assert made.search(["x"], 51)[1].tolist() == [[*range(1, 51), 0]]


def test_queries_do_not_influence_each_other() -> None:
    made = indexed(ENGLISH, "en")
    queries = ["cat", "nobody knows", "", "cheese"]
    scores, places = made.search(queries, 3)
    assert scores.dtype == np.float32
    assert places.dtype == np.int64
    for row, query in enumerate(queries):
        alone = made.search([query], 3)
        assert (alone[0][0].tolist(), alone[1][0].tolist()) == (scores[row].tolist(), places[row].tolist())
    assert made.search([], 3)[1].shape == (0, 3)


@pytest.mark.parametrize("texts", [[], [""], ["", "?!"]])
def test_a_corpus_without_terms_has_no_hits(texts: list[str]) -> None:
    made = indexed(texts)
    scores, places = made.search(["cat", ""], 2)
    assert places.tolist() == [[-1, -1], [-1, -1]]
    assert np.isneginf(scores).all()
    assert made.bytes == 0


def test_one_document() -> None:
    made = indexed(["cat"])
    scores, places = made.search(["cat"], 2)
    assert places.tolist() == [[0, -1]]
    assert scores[0, 0] == pytest.approx(math.log(1 + 0.5 / 1.5) / 2.2)


def test_indexing_again_forgets_what_was_there() -> None:
    made = indexed(["cat", "dog"])
    made.index(["dog", "bird"])
    assert made.search(["dog"], 2)[1].tolist() == [[0, -1]]
    assert made.search(["cat"], 2)[1].tolist() == [[-1, -1]]
    made.index([])
    assert made.search(["dog"], 1)[1].tolist() == [[-1]]


def test_texts_that_fail_leave_the_index_as_it_was() -> None:
    def failing() -> Iterator[str]:
        yield "山"
        raise OSError("gone")

    made = Bm25(analyzer=Analyzer())
    made.index(["The cat is on the mat."])
    with pytest.raises(OSError, match="gone"):
        made.index(failing())
    assert made.analyzer.language == "en"
    assert made.search(["cats"], 1)[1].tolist() == [[0]]


def test_the_language_is_found_in_the_first_texts() -> None:
    made = Bm25(analyzer=Analyzer())
    made.index(["The libraries of the town are open.", "It is a town with a river and a bridge."])
    assert made.analyzer.language == "en"
    assert made.search(["library"], 1)[1].tolist() == [[0]]
    made.index(CHINESE)
    assert made.analyzer.language == "zh"


def test_the_sample_ends_where_texts_are_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "SAMPLE_TEXTS", 2)
    made = Bm25(analyzer=Analyzer())
    made.index(["x " * 2000, "The cat is on the mat.", "the mat"])
    assert made.analyzer.language == "und"
    made.index(["The cat is on the mat.", "12", *["Das ist der Hund."] * 9])
    assert made.analyzer.language == "en"
    assert made.search(["hund"], 9)[1].tolist() == [list(range(2, 11))]


def test_texts_are_read_once_and_progress_told() -> None:
    told: list[int] = []
    made = Bm25(analyzer=Analyzer("und"))
    made.index((f"word{number}" for number in range(1300)), told.append)
    assert sum(told) == 1300
    assert len(told) > 4
    assert made.search(["word1299"], 1)[1].tolist() == [[1299]]


def test_bytes_of_the_index() -> None:
    # Three postings of a score and a place, and where each of two terms begins and the last ends.
    assert indexed(["a a b", "a"]).bytes == 3 * (4 + 4) + 3 * 8


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    indexed(ENGLISH, "en").search(["cat"], 3)
    assert tuple(capfd.readouterr()) == ("", "")


@pytest.mark.parametrize(("name", "value"), [("k1", -0.1), ("k1", math.nan), ("k1", math.inf), ("b", -0.1), ("b", 1.1)])
def test_settings_out_of_range(name: str, value: float) -> None:
    with pytest.raises(InvalidInputError, match=rf"{name} is .*; give") as caught:
        Bm25(analyzer=Analyzer("en"), **{name: value})
    assert caught.value.param == name


def test_searching_too_early_and_for_nothing() -> None:
    made = Bm25(analyzer=Analyzer("en"))
    with pytest.raises(InvalidInputError, match="index first"):
        made.search(["cat"], 1)
    made.index(["cat"])
    with pytest.raises(InvalidInputError, match="k is 0"):
        made.search(["cat"], 0)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(MissingDependencyError, match=r"lagotto\[eval\]"):
        indexed(["cat"])


def test_jax_is_not_started_and_can_be_imported_later(tmp_path: Path) -> None:
    (tmp_path / "jax").mkdir()
    (tmp_path / "jax" / "__init__.py").write_text("print('jax')")
    (tmp_path / "jax" / "lax.py").write_text("")
    code = (
        "from lagotto.search.bm25 import Bm25, Analyzer\n"
        "Bm25(analyzer=Analyzer('und')).index(['cat'])\n"
        "print('indexed')\n"
        "import jax\n"
    )
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}, check=True
    )
    assert done.stdout.split() == ["indexed", "jax"]
