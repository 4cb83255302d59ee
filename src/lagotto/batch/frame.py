"""`Frame`: what stands around every text of a call and is never cut, whatever becomes of the text between.

The vector of a language model is read at the end of a text, and some models were trained with an end of their own
there: bge-en-icl's ``<response>``, LLARA's eight special tokens. Cutting the whole at its limit would cut that off, so
only the text in between is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lagotto.batch.layout import Layout
from lagotto.batch.long_texts import LongTexts
from lagotto.batch.sequences import Sequences
from lagotto.batch.tokenizer import Tokenizer, shared, shorten
from lagotto.core.errors import InvalidInputError

_PROBE = "a"

Joining = Literal["joint", "apart", "round_trip"]
"""How a text and its frame become one sequence of tokens.

- ``joint``: written as one string and tokenised; of the tokens between the frame's as many are kept as fit.
- ``apart``: frame and text are tokenised each by itself, and joined.
- ``round_trip``: as FlagEmbedding does with bge-en-icl: instruction and text are tokenised, cut, decoded to a string,
  put into the frame and tokenised again. Where the cut falls into a character of several tokens, decoding gives
  U+FFFD, which is longer, so that the end may be lost after all.
"""


@dataclass(frozen=True, slots=True)
class Frame:
    """Worked examples, the instruction, and what comes behind the text."""

    before: str = ""
    after: str = ""
    examples: str = ""
    """Stands in front of everything. Its tokens come on top of a call's ``max_length``, as far as the model reads."""
    joining: Joining = "joint"


def encode_framed(
    tokenizer: Tokenizer,
    texts: Sequence[str],
    frame: Frame,
    max_length: int,
    longest: int,
    policy: LongTexts,
    start: int,
) -> Sequences:
    """Sequences of texts within a frame. ``longest`` is what the model reads at most.

    As in FlagEmbedding, the end counts as many tokens as it has by itself: a tokenizer that begins each string with a
    token for a space (SentencePiece) has one more there than in the middle of a text.
    Raises `InvalidInputError` for a frame that leaves no room, and for a way to read long texts that has no round trip.
    """
    worked = tokenizer.count(frame.examples) if frame.examples else 0
    limit = min(max_length + worked, longest)
    if limit <= worked:
        raise InvalidInputError(f"the examples have {worked} tokens, and the model reads {longest}; give fewer of them")
    layout = Layout(tokenizer.template, limit, policy, start)
    if frame.joining == "round_trip":
        if policy != "right":
            raise InvalidInputError("compat cuts queries as FlagEmbedding does; give truncation='right', or no compat")
        return _round_trip(tokenizer, texts, frame, max_length, longest, start)
    head, tail = tokenizer.ids([frame.examples + frame.before, frame.after])
    whole = [_bounded(tokenizer, text, layout) for text in texts]
    if frame.joining == "apart":
        for tokens in tokenizer.ids(whole, start):
            layout.add([*head, *tokens, *tail], len(head), len(tail))
        return layout.sequences()
    behind = tokenizer.count(_PROBE + frame.after) - tokenizer.count(_PROBE)  # its tokens where it begins no string
    for tokens in tokenizer.ids([frame.examples + frame.before + text + frame.after for text in whole], start):
        front, end = shared(tokens, head, tail[max(0, len(tail) - behind) :])
        layout.add(tokens, front, end, spare=len(tail) - end)
    return layout.sequences()


def _bounded(tokenizer: Tokenizer, text: str, layout: Layout) -> str:
    """A text without what can't reach the model, so that a very long one costs no more than a page."""
    if layout.room is None:
        return text
    short = shorten(text, layout.room, layout.side)
    # Of words so long that the bound does not hold, all is wanted.
    return short if len(short) == len(text) or tokenizer.count(short) > layout.room else text


def _round_trip(
    tokenizer: Tokenizer, texts: Sequence[str], frame: Frame, max_length: int, longest: int, start: int
) -> Sequences:
    tail, template = tokenizer.count(frame.after), tokenizer.template
    room = max_length - len(template.prefix) - len(template.suffix) - tail
    if room < 1:
        raise InvalidInputError(f"max_length is {max_length}, which leaves no room for a query")
    first = tokenizer.ids([frame.before + text for text in texts], start)
    inner = tail + (tokenizer.count(frame.examples) if frame.examples else 0)
    layout = Layout(template, min((inner + max_length + 8) // 8 * 8 + 8, longest), "right", start)
    decoded = [tokenizer.decode(tokens[:room]) for tokens in first]
    again = tokenizer.ids([frame.examples + text + frame.after for text in decoded], start)
    for before, tokens in zip(first, again, strict=True):
        layout.add(tokens, lost=len(before) > room)
    return layout.sequences()
