"""`LLMReranker`: documents in the order in which a language model puts them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import sigmoid
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.core.judged_values import JudgedRanking, JudgedScores, JudgingReport
from lagotto.core.values import RankedDocument
from lagotto.llm.base import LLM
from lagotto.models.inputs import check_count, checked_pairs, checked_texts, is_pair
from lagotto.models.judging.answers import AnswerFormat
from lagotto.models.judging.asking import Asker
from lagotto.models.judging.listwise import ordered
from lagotto.models.judging.pairwise import wins
from lagotto.models.judging.passages import Passages, PassageTruncation, fit
from lagotto.models.judging.pointwise import highest, judged, lowest
from lagotto.models.judging.prompts import Language, Prompt, own_prompt, words_of
from lagotto.models.judging.strategies import (
    Judgement,
    Listwise,
    Pairwise,
    Pointwise,
    Strategy,
    StrategyName,
    make_strategy,
)
from lagotto.models.judging.wording import Wording
from lagotto.models.progress import Progress, progress_of

Malformed = Literal["keep", "error"]

MAX_CHARACTERS = 2000
"""Characters of a document that a model gets to see by default, about 500 tokens of English."""


class LLMReranker:
    """A language model that is asked for the order of documents, or for a judgement of each.

    It has the surface of `Reranker`, and asks an endpoint instead of computing. (Checkpoints of rerankers, those with a
    language model in them too, are opened by `Reranker`.)

    >>> endpoint = ChatEndpoint("http://127.0.0.1:11434/v1", "qwen3:8b")                     # doctest: +SKIP
    >>> ranker = LLMReranker(endpoint, strategy="listwise")                                # doctest: +SKIP
    >>> ranker.rank("what is panda?", ["hi", "The giant panda is a bear."], top_n=1)[0].index     # doctest: +SKIP
    1

    - ``llm``: a `ChatEndpoint`, or anything that is a `lagotto.llm.base.LLM`; closed together with the reranker.
    - ``strategy``: `Pointwise`, `Pairwise`, `Listwise`, or one of their names for its defaults.
    - ``answers``: the form answers must have: ``"json_schema"`` (enforced by the endpoint), ``"json_object"`` for
      endpoints that enforce no more than JSON, ``"text"``. No other form is taken instead.
    - ``language`` of the prompt, ``"en"`` or ``"zh"``; ``prompt``: another one than ours.
    - ``max_characters``: a longer document loses its end, or is an error with ``truncation="error"``; None sends all.
      The query is never cut.
    - ``reasks``: how often a question is put again behind an answer that has not the form. ``malformed``: what happens
      then: ``"keep"`` goes on (a window keeps its order, a comparison is a tie, a document without a judgement stands
      last) and counts it in the report, ``"error"`` raises `MalformedAnswerError`.

    Thread-safe. Calls heed `lagotto.demand`: deadlines, and being taken back. Raises `InvalidInputError` for settings
    that can't be.
    """

    def __init__(
        self,
        llm: LLM,
        *,
        strategy: Strategy | StrategyName = "listwise",
        answers: AnswerFormat = "json_schema",
        language: Language = "en",
        prompt: Prompt | None = None,
        max_characters: int | None = MAX_CHARACTERS,
        truncation: PassageTruncation = "right",
        reasks: int = 1,
        malformed: Malformed = "keep",
    ) -> None:
        _check_choice("answers", answers, get_args(AnswerFormat))
        _check_choice("truncation", truncation, get_args(PassageTruncation))
        _check_choice("malformed", malformed, get_args(Malformed))
        check_count("max_characters", max_characters)
        if reasks is None:
            raise InvalidInputError("reasks is None; give an integer of at least 0")
        check_count("reasks", reasks, 0)
        self._llm = llm
        self._strategy = make_strategy(strategy, {}) if isinstance(strategy, str) else strategy
        if not isinstance(self._strategy, Pointwise | Pairwise | Listwise):
            raise InvalidInputError(f"strategy is {strategy!r}; give Pointwise(), Pairwise(), Listwise() or a name")
        words = words_of(language)
        self._wording = Wording(own_prompt(self._strategy.name, language) if prompt is None else prompt, words, answers)
        self._max_characters, self._truncation = max_characters, truncation
        self._reasks, self._malformed = reasks, malformed
        self._lock = threading.Lock()
        self._usage = JudgingReport()

    @property
    def name(self) -> str:
        """The model's name."""
        return self._llm.name

    @property
    def strategy(self) -> Strategy:
        """How the model is asked."""
        return self._strategy

    @property
    def truncation(self) -> PassageTruncation:
        """What happens to a longer document unless a call says otherwise."""
        return self._truncation

    @property
    def usage(self) -> JudgingReport:
        """What all calls have taken together; of those that failed, what was answered before."""
        return self._usage

    @property
    def fingerprint(self) -> str:
        """32 hex digits over the model's fingerprint and how it is asked. A model may still answer differently."""
        wording = self._wording
        said = [
            self._llm.fingerprint,
            [self._strategy.name, asdict(self._strategy)],
            [asdict(wording.prompt), wording.words.again, wording.words.answers, wording.form],
            [self._max_characters, self._truncation, self._reasks, self._malformed],
        ]
        return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:32]

    def score(
        self,
        pairs: Iterable[Sequence[str]],
        *,
        normalize: bool = False,
        truncation: PassageTruncation | None = None,
        progress: Progress = False,
    ) -> JudgedScores:
        """Judgements of (query, document) pairs, in their order: grades 0..10, 0 or 1, or log-odds; 0..1 if normalised.

        For `Pointwise` alone; ``truncation`` instead of the reranker's own. Raises `UnsupportedModelError` for the
        other strategies, which order documents against each other; `InvalidInputError`, `TextTooLongError`,
        `EndpointError`, `MalformedAnswerError`, `ClosedError`.
        """
        strategy = self._strategy
        if not isinstance(strategy, Pointwise):
            raise UnsupportedModelError(
                f"strategy {strategy.name!r} orders documents against each other and has no score for a pair alone; "
                "call rank, or give strategy='pointwise'"
            )
        given = list(checked_pairs(pairs))
        passages = self._fit([document for _, document in given], truncation)
        shown = [pairs] if is_pair(pairs) else given
        with self._asking() as asker, progress_of(progress, shown, "pair") as done:
            asked = [(query, text) for (query, _), text in zip(given, passages.texts, strict=True)]
            answers = judged(asker, self._wording, strategy, asked, done)
        raw = [lowest(strategy.judgement) if a.value is None else a.value for a in answers]
        truncated = np.zeros(len(given), np.bool_)
        truncated[list(passages.shortened)] = True
        return JudgedScores(
            _shown(np.array(raw, np.float32), strategy.judgement, normalize),
            np.array([answer.prompt_tokens for answer in answers], np.int32),
            truncated,
            asker.report,
            tuple(number for number, answer in enumerate(answers) if answer.value is None),
        )

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        normalize: bool = True,
        truncation: PassageTruncation | None = None,
        progress: Progress = False,
    ) -> JudgedRanking:
        """Documents ordered by relevance to the query, the best ``top_n`` of them.

        Scores are those of `score` with `Pointwise`, the share of comparisons won with `Pairwise`, and with `Listwise`
        no more than the place: 1 for the first of n, 1/n for the last; ``normalize`` is for the first alone.
        ``truncation`` instead of the reranker's own. Raises as `score`, and `InvalidInputError` for more comparisons
        than `Pairwise` allows.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"query is a {type(query).__name__}; give a string")
        if isinstance(documents, str):
            raise InvalidInputError("documents is one string; give a list of documents")
        check_count("top_n", top_n)
        texts = list(checked_texts(documents))
        passages = self._fit(texts, truncation)
        with self._asking() as asker, progress_of(progress, texts, "document") as done:
            order, scores, unjudged = self._order(asker, query, passages.texts, normalize, done)
        report = asker.report
        return JudgedRanking(
            tuple(RankedDocument(item, scores[item], texts[item]) for item in order[:top_n]),
            report.prompt_tokens,
            passages.shortened,
            report,
            unjudged,
        )

    def _fit(self, texts: Sequence[str], truncation: PassageTruncation | None) -> Passages:
        if truncation is not None:
            _check_choice("truncation", truncation, get_args(PassageTruncation))
        return fit(texts, self._max_characters, self._truncation if truncation is None else truncation)

    def _order(
        self, asker: Asker, query: str, passages: Sequence[str], normalize: bool, done: Callable[[int], None] | None
    ) -> tuple[list[int], list[float], tuple[int, ...]]:
        """(numbers, best first; score of each number; numbers without a judgement)."""
        strategy, wording, count = self._strategy, self._wording, len(passages)
        if isinstance(strategy, Listwise):
            order = ordered(asker, wording, strategy, query, passages, done)
            scores = [0.0] * count
            for place, item in enumerate(order):
                scores[item] = (count - place) / count
            return order, scores, ()
        if isinstance(strategy, Pairwise):
            scores = wins(asker, wording, strategy, query, passages, done)
            return sorted(range(count), key=lambda item: -scores[item]), scores, ()
        answers = judged(asker, wording, strategy, [(query, text) for text in passages], done)
        found = [lowest(strategy.judgement) if answer.value is None else answer.value for answer in answers]
        unjudged = tuple(item for item, answer in enumerate(answers) if answer.value is None)
        order = sorted(range(count), key=lambda item: (item in unjudged, -found[item]))
        shown = _shown(np.array(found, np.float32), strategy.judgement, normalize)
        return order, [float(value) for value in shown], unjudged

    @contextmanager
    def _asking(self) -> Iterator[Asker]:
        """The questions of one call, which are paid for even where it fails."""
        asker = Asker(self._llm, self._reasks, strict=self._malformed == "error")
        try:
            yield asker
        finally:
            asker.end()
            with self._lock:
                self._usage = self._usage + asker.report

    def close(self) -> None:
        """Close the model; later calls raise `ClosedError`."""
        self._llm.close()

    def __enter__(self) -> LLMReranker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"LLMReranker({self._llm!r}, strategy={self._strategy!r}, answers={self._wording.form!r})"


def _shown(values: NDArray[np.float32], judgement: Judgement, normalize: bool) -> NDArray[np.float32]:
    """Judgements as they are, or in 0..1."""
    if not normalize:
        return values
    if judgement == "logprobs":
        return sigmoid(values)
    scaled: NDArray[np.float32] = values / np.float32(highest(judgement))
    return scaled


def _check_choice(name: str, value: object, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise InvalidInputError(f"{name} is {value!r}; allowed are {', '.join(allowed)}")
