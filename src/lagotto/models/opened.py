"""`OpenedEmbedder`: a model in memory: what it is, what it runs on, how its vectors are compared, and its end."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.long_texts import LongTexts
from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.models.computing import Computing
from lagotto.models.named_tasks import tasks_of
from lagotto.models.opened_model import OpenedModel
from lagotto.models.token_outputs import OutputName, require_dense, shape_of, token_scores


class OpenedEmbedder(OpenedModel):
    """What an `Embedder` is without its ways to encode."""

    _computing: Computing
    _truncation: LongTexts

    @property
    def outputs(self) -> tuple[OutputName, ...]:
        """What `encode` can give: ``"dense"``, ``"sparse"``, ``"multivector"``."""
        return self._computing.outputs

    @property
    def dimension(self) -> int:
        """Length of the dense vectors. Raises `InvalidInputError` for a model without them (SPLADE, ColBERT)."""
        require_dense(self.outputs, self.name)
        return self.engine.output

    @property
    def truncation(self) -> LongTexts:
        """What happens to a longer text unless a call says otherwise."""
        return self._truncation

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, tokenizer, pooling, prompts and precision: equal means equal vectors."""
        return self.fingerprint_of(None)

    def fingerprint_of(self, adapter: str | None) -> str:
        """The `fingerprint` of what a live adapter gives. Raises `InvalidInputError` for one that is not there."""
        return self._loaded.using(adapter).fingerprint

    @property
    def tasks(self) -> tuple[str, ...]:
        """Tasks that the model's card names, for ``task=``."""
        return tasks_of(self.card)

    def decode_tokens(self, weights: Mapping[int, float]) -> dict[str, float]:
        """Sparse weights by the token's text instead of its id; of two ids with one text the larger weight counts."""
        found: dict[str, float] = {}
        for number, weight in weights.items():
            text = self._loaded.tokenizer.decode([number])
            found[text] = max(weight, found.get(text, weight))
        return found

    def similarity(
        self, queries: Embeddings | NDArray[np.float32], documents: Embeddings | NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(queries, documents) similarities: the cosine, or the inner product for a model that does not normalise.

        A model without dense vectors compares what it gave: `lexical_matching` of weights, `max_sim_matrix` of vectors.
        """
        if "dense" not in self.outputs:
            return token_scores(queries, documents)
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (queries, documents))
        if a.shape[1] != b.shape[1]:
            raise InvalidInputError(f"vectors of {a.shape[1]} and {b.shape[1]} dimensions can't be compared")
        if self.card.normalize:
            a, b = normalize(a), normalize(b)
        out: NDArray[np.float32] = a @ b.T
        return out

    def __repr__(self) -> str:
        return f"Embedder({self.name!r}: {shape_of(self._loaded)}, {self._loaded.describe()})"
