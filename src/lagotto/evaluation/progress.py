"""What an evaluation says while it works: a bar for each stage, lines, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Protocol

Done = Callable[[int], None]
"""Is told how many items were finished."""


class Watcher(Protocol):
    """Follows an evaluation."""

    def stage(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Done]:
        """A stage with so many items begins; the function it gives hears of finished ones."""
        ...

    def say(self, line: str) -> None:
        """One line for the user."""
        ...


class Silence:
    """Says nothing."""

    def stage(self, title: str, total: int | None, unit: str) -> AbstractContextManager[Done]:
        """A function that does nothing."""
        return nullcontext(lambda count: None)

    def say(self, line: str) -> None:
        """Nothing."""


class Terminal:
    """Bars on a terminal; in a log file only the lines."""

    def __init__(self) -> None:
        self._bars = sys.stderr.isatty()

    @contextmanager
    def stage(self, title: str, total: int | None, unit: str) -> Iterator[Done]:
        """A bar that goes away when the stage ends."""
        if not self._bars:
            yield lambda count: None
            return
        from tqdm import tqdm

        with tqdm(total=total, desc=title, unit=unit, leave=False, file=sys.stderr) as bar:

            def advance(count: int) -> None:
                bar.update(count)

            yield advance

    def say(self, line: str) -> None:
        """A line on standard error."""
        print(line, file=sys.stderr, flush=True)  # noqa: T201  # this is what a terminal is for
