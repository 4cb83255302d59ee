"""`Tokenizer`: Hugging Face's `tokenizers` with truncation that is reported, and pairs built at id level."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from lagotto.batch.sequences import Sequences
from lagotto.batch.windows import windows
from lagotto.core.errors import CheckpointError, InvalidInputError, TextTooLongError
from lagotto.core.hardware import available_cpus

if TYPE_CHECKING:
    from tokenizers import Encoding
    from tokenizers import Tokenizer as RustTokenizer

Truncation = Literal["right", "left", "error"]
"""What happens to a text over the limit: cut its end, cut its start, or raise `TextTooLongError`."""

_LONG = 100_000  # characters; below it, tokenising the whole text costs nothing worth saving
_CHARACTERS_PER_TOKEN = 16  # a generous bound: English averages 4 to 5, long words and markup 6 to 8


@dataclass(frozen=True, slots=True)
class Template:
    """Special tokens around one text and around a pair, found by asking the tokenizer itself."""

    prefix: tuple[int, ...]
    suffix: tuple[int, ...]
    between: tuple[int, ...]
    """Between the two texts of a pair: ``[SEP]``, or ``</s></s>``."""
    second_offset: int | None
    """How many of ``between`` belong to the first segment; None where both texts have token type 0 (XLM-RoBERTa)."""


class Tokenizer:
    """Turns texts and pairs into token ids; thread-safe.

    Texts are never cut silently: every call says which were, and ``truncation="error"`` refuses instead.
    """

    def __init__(self, path: Path, pad_id: int, *, vocab_size: int, lowercase: bool = False) -> None:
        self._rust = _load(path)
        self._lowercase = lowercase
        self.pad_id = pad_id
        self.vocab_size = vocab_size
        self.template = _template(self._rust, path)
        largest = max(self._rust.get_vocab(with_added_tokens=True).values(), default=0)
        if largest >= vocab_size:
            raise CheckpointError(
                f"{path} gives token ids up to {largest}, but the model has {vocab_size} embeddings: "
                "the tokenizer is not this model's"
            )

    def encode(
        self, texts: Sequence[str], max_length: int, truncation: Truncation = "right", *, start: int = 0
    ) -> Sequences:
        """One sequence a text: prefix, tokens, suffix, at most ``max_length`` in all.

        ``start`` is the number of the first text in what the caller was given, for error messages.
        """
        check_truncation(truncation)
        template = self.template
        room = self._room(max_length, len(template.prefix) + len(template.suffix))
        ids, truncated = [], []
        for number, tokens in enumerate(self._tokenize(texts, room, truncation, start), start):
            kept = _cut(tokens, room, truncation, number)
            ids.append(np.array([*template.prefix, *kept, *template.suffix], np.int32))
            truncated.append(len(kept) < len(tokens))
        return Sequences(ids, [len(i) for i in ids], truncated, list(range(len(ids))), len(ids))

    def encode_ids(
        self, inputs: Sequence[Sequence[int]], max_length: int, truncation: Truncation = "right", *, start: int = 0
    ) -> Sequences:
        """Sequences from token ids of this model's own tokenizer; special tokens are added unless they are there."""
        check_truncation(truncation)
        prefix, suffix = self.template.prefix, self.template.suffix
        room = self._room(max_length, len(prefix) + len(suffix))
        ids, truncated = [], []
        for number, given in enumerate(inputs, start):
            tokens = self._check_ids(given, number)
            if prefix and tuple(tokens[: len(prefix)]) == prefix:
                tokens = tokens[len(prefix) :]
                tokens = tokens[: -len(suffix)] if suffix and tuple(tokens[-len(suffix) :]) == suffix else tokens
            kept = _cut(tokens, room, truncation, number)
            ids.append(np.array([*prefix, *kept, *suffix], np.int32))
            truncated.append(len(kept) < len(tokens))
        return Sequences(ids, [len(i) for i in ids], truncated, list(range(len(ids))), len(ids))

    def encode_pairs(
        self,
        pairs: Sequence[tuple[str, str]],
        max_length: int,
        truncation: Truncation = "right",
        *,
        query_max_length: int | None = None,
        overlap: int = 0,
        max_windows: int | None = 1,
        start: int = 0,
    ) -> Sequences:
        """Sequences of (query, document) pairs, a long document split into overlapping windows.

        The query gets at most ``query_max_length`` tokens, three quarters of ``max_length`` by default (as
        FlagEmbedding does), so that a document always has room. ``max_windows=1`` cuts the document instead of
        splitting it; with ``truncation="left"`` the last windows are read and not the first. A pair is marked as
        truncated when a part of its query or document is in no sequence.
        """
        check_truncation(truncation)
        t = self.template
        room = self._room(max_length, len(t.prefix) + len(t.between) + len(t.suffix), least=2)
        query_room = min(query_max_length or max_length * 3 // 4, room - 1)
        keep_all = truncation == "error" or max_windows is None
        document_room = max_length if max_windows == 1 else None if keep_all else (max_windows or 1) * max_length
        queries = self._tokenize_once([q for q, _ in pairs], query_room, truncation, start)
        documents = self._tokenize([d for _, d in pairs], document_room, truncation, start)
        out = Sequences([], [], [], [], len(pairs))
        for number, (query, document) in enumerate(zip(queries, documents, strict=True), start):
            kept = _cut(query, query_room, truncation, number)
            size = room - len(kept)
            if max_windows == 1:
                parts = [_cut(document, size, truncation, number)]
                covered = len(parts[0])
            else:
                spans = windows(len(document), size, min(overlap, size // 2))[:max_windows]
                if truncation == "left":  # laid from the end
                    spans = [(len(document) - b, len(document) - a) for a, b in reversed(spans)]
                parts, covered = [document[a:b] for a, b in spans], spans[-1][1] - spans[0][0]
                if covered < len(document) and truncation == "error":
                    raise TextTooLongError(_too_long(number, len(document), covered))
            head = [*t.prefix, *kept, *t.between]
            before = len(t.prefix) + len(kept)
            lost = len(kept) < len(query) or covered < len(document)
            for part in parts:
                out.ids.append(np.array([*head, *part, *t.suffix], np.int32))
                out.second.append(len(out.ids[-1]) if t.second_offset is None else before + t.second_offset)
                out.truncated.append(lost)
                out.owner.append(number - start)
        return out

    def count(self, text: str) -> int:
        """Tokens of a text without special tokens."""
        return len(self._tokenize([text], None, "right")[0])

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None for one it does not have."""
        found: int | None = self._rust.token_to_id(token)
        return found

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for, special tokens included."""
        text: str = self._rust.decode(list(ids), skip_special_tokens=False)
        return text

    def _room(self, max_length: int, special: int, least: int = 1) -> int:
        if max_length < special + least:
            raise InvalidInputError(f"max_length is {max_length}; with {special} special tokens it must be more")
        return max_length - special

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
            shortened = [_shorten(text, room, truncation) for text in texts]
        found: list[Sequence[int]] = [e.ids for e in self._encode_batch(shortened, start)]
        for i, text in enumerate(texts):
            if len(shortened[i]) < len(text) and len(found[i]) <= (room or 0):
                found[i] = self._encode_batch([text], start + i)[0].ids  # words so long that the bound did not hold
        return found

    def _encode_batch(self, texts: Sequence[str], start: int) -> list[Encoding]:
        try:
            return self._rust.encode_batch_fast(list(texts), add_special_tokens=False)
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


def check_truncation(truncation: str) -> None:
    """Raise `InvalidInputError` unless it is one of the three policies."""
    if truncation not in get_args(Truncation):
        raise InvalidInputError(f"truncation is {truncation!r}; allowed are {', '.join(get_args(Truncation))}")


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


def _template(rust: RustTokenizer, path: Path) -> Template:
    """Special tokens around texts, read off two probes, so that every kind of post-processor is understood."""
    first, second = _probes(rust, path)
    single = rust.encode(_PROBES[0]).ids
    at = _find(single, first, path)
    encoded = rust.encode(_PROBES[0], _PROBES[1])
    pair, types = encoded.ids, encoded.type_ids
    start = _find(pair, first, path)
    middle = start + len(first)
    behind = _find(pair[middle:], second, path) + middle
    prefix, suffix = tuple(single[:at]), tuple(single[at + len(first) :])
    if tuple(pair[:start]) != prefix or tuple(pair[behind + len(second) :]) != suffix:
        raise CheckpointError(f"{path}: special tokens around a pair differ from those around one text; not supported")
    ones = [i for i in range(middle, len(pair)) if types[i] == 1]
    return Template(prefix, suffix, tuple(pair[middle:behind]), ones[0] - middle if ones else None)


_PROBES = ("a", "b")


def _probes(rust: RustTokenizer, path: Path) -> tuple[list[int], list[int]]:
    first, second = (rust.encode(text, add_special_tokens=False).ids for text in _PROBES)
    if not first or not second:
        raise CheckpointError(f"{path} gives no tokens for {_PROBES}: its vocabulary is empty")
    return first, second


def _find(ids: list[int], part: list[int], path: Path) -> int:
    for at in range(len(ids) - len(part) + 1):
        if ids[at : at + len(part)] == part:
            return at
    raise CheckpointError(f"{path}: special tokens change the tokens of a text; not supported")


def _shorten(text: str, room: int, truncation: Truncation) -> str:
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


def _cut(tokens: Sequence[int], room: int, truncation: Truncation, number: int) -> Sequence[int]:
    if len(tokens) <= room:
        return tokens
    if truncation == "error":
        raise TextTooLongError(_too_long(number, len(tokens), room))
    return tokens[-room:] if truncation == "left" else tokens[:room]


def _too_long(number: int, tokens: int, room: int) -> str:
    return (
        f"text {number} has {tokens} tokens, {room} fit. Shorten it, raise max_length if the model allows it, "
        "or choose truncation='right' or 'left'"
    )


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
