"""`PairPrompt`: where a language model that reranks finds query and passage, in token ids."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lagotto.batch.document_parts import Reading, parts_of
from lagotto.batch.layout import cut
from lagotto.batch.sequences import Sequences
from lagotto.cards.llm_rerankers import Counted
from lagotto.core.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class PairPrompt:
    """``opening + query + separator + document + closing``, each tokenised by itself.

    What stands around query and document belongs to their own texts, and is tokenised with them.
    """

    opening: tuple[int, ...]
    query: tuple[str, str]
    """What stands before and after a query's text."""
    query_start: tuple[int, ...]
    """Tokens of what stands before it, which stay where a query is cut on the left,"""
    query_end: tuple[int, ...]
    """and of what stands after it, which stay in any case."""
    separator: tuple[int, ...]
    document: str
    """What stands before a document's text."""
    document_start: tuple[int, ...]
    """The tokens of that, which each window has."""
    closing: tuple[int, ...]
    counted: Counted
    most: int
    """Tokens a sequence may have in any case: the model's positions."""

    def write_query(self, text: str) -> str:
        """A query as it is tokenised."""
        return self.query[0] + text + self.query[1]

    def write_document(self, text: str) -> str:
        """A document as it is tokenised."""
        return self.document + text

    def lay_out(
        self,
        queries: Sequence[Sequence[int]],
        documents: Sequence[Sequence[int]],
        max_length: int,
        query_room: int,
        reading: Reading,
        start: int,
    ) -> Sequences:
        """One sequence a pair, or one a window of its document; ``second`` is where the document begins.

        A query has at most ``query_room`` tokens, and leaves room for one of the document. Raises `InvalidInputError`
        where ``max_length`` has no room for both, `TextTooLongError` where a longer text is to be refused.
        """
        frame = len(self.opening) + len(self.separator) + len(self.closing)
        total = self._total(max_length)
        room = min(query_room, total - frame - 1)
        if room < 1 + len(self.query_end):
            raise InvalidInputError(
                f"max_length is {max_length}; with {frame} tokens of the prompt there is no room for query and "
                "document; raise it, or give a shorter prompt"
            )
        out = Sequences([], [], [], [], len(documents))
        for number, (query, document) in enumerate(zip(queries, documents, strict=True), start):
            kept = self._cut_query(query, room, reading, number)
            size = min(max_length, total - frame - len(kept))
            own = alike(document, self.document_start)  # fewer where the first word changes its last tokens
            own = min(own, size - 1)
            parts, whole = parts_of(document[own:], size - own, reading, number)
            head = [*self.opening, *kept, *self.separator]
            for part in parts:
                out.ids.append(np.array([*head, *document[:own], *part, *self.closing], np.int32))
                out.second.append(len(head))
                out.truncated.append(len(kept) < len(query) or not whole)
                out.owner.append(number - start)
        return out

    def _total(self, max_length: int) -> int:
        """Tokens a sequence may have."""
        more = {
            "all": 0,
            "texts": len(self.opening) + len(self.closing),
            "passage": 2 * len(self.closing),
        }[self.counted]
        return min(self.most, max_length + more)

    def _cut_query(self, query: Sequence[int], room: int, reading: Reading, number: int) -> Sequence[int]:
        if len(query) <= room:
            return query
        end, own = self.query_end, min(alike(query, self.query_start), room - len(self.query_end) - 1)
        body = query[own : len(query) - len(end)]
        kept = cut(len(body), room - own - len(end), reading.truncation, number)
        return [*query[:own], *body[slice(*kept)], *end]


def alike(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences begin with alike."""
    return next((n for n, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))
