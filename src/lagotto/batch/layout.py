"""`Layout`: from the tokens of texts to sequences for a model, by what is to happen to long ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lagotto.batch.long_texts import LongTexts, MultiCls, Truncation, Windows, check_long_texts
from lagotto.batch.sequences import Ids, Sequences
from lagotto.batch.template import Template
from lagotto.batch.windows import shares, windows
from lagotto.core.errors import InvalidInputError, TextTooLongError


class Layout:
    """Takes the tokens of one text after another, and puts them between special tokens: cut, or in windows.

    ``start`` is the number of the first text, for error messages. Raises `InvalidInputError` for a length that has no
    room for a token, `TextTooLongError` where a longer text is to be refused.
    """

    def __init__(self, template: Template, max_length: int, policy: LongTexts, start: int) -> None:
        check_long_texts(policy)
        self._template, self._policy, self._start = template, policy, start
        self._ids: list[Ids] = []
        self._truncated: list[bool] = []
        self._owner: list[int] = []
        self._own: list[tuple[int, int]] = []
        self._cls: list[Ids] = []
        self._inputs = 0
        length = max_length
        if isinstance(policy, Windows) and policy.size is not None:
            length = policy.size
            if length > max_length:
                raise InvalidInputError(f"size of windows is {length}; at most {max_length} tokens are allowed here")
        self._room = room(length, len(template.prefix) + len(template.suffix))
        if isinstance(policy, MultiCls):
            if not template.prefix:
                raise InvalidInputError("MultiCls repeats the token in front of a text, and this tokenizer has none")
            self._room -= self._room // (policy.every + 1)

    @property
    def side(self) -> Truncation:
        """Where a longer text is cut; ``"error"`` where it is not cut at all."""
        if isinstance(self._policy, Windows):
            return "error"
        return self._policy.truncation if isinstance(self._policy, MultiCls) else self._policy

    @property
    def room(self) -> int | None:
        """Tokens of a text that can reach the model; None where all of them do, or a longer text is refused."""
        return None if self.side == "error" else self._room

    def add(
        self, tokens: Sequence[int], before: int = 0, after: int = 0, *, spare: int = 0, lost: bool = False
    ) -> tuple[int, int]:
        """One more text, of whose tokens so many in front and behind are its prompt's: each window has them, and where
        a text is cut they stay.

        ``spare`` places are left free. ``lost`` says that the text was cut before. Returns the half-open range of its
        tokens that are read (beside the prompt's).
        """
        number, policy = self._inputs, self._policy
        self._inputs += 1
        if isinstance(policy, Windows):
            if len(tokens) > self._room:
                self._split(tokens, before, after, policy)
            else:
                self._append(number, tokens, lost=False)
                self._own.append((0, len(self._ids[-1])))
            return 0, len(tokens)
        if before or after:
            return self._cut_between(tokens, before, after, spare)
        kept = cut(len(tokens), self._room, self.side, number + self._start)
        lost = lost or kept[1] - kept[0] < len(tokens)
        if isinstance(policy, MultiCls):
            self._with_cls(number, tokens[slice(*kept)], lost, policy.every)
        else:
            self._append(number, tokens[slice(*kept)], lost)
        return kept

    def sequences(self) -> Sequences:
        """What was made of all of them."""
        own = self._own if isinstance(self._policy, Windows) else None
        cls = self._cls if isinstance(self._policy, MultiCls) else None
        second = [len(ids) for ids in self._ids]
        return Sequences(self._ids, second, self._truncated, self._owner, self._inputs, own, cls)

    def _cut_between(self, tokens: Sequence[int], before: int, after: int, spare: int) -> tuple[int, int]:
        number, behind, held = self._inputs - 1, len(tokens) - after, self._room - spare - before - after
        if held < 1:
            raise InvalidInputError(
                f"text {number + self._start}: its prompt has {before + after + spare} tokens, and there is room for "
                f"{self._room}; give a shorter prompt, or a larger max_length"
            )
        first, last = (before + at for at in cut(behind - before, held, self.side, number + self._start))
        self._append(number, [*tokens[:before], *tokens[first:last], *tokens[behind:]], last - first < behind - before)
        return first, last

    def _append(self, number: int, tokens: Sequence[int], lost: bool) -> None:
        self._ids.append(np.array([*self._template.prefix, *tokens, *self._template.suffix], np.int32))
        self._truncated.append(lost)
        self._owner.append(number)

    def _split(self, tokens: Sequence[int], before: int, after: int, policy: Windows) -> None:
        number, behind = self._inputs - 1, len(tokens) - after
        held = self._room - before - after
        if held < 1:
            raise InvalidInputError(
                f"text {number + self._start}: its prompt has {before + after} tokens, and a window has room for "
                f"{self._room}; give a shorter prompt or larger windows"
            )
        spans = windows(behind - before, held, min(policy.overlap, held // 2))
        first = len(self._template.prefix) + before
        for (start, end), (own, to) in zip(spans, shares(spans), strict=True):
            part = [*tokens[:before], *tokens[before + start : before + end], *tokens[behind:]]
            self._append(number, part, lost=False)
            last = end == behind - before
            self._own.append((first + own - start if own else 0, len(self._ids[-1]) if last else first + to - start))

    def _with_cls(self, number: int, tokens: Sequence[int], lost: bool, every: int) -> None:
        prefix = self._template.prefix
        more = range(every, len(tokens), every)
        parts = [*tokens[:every], *(t for at in more for t in (prefix[0], *tokens[at : at + every]))]
        self._append(number, parts, lost)
        self._cls.append(np.array([0, *(len(prefix) + at + n for n, at in enumerate(more))], np.int32))


def room(max_length: int, special: int, least: int = 1) -> int:
    """Tokens of a text that fit beside special tokens. Raises `InvalidInputError` for fewer than ``least``."""
    if max_length < special + least:
        raise InvalidInputError(f"max_length is {max_length}; with {special} special tokens it must be more")
    return max_length - special


def cut(tokens: int, fit: int, truncation: Truncation, number: int) -> tuple[int, int]:
    """The half-open range of so many tokens that is kept where ``fit`` fit; ``number`` is the text's, for the error."""
    if tokens <= fit:
        return 0, tokens
    if truncation == "error":
        raise TextTooLongError(too_long(number, tokens, fit))
    return (tokens - fit, tokens) if truncation == "left" else (0, fit)


def too_long(number: int, tokens: int, fit: int) -> str:
    """What to say of a text that is refused."""
    return (
        f"text {number} has {tokens} tokens, {fit} fit. Shorten it, raise max_length if the model allows it, "
        "or choose truncation='right' or 'left'"
    )
