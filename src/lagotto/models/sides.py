"""`Side`: how the texts of one side of a search become token ids, which differs with ColBERT models alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lagotto.batch.long_texts import LongTexts
from lagotto.batch.sequences import Ids, Sequences
from lagotto.batch.special_tokens import mask_id
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.colbert import ColBert
from lagotto.core.errors import CheckpointError
from lagotto.models.loading import Loaded
from lagotto.models.rendering import Rendering, Role


@dataclass(frozen=True, slots=True)
class Side:
    """A tokenizer, and what it puts around the tokens of a text."""

    tokenizer: Tokenizer
    max_length: int
    """Tokens a text may have unless a call says otherwise, special tokens and marker included."""
    marker: int | None = None
    """Put behind the first token."""
    filler: int | None = None
    """Fills a shorter text up to ``width`` tokens."""
    width: int = 0
    attend: bool = True
    """Whether the text's own tokens see the fillers."""
    dropped: frozenset[int] = frozenset()
    """Ids of tokens that get no vector of their own."""

    def encode(
        self, texts: Sequence[str], render: Rendering, max_length: int, long: LongTexts, start: int
    ) -> Sequences:
        """As `Tokenizer.encode`, with marker and fillers. The marker counts for ``max_length``, fillers do not."""
        extra = 0 if self.marker is None else 1
        written = [render(text) for text in texts]
        found = self.tokenizer.encode(
            written, max_length - extra, long, around=(render.before, render.after), start=start
        )
        if self.marker is not None:
            found = _with_ids(found, [np.insert(ids, 1, self.marker) for ids in found.ids])
            if found.own is not None:  # the first window of a text speaks for its marker
                found = replace(found, own=[(begin + (begin > 0), end + 1) for begin, end in found.own])
        if self.filler is None:
            return found
        lengths = found.lengths()
        fill = np.full(self.width, self.filler, np.int32)
        filled = _with_ids(found, [np.concatenate([ids, fill[len(ids) :]]) for ids in found.ids])
        return filled if self.attend else replace(filled, attended=lengths)


def sides(loaded: Loaded) -> Mapping[Role, Side]:
    """The sides of a model: all alike, unless it is a ColBERT model.

    There, queries and documents get their marker, queries are cut to their length and filled up with mask tokens, and a
    document's punctuation gets no vectors. A text that is neither is read as a document without marker, since
    `Embedder.encode` adds nothing. Raises `CheckpointError` for a marker that is no token.
    """
    described, tokenizer = loaded.checkpoint.colbert, loaded.tokenizer
    plain = Side(tokenizer, loaded.max_length)
    if described is None:
        return {"text": plain, "query": plain, "document": plain}
    skipped = (tokenizer.token_id(token) for token in described.skipped)
    text = replace(plain, dropped=frozenset(number for number in skipped if number is not None))
    marker = _marker(described.query_marker, tokenizer)
    query = replace(plain, max_length=_query_length(loaded, described), marker=marker)
    if described.expanded_length is not None:
        filler = _filler(loaded, described.expansion_token)
        query = replace(query, filler=filler, width=described.expanded_length, attend=described.attend)
    document = replace(text, marker=_marker(described.document_marker, tokenizer))
    return {"text": text, "query": query, "document": document}


def _query_length(loaded: Loaded, described: ColBert) -> int:
    """The model's own, or the caller's limit of the whole model where that is shorter than documents usually are."""
    checkpoint = loaded.checkpoint
    own = min(described.query_length or checkpoint.max_length, checkpoint.max_length)
    return min(own, loaded.max_length) if loaded.max_length < checkpoint.usual_length else own


def _with_ids(found: Sequences, ids: list[Ids]) -> Sequences:
    return replace(found, ids=ids, second=[len(row) for row in ids])


def _marker(text: str, tokenizer: Tokenizer) -> int | None:
    """A marker's id, as it stands (PyLate's "[Q] " is a token with its space) or without white space around it."""
    if not text.strip():
        return None
    found = tokenizer.token_id(text)
    found = tokenizer.token_id(text.strip()) if found is None else found
    if found is None:
        raise CheckpointError(f"the marker {text!r} is no token of this model's tokenizer.json")
    return found


def _filler(loaded: Loaded, text: str | None) -> int:
    if text is None:
        return mask_id(loaded.checkpoint.folder, loaded.tokenizer)
    found = loaded.tokenizer.token_id(text)
    if found is None:
        raise CheckpointError(f"the expansion token {text!r} is no token of this model's tokenizer.json")
    return found
