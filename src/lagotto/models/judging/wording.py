"""`Wording`: the questions of a strategy in their final form: prompt, form of the answer, how it is read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from lagotto.llm.base import Reply
from lagotto.models.judging.answers import (
    TOP_LOGPROBS,
    AnswerFormat,
    Kind,
    Order,
    read_choice,
    read_grade,
    read_log_odds,
    read_order,
    read_yes_no,
    response_format,
)
from lagotto.models.judging.asking import Question
from lagotto.models.judging.passages import framed, framed_query
from lagotto.models.judging.prompts import Prompt, Words
from lagotto.models.judging.strategies import Judgement

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Wording:
    """How questions are worded and answered."""

    prompt: Prompt
    words: Words
    form: AnswerFormat

    def judge(self, query: str, passage: str, judgement: Judgement) -> Question[float]:
        """How relevant is a passage?"""
        if judgement == "logprobs":
            # The first token must be the judgement itself, so it is plain text, and no more of it is wanted.
            asked = self._question(query, [passage], ["1"], "yes_no", "text", read_log_odds)
            return replace(asked, chat=replace(asked.chat, top_logprobs=TOP_LOGPROBS, max_tokens=1))
        kind: Kind = "grade" if judgement == "grade" else "yes_no"
        read = read_grade if judgement == "grade" else read_yes_no
        return self._question(query, [passage], ["1"], kind, self.form, lambda reply: read(reply, self.form))

    def compare(self, query: str, first: str, second: str) -> Question[str]:
        """Which of two passages is better, A or B?"""

        def read(reply: Reply) -> str:
            return read_choice(reply, self.form)

        return self._question(query, [first, second], ["A", "B"], "choice", self.form, read)

    def order(self, query: str, passages: Sequence[str]) -> Question[Order]:
        """In which order are the passages best?"""

        def read(reply: Reply) -> Order:
            return read_order(reply, self.form, len(passages))

        ids = [str(number) for number in range(1, len(passages) + 1)]
        return self._question(query, passages, ids, "order", self.form, read)

    def _question(
        self,
        query: str,
        passages: Sequence[str],
        ids: Sequence[str],
        kind: Kind,
        form: AnswerFormat,
        read: Callable[[Reply], T],
    ) -> Question[T]:
        told = self.words.answer(kind, form)
        chat = self.prompt.chat(framed_query(query), framed(passages, ids), told, len(passages))
        chat = replace(chat, response_format=response_format(kind, form, len(passages)))
        return Question(chat, read, self.words.again.replace("{answer}", told))
