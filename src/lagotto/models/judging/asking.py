"""`Asker`: puts questions to a language model side by side, asks again where it can't read, and counts."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

from lagotto.batch.demand import current
from lagotto.core.errors import MalformedAnswerError
from lagotto.core.judged_values import JudgingReport
from lagotto.llm.base import LLM, Chat, Message, Reply
from lagotto.models.judging.answers import MalformedError, Order

logger = logging.getLogger(__name__)
T = TypeVar("T")

_SHOWN = 80


@dataclass(frozen=True, slots=True)
class Question(Generic[T]):
    """A request, and how its answer is read."""

    chat: Chat
    read: Callable[[Reply], T]
    """Raises `MalformedError` for what it can't read."""
    again: str
    """What is said to the model behind an answer that can't be read."""

    def put_again(self, reply: Reply) -> Question[T]:
        """The question behind an answer that can't be read: the same words alone would give the same answer."""
        turns = (Message("assistant", reply.text), Message("user", self.again))
        return replace(self, chat=self.chat.then(*turns))


@dataclass(frozen=True, slots=True)
class Answer(Generic[T]):
    """What came of a question."""

    value: T | None
    """None where nothing could be read."""
    prompt_tokens: int
    """Those of the last request."""


class Asker:
    """The questions of one call of a reranker."""

    def __init__(self, llm: LLM, reasks: int, *, strict: bool) -> None:
        self._llm, self._reasks, self._strict = llm, reasks, strict
        self._report = JudgingReport()
        self._started = time.perf_counter()

    @property
    def report(self) -> JudgingReport:
        """What it has taken; the seconds once it has ended."""
        return self._report

    def end(self) -> None:
        """There are no more questions."""
        self._report = replace(self._report, seconds=time.perf_counter() - self._started)

    def ask(self, questions: Sequence[Question[T]], done: Callable[[], None] | None = None) -> list[Answer[T]]:
        """The answers, in the order of the questions; ``done`` is called for each that is settled.

        Raises what the model raises, `CallCancelledError`, `DeadlineExceededError`, and, where it is strict,
        `MalformedAnswerError`. What still runs then is given up.
        """
        found: dict[int, Answer[T]] = {}
        waiting = dict(enumerate(questions))
        for left in range(self._reasks, -1, -1):
            following: dict[int, Question[T]] = {}
            with _submitted(self._llm, (question.chat for question in waiting.values())) as parts:
                for (number, question), part in zip(waiting.items(), parts, strict=True):
                    reply = current().result(part)
                    answer, wrong = self._read(question, reply)
                    if wrong is not None and left:
                        following[number] = question.put_again(reply)
                        continue
                    if wrong is not None:
                        self._give_up(reply, wrong)
                    found[number] = answer
                    if done is not None:
                        done()
            waiting = following
        return [found[number] for number in range(len(questions))]

    def count(self, order: Order) -> None:
        """Take note of what was wrong with an order."""
        self._add(JudgingReport(missing=order.missing, duplicate=order.duplicate, unknown=order.unknown))

    def _read(self, question: Question[T], reply: Reply) -> tuple[Answer[T], str | None]:
        """The answer, and what is wrong with it, if anything is."""
        metered = reply.prompt_tokens is not None and reply.completion_tokens is not None
        self._add(
            JudgingReport(
                calls=1,
                prompt_tokens=reply.prompt_tokens or 0,
                completion_tokens=reply.completion_tokens or 0,
                unmetered=int(not metered),
                retries=reply.retries,
            )
        )
        try:
            return Answer(question.read(reply), reply.prompt_tokens or 0), None
        except MalformedError as error:
            self._add(JudgingReport(malformed=1))
            return Answer(None, reply.prompt_tokens or 0), str(error)

    def _give_up(self, reply: Reply, wrong: str) -> None:
        if self._strict:
            text = reply.text if len(reply.text) <= _SHOWN else reply.text[: _SHOWN - 1] + "…"
            raise MalformedAnswerError(
                f"model {self._llm.name!r} answered {text!r} in the end: {wrong}; try another form of answers, or "
                "malformed='keep' to go on without it"
            )
        # An answer may repeat a document, and logs are no place for these.
        logger.warning(
            "model %r gave no answer that can be read: %s; documents keep their order", self._llm.name, wrong
        )
        self._add(JudgingReport(unread=1))

    def _add(self, more: JudgingReport) -> None:
        self._report = self._report + more


@contextmanager
def _submitted(llm: LLM, chats: Iterable[Chat]) -> Iterator[list[Future[Reply]]]:
    """Requests that are given up when the block ends in an error."""
    wanted, parts = current(), list[Future[Reply]]()
    wanted.check()
    try:
        for chat in chats:
            part = llm.submit(chat)
            parts.append(part)
            wanted.watch(part, 0)
        yield parts
    except BaseException:
        for part in parts:
            part.cancel()
        raise


class Shares:
    """Tells a progress function of ``total`` items while ``steps`` steps are done, which need not be as many.

    Where there is no step to do, all items are done at once.
    """

    def __init__(self, done: Callable[[int], None] | None, total: int, steps: int) -> None:
        self._done, self._total, self._steps = done, total, steps
        self._taken = 0
        if not steps and done is not None and total:
            done(total)

    def step(self) -> None:
        """One step more is done."""
        before = self._total * self._taken // self._steps
        self._taken += 1
        if self._done is not None and (more := self._total * self._taken // self._steps - before):
            self._done(more)
