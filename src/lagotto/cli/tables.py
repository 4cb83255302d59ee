"""Plain text tables whose columns line up on a terminal, Chinese, Japanese and Korean text included."""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Collection, Sequence

_INVISIBLE = ("Mn", "Me", "Cf")


def width(text: str) -> int:
    """Columns a text takes on a terminal.

    >>> width("熊猫 panda")
    10
    """
    return sum(_width(character) for character in text)


def _width(character: str) -> int:
    if unicodedata.category(character) in _INVISIBLE:
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def plain(text: str) -> str:
    """One line without control characters: a document must not be able to steer the terminal."""
    return " ".join("".join(" " if unicodedata.category(c) == "Cc" else c for c in text).split())


def cut(text: str, columns: int) -> str:
    """A text that takes at most so many columns; one that is cut ends in an ellipsis.

    >>> cut("熊猫住在山里", 7)
    '熊猫住…'
    """
    if width(text) <= columns:
        return text
    taken, used = [], 0
    for character in text:
        used += _width(character)
        if used > columns - 1:
            break
        taken.append(character)
    return "".join(taken).rstrip() + "…"


def pad(text: str, columns: int, *, right: bool = False) -> str:
    """A text filled up with spaces to so many columns; ``right`` puts it at the right end."""
    space = " " * max(0, columns - width(text))
    return space + text if right else text + space


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Collection[int] = ()) -> str:
    """Header, a rule and rows as lines; columns listed in ``right`` (numbers, say) are set to the right."""
    lines = [list(header), *[list(row) for row in rows]]
    columns = [max(width(line[i]) for line in lines) for i in range(len(header))]
    shown = [[pad(cell, columns[i], right=i in right) for i, cell in enumerate(line)] for line in lines]
    shown.insert(1, ["-" * n for n in columns])
    return "\n".join("  ".join(line).rstrip() for line in shown)


def terminal_columns() -> int:
    """Width of the terminal; 80 where there is none, or what ``COLUMNS`` says."""
    return shutil.get_terminal_size((80, 24)).columns
