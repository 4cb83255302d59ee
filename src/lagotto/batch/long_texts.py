"""What happens to a text that is longer than a model reads: cut, refused, split into windows, given more CLS tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from lagotto.core.errors import InvalidInputError

Truncation = Literal["right", "left", "error"]
"""What happens to a text over the limit: cut its end, cut its start, or raise `TextTooLongError`."""
Combination = Literal["mean", "max"]
"""How the vectors of windows become one."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Read all of a longer text, in overlapping windows that are computed one by one and combined.

    Every window has the text's prompt and its own special tokens. A text that fits into one window is read as it is
    without them.

    - ``size``: tokens of a window, prompt and special tokens included; ``max_length`` by default.
    - ``overlap``: tokens of the text that neighbouring windows share, half of what a window holds at most.
    - ``combine``: ``"mean"`` averages the windows' dense vectors, each of them weighted by the tokens it speaks for: a
      token that two windows share counts for the one in whose middle it lies more. ``"max"`` takes the largest of each
      number. What is normalised by habit or by wish is so before and after it.

    Of sparse weights the largest over the windows counts, and of token vectors that of the window a token counts for.
    Raises `InvalidInputError` for values that make no windows.
    """

    size: int | None = None
    overlap: int = 64
    combine: Combination = "mean"

    def __post_init__(self) -> None:
        if self.size is not None:
            _check_integer("size of windows", self.size, 1)
        _check_integer("overlap of windows", self.overlap, 0)
        if self.combine not in get_args(Combination):
            raise InvalidInputError(f"combine is {self.combine!r}; allowed are {', '.join(get_args(Combination))}")


@dataclass(frozen=True, slots=True)
class MultiCls:
    """Read a text in one pass with a CLS token before every ``every`` tokens; the dense vector is their states' mean.

    For models that pool the CLS token. ``truncation`` says what happens to a text that is longer than the model reads,
    the further CLS tokens included. A text of ``every`` tokens at most is read as it is without it.

    Source: Chen et al. 2024, "M3-Embedding", which calls it MCLS and has it every 256 tokens. Raises
    `InvalidInputError` for a number below 1 or an unknown truncation.
    """

    every: int = 256
    truncation: Truncation = "right"

    def __post_init__(self) -> None:
        _check_integer("every", self.every, 1)
        check_truncation(self.truncation)


LongTexts = Truncation | Windows | MultiCls
"""What an embedder does with long texts."""


def check_truncation(truncation: object) -> None:
    """Raise `InvalidInputError` unless it is one of the three ways to cut."""
    if truncation not in get_args(Truncation):
        raise InvalidInputError(f"truncation is {truncation!r}; allowed are {', '.join(get_args(Truncation))}")


def check_long_texts(truncation: object) -> None:
    """Raise `InvalidInputError` unless it is something an embedder can do with long texts."""
    if not isinstance(truncation, Windows | MultiCls) and truncation not in get_args(Truncation):
        allowed = ", ".join(get_args(Truncation))
        raise InvalidInputError(f"truncation is {truncation!r}; allowed are {allowed}, Windows(...) and MultiCls(...)")


def _check_integer(name: str, value: object, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{name} is {value!r}; give an integer of at least {least}")
