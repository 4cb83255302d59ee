"""`Tokenizer`: Hugging Face's `tokenizers` with truncation that is reported, and pairs built at id level."""

from __future__ import annotations

import os
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lagotto.batch.document_parts import Reading, parts_of
from lagotto.batch.layout import Layout, cut, room
from lagotto.batch.long_texts import LongTexts, Truncation, Windows, check_truncation
from lagotto.batch.offsets import TokenRanges, lowered, original, without_space
from lagotto.batch.pair_prompt import PairPrompt, alike
from lagotto.batch.sequences import Sequences
from lagotto.batch.template import find_template
from lagotto.batch.tokens import Token
from lagotto.core.errors import CheckpointError, InvalidInputError
from lagotto.core.hardware import available_cpus

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as RustTokenizer

_LONG = 100_000  # characters; below it, tokenising the whole text costs nothing worth saving
_CHARACTERS_PER_TOKEN = 16  # a generous bound: English averages 4 to 5, long words and markup 6 to 8


class Tokenizer:
    """Turns texts and pairs into token ids; thread-safe.

    Texts are never cut silently: every call says which were, and ``truncation="error"`` refuses instead.
    """

    def __init__(self, path: Path, pad_id: int, *, vocab_size: int, lowercase: bool = False) -> None:
        self._rust = _load(path)
        self._lowercase = lowercase
        self.pad_id = pad_id
        self.vocab_size = vocab_size
        self.template = find_template(self._rust, path)
        largest = max(self._rust.get_vocab(with_added_tokens=True).values(), default=0)
        if largest >= vocab_size:
            raise CheckpointError(
                f"{path} gives token ids up to {largest}, but the model has {vocab_size} embeddings: "
                "the tokenizer is not this model's"
            )

    def with_marker(self, marker: int) -> Tokenizer:
        """The same with one more special token, behind the first one of every sequence."""
        marked, prefix = copy(self), self.template.prefix
        marked.template = replace(self.template, prefix=(*prefix[:1], marker, *prefix[1:]))
        return marked

    def with_end(self, token: int) -> Tokenizer:
        """The same with one more special token behind every text and pair."""
        ended = copy(self)
        ended.template = replace(self.template, suffix=(*self.template.suffix, token))
        return ended

    def encode(
        self,
        texts: Sequence[str],
        max_length: int,
        truncation: LongTexts = "right",
        *,
        around: tuple[str, str] = ("", ""),
        start: int = 0,
    ) -> Sequences:
        """One sequence a text: prefix, tokens, suffix, at most ``max_length`` in all; with windows one or more.

        ``around`` is the prompt that the texts begin and end with, which every window is to have. ``start`` is the
        number of the first text in what the caller was given, for error messages.
        """
        layout = Layout(self.template, max_length, truncation, start)
        before, after = self._prompt(around, truncation)
        for tokens in self._tokenize(texts, layout.room, layout.side, start):
            layout.add(tokens, *shared(tokens, before, after))
        return layout.sequences()

    def encode_ids(
        self, inputs: Sequence[Sequence[int]], max_length: int, truncation: LongTexts = "right", *, start: int = 0
    ) -> Sequences:
        """Sequences from token ids of this model's own tokenizer; special tokens are added unless they are there."""
        layout = Layout(self.template, max_length, truncation, start)
        prefix, suffix = self.template.prefix, self.template.suffix
        for number, given in enumerate(inputs, start):
            tokens = self._check_ids(given, number)
            if prefix and tuple(tokens[: len(prefix)]) == prefix:
                tokens = tokens[len(prefix) :]
                tokens = tokens[: -len(suffix)] if suffix and tuple(tokens[-len(suffix) :]) == suffix else tokens
            layout.add(tokens)
        return layout.sequences()

    def encode_with_ranges(
        self,
        texts: Sequence[str],
        max_length: int,
        truncation: LongTexts = "right",
        *,
        around: tuple[str, str] = ("", ""),
        start: int = 0,
    ) -> tuple[Sequences, list[TokenRanges]]:
        """As `encode`, and for each text which of its characters the tokens stand for, ``around`` left out."""
        layout = Layout(self.template, max_length, truncation, start)
        before, after = self._prompt(around, truncation)
        written = [lowered(text) if self._lowercase else (text, None) for text in texts]
        encodings = self._encode_batch([small for small, _ in written], start, fast=False)
        found: list[TokenRanges] = []
        for text, (_, origin), encoding in zip(texts, written, encodings, strict=True):
            tokens = encoding.ids
            kept = layout.add(tokens, *shared(tokens, before, after))
            ranges = original(np.array(encoding.offsets, np.int64).reshape(-1, 2), origin)
            ranges = without_space(ranges, text) - len(around[0])
            found.append(TokenRanges(ranges, kept, len(self.template.prefix)))
        return layout.sequences(), found

    def encode_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        max_length: int,
        truncation: Truncation = "right",
        *,
        query_max_length: int | None = None,
        document_max_length: int | None = None,
        overlap: int = 0,
        max_windows: int | None = 1,
        start: int = 0,
    ) -> Sequences:
        """Sequences of (query, document) pairs, a long document split into overlapping windows.

        The query gets at most ``query_max_length`` tokens, three quarters of ``max_length`` by default (as
        FlagEmbedding does), so that a document always has room. Of a document ``document_max_length`` tokens are read,
        all by default. ``max_windows=1`` cuts it instead of splitting it; with ``truncation="left"`` the last windows
        are read and not the first. A pair is marked as truncated when a part of its query or document is in no
        sequence.
        """
        check_truncation(truncation)
        reading, t = Reading(truncation, document_max_length, overlap, max_windows), self.template
        fit = room(max_length, len(t.prefix) + len(t.between) + len(t.suffix), least=2)
        query_room = min(query_max_length or max_length * 3 // 4, fit - 1)
        queries = self._tokenize_once([q for q, _ in pairs], query_room, truncation, start)
        documents = self._tokenize([d for _, d in pairs], reading.room(max_length), truncation, start)
        out = Sequences([], [], [], [], len(pairs))
        for number, (query, document) in enumerate(zip(queries, documents, strict=True), start):
            kept = query[slice(*cut(len(query), query_room, truncation, number))]
            size = fit - len(kept)
            parts, whole = parts_of(document, size, reading, number)
            head = [*t.prefix, *kept, *t.between]
            before = len(t.prefix) + len(kept)
            lost = len(kept) < len(query) or not whole
            for part in parts:
                out.ids.append(np.array([*head, *part, *t.suffix], np.int32))
                out.second.append(len(out.ids[-1]) if t.second_offset is None else before + t.second_offset)
                out.truncated.append(lost)
                out.owner.append(number - start)
        return out

    def ids(self, texts: Sequence[str], start: int = 0) -> list[Sequence[int]]:
        """The tokens of texts without special tokens, all of them."""
        return self._tokenize(texts, None, "error", start)

    def encode_prompted(
        self,
        pairs: Sequence[tuple[str, str]],
        prompt: PairPrompt,
        max_length: int,
        reading: Reading,
        *,
        query_max_length: int | None = None,
        start: int = 0,
    ) -> Sequences:
        """As `encode_pairs`, written into the prompt of a language model; see `PairPrompt` for what fits."""
        written = [(prompt.write_query(query), prompt.write_document(document)) for query, document in pairs]
        room = query_max_length or max_length * 3 // 4
        queries = self._tokenize_once([q for q, _ in written], room, reading.truncation, start)
        documents = self._tokenize([d for _, d in written], reading.room(max_length), reading.truncation, start)
        return prompt.lay_out(queries, documents, max_length, room, reading, start)

    def plain(self, text: str) -> tuple[int, ...]:
        """The tokens of a text without special tokens around it."""
        return tuple(self._tokenize([text], None, "error")[0])

    def count(self, text: str) -> int:
        """How many tokens a text has without special tokens."""
        return len(self.plain(text))

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None for one it does not have."""
        found: int | None = self._rust.token_to_id(token)
        return found

    def decode(self, ids: Sequence[int], *, skip_special: bool = False) -> str:
        """The text that ids stand for, special tokens included unless they are to be skipped."""
        text: str = self._rust.decode(list(ids), skip_special_tokens=skip_special)
        return text

    def tokenize(self, text: str, *, special: bool = True) -> list[Token]:
        """The tokens of a text as the model would see them, ``special`` ones around them or not."""
        small, origin = lowered(text) if self._lowercase else (text, None)
        encoding = self._encode_batch([small], 0, fast=False)[0]
        ranges = original(np.array(encoding.offsets, np.int64).reshape(-1, 2), origin).tolist()
        found = [
            Token(number, text[start:end], False, start, end)
            for number, (start, end) in zip(encoding.ids, ranges, strict=True)
        ]
        if not special:
            return found
        before, after = (
            [Token(number, str(self._rust.id_to_token(number)), True) for number in side]
            for side in (self.template.prefix, self.template.suffix)
        )
        return [*before, *found, *after]

    def _prompt(self, around: tuple[str, str], truncation: LongTexts) -> tuple[Sequence[int], Sequence[int]]:
        """The tokens of a prompt's two sides by themselves; none where they would not be used."""
        if not isinstance(truncation, Windows) or around == ("", ""):
            return (), ()
        before, after = self._tokenize(around, None, "error")
        return before, after

    def _tokenize_once(
        self, texts: Sequence[str], room: int, truncation: Truncation, start: int
    ) -> list[Sequence[int]]:
        """As `_tokenize`, each different text once: a ranking has one query and many documents."""
        different = list(dict.fromkeys(texts))
        if len(different) < len(texts):
            _check_unicode(different, texts, start)
        known = dict(zip(different, self._tokenize(different, room, truncation), strict=True))
        return [known[text] for text in texts]

    def _tokenize(
        self, texts: Sequence[str], room: int | None, truncation: Truncation, start: int = 0
    ) -> list[Sequence[int]]:
        if self._lowercase:
            texts = [text.lower() for text in texts]
        shortened = texts
        if room is not None and truncation != "error":
            shortened = [shorten(text, room, truncation) for text in texts]
        found: list[Sequence[int]] = [e.ids for e in self._encode_batch(shortened, start)]
        for i, text in enumerate(texts):
            if len(shortened[i]) < len(text) and len(found[i]) <= (room or 0):
                found[i] = self._encode_batch([text], start + i)[0].ids  # words so long that the bound did not hold
        return found

    def _encode_batch(self, texts: Sequence[str], start: int, *, fast: bool = True) -> list[Encoding]:
        """The fast way gives no characters of tokens."""
        encode = self._rust.encode_batch_fast if fast else self._rust.encode_batch
        try:
            return encode(list(texts), add_special_tokens=False)
        except (TypeError, UnicodeEncodeError) as error:
            _check_unicode(texts, texts, start)
            raise InvalidInputError(f"the tokenizer refused the texts: {error}") from None

    def _check_ids(self, given: Sequence[int], number: int) -> list[int]:
        tokens = list(given)
        wrong = next((t for t in tokens if isinstance(t, bool) or not isinstance(t, int | np.integer)), None)
        if wrong is not None:
            raise InvalidInputError(f"input {number}: token id {wrong!r} is not an integer")
        outside = next((t for t in tokens if not 0 <= t < self.vocab_size), None)
        if outside is not None:
            raise InvalidInputError(
                f"input {number}: token id {outside} is outside this model's vocabulary of {self.vocab_size}. "
                "Ids must come from the model's own tokenizer, not from tiktoken: send text instead"
            )
        if not tokens:
            raise InvalidInputError(f"input {number} is an empty list of token ids")
        return tokens


def _load(path: Path) -> RustTokenizer:
    # Rayon sizes its pool by the host's processors, not by the container's quota, when it is first used.
    os.environ.setdefault("RAYON_NUM_THREADS", str(available_cpus()))
    from tokenizers import Tokenizer as Rust

    try:
        rust = Rust.from_file(str(path))
    except Exception as error:  # tokenizers raises a bare Exception
        raise CheckpointError(f"{path} can't be read as a tokenizer: {error}") from None
    rust.no_truncation()
    rust.no_padding()
    return rust


def shorten(text: str, room: int, truncation: Truncation) -> str:
    """Leave out what can't reach the model of a very long text, so that 10 MB cost no more than a page.

    Text is left in plenty: at 16 characters a token the cut lies far behind the last token that is kept. It is made at
    white space where there is any, since half a word may have more tokens than the whole.
    """
    bound = max(_LONG, (room + 64) * _CHARACTERS_PER_TOKEN)
    if len(text) <= bound:
        return text
    if truncation == "left":
        kept = text[-bound:]
        broken = len(kept.split(None, 1)[0]) if kept.strip() and not kept[0].isspace() else 0
        return kept[broken:] if broken < len(kept) else kept
    kept = text[:bound]
    broken = len(kept.rsplit(None, 1)[-1]) if kept.strip() and not kept[-1].isspace() else 0
    return kept[: len(kept) - broken] if broken < len(kept) else kept


def shared(tokens: Sequence[int], before: Sequence[int], after: Sequence[int]) -> tuple[int, int]:
    """How many tokens of a text are its prompt's, in front and behind; one that reaches into the text is not."""
    front = alike(tokens, before)
    end = tokens[max(front, len(tokens) - len(after)) :]
    return front, alike(end[::-1], after[::-1])


def _check_unicode(suspects: Sequence[str], texts: Sequence[str], start: int) -> None:
    """Raise `InvalidInputError` for the first suspect that is not valid Unicode, numbered by its place in ``texts``."""
    for text in suspects:
        try:
            text.encode("utf-8")
        except UnicodeEncodeError as bad:
            raise InvalidInputError(
                f"text {start + texts.index(text)} holds a lone surrogate (U+{ord(text[bad.start]):04X}) at character "
                f"{bad.start}, which is not valid Unicode text; decode its source with errors='replace'"
            ) from None
