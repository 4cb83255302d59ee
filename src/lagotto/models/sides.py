"""`Side`: how the texts of one side of a search become token ids, which differs with ColBERT models alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lagotto.batch.frame import encode_framed
from lagotto.batch.long_texts import LongTexts
from lagotto.batch.sequences import Sequences
from lagotto.batch.special_tokens import mask_id
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.colbert import ColBert
from lagotto.core.errors import CheckpointError
from lagotto.models.loading import Loaded
from lagotto.models.rendering import Rendering, Role


@dataclass(frozen=True, slots=True)
class Side:
    """How texts of one kind are tokenised, and what is made of their tokens."""

    tokenizer: Tokenizer
    """With the kind's marker among its special tokens, where it has one."""
    max_length: int
    """Tokens a text may have unless a call says otherwise, special tokens included."""
    filler: int | None = None
    """Fills a shorter text up to ``width`` tokens."""
    width: int = 0
    attend: bool = True
    """Whether the text's own tokens see the fillers."""
    dropped: frozenset[int] = frozenset()
    """Ids of tokens that get no vector of their own."""
    longest: int = 0
    """Tokens the model reads at most, whatever a text may usually have."""

    def encode(
        self, texts: Sequence[str], render: Rendering, max_length: int, truncation: LongTexts, *, start: int
    ) -> Sequences:
        """Texts, written as ``render`` says, as sequences, filled up. The marker counts for ``max_length``, fillers do
        not; nor do worked examples, as far as the model reads.
        """
        if render.frame is not None:
            return encode_framed(self.tokenizer, texts, render.frame, max_length, self.longest, truncation, start)
        around, written = (render.before, render.after), [render(text) for text in texts]
        found = self.tokenizer.encode(written, max_length, truncation, around=around, start=start)
        if self.filler is None:
            return found
        fill = np.full(self.width, self.filler, np.int32)
        ids = [np.concatenate([row, fill[len(row) :]]) for row in found.ids]
        attended = None if self.attend else found.lengths()
        return replace(found, ids=ids, second=[len(row) for row in ids], attended=attended)


def sides(loaded: Loaded) -> Mapping[Role, Side]:
    """The sides of a model: all alike, unless it is a ColBERT model.

    There, queries and documents get their marker, queries are cut to their length and filled up with mask tokens, and a
    document's punctuation gets no vectors. A text that is neither is read as a document without marker, since
    `Embedder.encode` adds nothing. Raises `CheckpointError` for a marker that is no token.
    """
    described, tokenizer = loaded.checkpoint.colbert, loaded.tokenizer
    plain = Side(tokenizer, loaded.max_length, longest=loaded.checkpoint.max_length)
    if described is None:
        return {"text": plain, "query": plain, "document": plain}
    skipped = (tokenizer.token_id(token) for token in described.skipped)
    text = replace(plain, dropped=frozenset(number for number in skipped if number is not None))
    query = replace(
        plain,
        tokenizer=_marked(tokenizer, described.query_marker),
        max_length=_query_length(loaded, described),
    )
    if described.expanded_length is not None:
        filler = _filler(loaded, described.expansion_token)
        query = replace(query, filler=filler, width=described.expanded_length, attend=described.attend)
    document = replace(text, tokenizer=_marked(tokenizer, described.document_marker))
    return {"text": text, "query": query, "document": document}


def _query_length(loaded: Loaded, described: ColBert) -> int:
    """The model's own, or the caller's limit of the whole model where that is shorter than documents usually are."""
    checkpoint = loaded.checkpoint
    own = min(described.query_length or checkpoint.max_length, checkpoint.max_length)
    return min(own, loaded.max_length) if loaded.max_length < checkpoint.usual_length else own


def _marked(tokenizer: Tokenizer, marker: str) -> Tokenizer:
    """With a marker, as it stands (PyLate's "[Q] " is a token with its space) or without white space around it."""
    if not marker.strip():
        return tokenizer
    found = tokenizer.token_id(marker)
    found = tokenizer.token_id(marker.strip()) if found is None else found
    if found is None:
        raise CheckpointError(f"the marker {marker!r} is no token of this model's tokenizer.json")
    return tokenizer.with_marker(found)


def _filler(loaded: Loaded, text: str | None) -> int:
    if text is None:
        return mask_id(loaded.checkpoint.folder, loaded.tokenizer)
    found = loaded.tokenizer.token_id(text)
    if found is None:
        raise CheckpointError(f"the expansion token {text!r} is no token of this model's tokenizer.json")
    return found
