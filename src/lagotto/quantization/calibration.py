"""What a model is calibrated on and compared by: texts for an embedder, pairs for a reranker."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from lagotto.batch.sequences import Sequences
from lagotto.batch.tokenizer import Tokenizer
from lagotto.cards.schema import ModelCard, Task
from lagotto.core.values import Embeddings
from lagotto.models.embedder import Embedder
from lagotto.models.loading import Options
from lagotto.models.reranker import Reranker
from lagotto.quantization.gate import Agreement, Values, compare_scores, compare_vectors
from lagotto.quantization.texts import Pair, Text, sample_pairs, sample_texts

SHORT = 8
"""Texts (or pairs) of one word that are calibrated on besides, and an empty one.

What goes into a layer is largest where special tokens have little but each other to attend to, and files rarely hold
such texts. On bge-small, 64 texts of whole sentences alone left an empty text a cosine of 0.885 and a letter 0.993;
with these it is 0.998 and 0.996, and the mean over ordinary texts stays as it was."""


class Calibration(Protocol):
    """Items to calibrate on, and others to compare by."""

    def sequences(self, tokenizer: Tokenizer, card: ModelCard, limit: int) -> Sequences:
        """What to calibrate on, as the model reads it."""
        ...

    def values(self, model: str | Path, options: Options) -> tuple[Values, str]:
        """What a model gives for the others, and its fingerprint. It is open only as long as it computes."""
        ...

    def compare(self, original: Values, int8: Values) -> Agreement:
        """How near two models' values are."""
        ...


def read_calibration(task: Task, source: Path, samples: int) -> Calibration:
    """``samples`` items of a file or data set to calibrate on, and up to as many others. Raises `InvalidInputError`."""
    if task == "embed":
        texts = sample_texts(source, 2 * samples)
        own = _own(samples, len(texts))
        return Texts(texts[:own], texts[own:])
    pairs = sample_pairs(source, 2 * samples)
    own = _own(samples, len(pairs))
    return Pairs(pairs[:own], pairs[own:])


def _own(samples: int, found: int) -> int:
    """How many to calibrate on; where there are few, half of them are left to compare by."""
    return min(samples, found - found // 2)


@dataclass(frozen=True, slots=True)
class Texts:
    """Texts for an embedder, each written as the card says for its side."""

    used: list[Text]
    others: list[Text]

    def sequences(self, tokenizer: Tokenizer, card: ModelCard, limit: int) -> Sequences:
        """What to calibrate on, as the model reads it."""
        sides = {"query": card.query, "document": card.document}
        short = [replace(item, text=_word(item.text)) for item in self.used[:SHORT]]
        texts = [*self.used, *short, Text("", "document")]
        return tokenizer.encode([sides[item.role].render(item.text) for item in texts], limit)

    def values(self, model: str | Path, options: Options) -> tuple[Values, str]:
        """(texts, dimension) vectors, queries first; of a model without them (pairs,) similarities of the texts."""
        queries = [item.text for item in self.others if item.role == "query"]
        documents = [item.text for item in self.others if item.role == "document"]
        with Embedder(model, **asdict(options)) as embedder:
            parts = [embedder.encode_queries(queries), embedder.encode_documents(documents)]
            found = Embeddings.concatenate(parts, embedder.engine.output)
            if "dense" in embedder.outputs:
                return found.dense, embedder.fingerprint
            return embedder.similarity(found, found)[np.triu_indices(len(found), 1)], embedder.fingerprint

    def compare(self, original: Values, int8: Values) -> Agreement:
        """By cosines, and by similarities between texts; by these alone for a model without dense vectors."""
        return compare_vectors(original, int8) if original.ndim == 2 else compare_scores(original, int8)


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs for a reranker."""

    used: list[Pair]
    others: list[Pair]

    def sequences(self, tokenizer: Tokenizer, card: ModelCard, limit: int) -> Sequences:
        """What to calibrate on, as the model reads it."""
        short = [(_word(query), _word(document)) for query, document in self.used[:SHORT]]
        return tokenizer.encode_pairs([*self.used, *short, ("", "")], limit)

    def values(self, model: str | Path, options: Options) -> tuple[Values, str]:
        """(pairs,) logits."""
        with Reranker(model, **options.for_reranker()) as ranker:
            return ranker.score(self.others).scores, ranker.fingerprint

    def compare(self, original: Values, int8: Values) -> Agreement:
        """By the order of scores."""
        return compare_scores(original, int8)


def _word(text: str) -> str:
    """The first word; of a text without spaces, its first characters."""
    return text.split()[0][:10]
