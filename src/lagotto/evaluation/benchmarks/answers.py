"""Whether a passage contains an answer, as open-domain question answering judges hits (DPR, RocketQA, MKQA)."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, lru_cache

_UNSPACED = (
    (0x3005, 0x3007),  # Chinese and Japanese
    (0x3040, 0x30FF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),
    (0x0E00, 0x0EFF),  # Thai and Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
)
"""Characters of scripts that are written without spaces between words."""
_PLANE = 0xFFFF
"""The last character that is looked up. Those behind it (rare Chinese ones, emoji, dead scripts) stand alone."""
_BETWEEN = "\x1f"
"""Between tokens; a control character, so that no token contains it."""


def has_answer(answers: Iterable[str], text: str) -> bool:
    """Whether the words of one of the answers stand in the text, one behind the other.

    Words are compared without regard to case, to how accents are encoded and to white space; a part of a word is no
    match. Scripts without spaces are compared character by character (DPR, which knows English only, takes a whole
    run of such characters for a word, and finds nothing in it).

    >>> has_answer(["São Paulo"], "The state of SA\u0303O PAULO, in Brazil")
    True
    >>> has_answer(["Paul", ""], "The state of São Paulo")
    False
    >>> has_answer(["東京"], "日本の首都は東京都である。"), has_answer(["ช้าง"], "ฉันเห็นช้างตัวใหญ่")
    (True, True)
    """
    found = _tokens(text)
    return any(wanted != _BETWEEN and wanted in found for wanted in map(_answer_tokens, answers))


@lru_cache(maxsize=16384)
def _answer_tokens(answer: str) -> str:
    """`_tokens`, kept: an answer is looked for in many passages."""
    return _tokens(answer)


def _tokens(text: str) -> str:
    """The tokens of a text, with `_BETWEEN` before and behind each; only that for a text without tokens."""
    plain = unicodedata.normalize("NFD", text).lower()
    return _BETWEEN + "".join(token + _BETWEEN for token in _pattern().findall(plain))


@cache
def _pattern() -> re.Pattern[str]:
    """A word; a letter of a script without spaces, with its marks; or any other visible character."""
    kinds: dict[str, list[int]] = {"word": [], "mark": [], "letter": [], "blank": []}
    alone = {code for first, last in _UNSPACED for code in range(first, last + 1)}
    for code in range(_PLANE + 1):
        category = unicodedata.category(chr(code))[0]
        if category in "LN":
            kinds["letter" if code in alone else "word"].append(code)
        elif category == "M":
            kinds["mark"].append(code)
        elif category in "ZC":
            kinds["blank"].append(code)
    word, mark, letter, blank = (_class(codes) for codes in kinds.values())
    return re.compile(f"[{word}{mark}]+|[{letter}\\U00010000-\\U0010ffff][{mark}]*|[^{blank}]")


def _class(codes: list[int]) -> str:
    """The inside of a character class of these code points, which ascend."""
    starts = [code for before, code in zip([-2, *codes], codes, strict=False) if code != before + 1]
    ends = [code for code, behind in zip(codes, [*codes[1:], -2], strict=True) if behind != code + 1]
    return "".join(f"\\u{start:04x}-\\u{end:04x}" for start, end in zip(starts, ends, strict=True))
