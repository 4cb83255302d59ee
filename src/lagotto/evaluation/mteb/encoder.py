"""`MtebEncoder`: an `Embedder` that mteb can evaluate."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.core.arrays import normalize
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import Embeddings
from lagotto.evaluation.instructions import wording
from lagotto.evaluation.mteb.inputs import Work, check_keywords, hint_of, side_of, texts_of
from lagotto.evaluation.mteb.meta import embedder_meta
from lagotto.evaluation.mteb.search import Hits, candidate_rows, corpus_batches, rank_candidates, search_all
from lagotto.models.embedder import Embedder
from lagotto.models.token_outputs import DENSE

Batches = Iterable[Mapping[str, Any]]
"""A dataloader of mteb's."""


class MtebEncoder:
    """An embedder as mteb's ``EncoderProtocol`` and ``SearchProtocol``: every text task of mteb runs with it.

    >>> model = Embedder("BAAI/bge-small-en-v1.5")                                         # doctest: +SKIP
    >>> mteb.evaluate(MtebEncoder(model), mteb.get_task("STS12"), co2_tracker=False)       # doctest: +SKIP

    Texts are written as the model's card says for the task (`lagotto.evaluation.instructions`). mteb asks for vectors
    with `encode`; retrieval and reranking go through `index` and `search`, which hold no more of a corpus than the
    part that is being embedded.

    - ``dimensions``: keep the first so many numbers (Matryoshka). ``max_length``: tokens a text may have.

    Raises `InvalidInputError` for options the model does not allow, `MissingDependencyError` without mteb.
    """

    def __init__(self, embedder: Embedder, *, dimensions: int | None = None, max_length: int | None = None) -> None:
        # Wrong options raise here, and not when the first task has fetched its data.
        embedder.stream((), dimensions=dimensions, max_length=max_length, outputs=DENSE)
        self._embedder = embedder
        self._dimensions = dimensions
        self._max_length = max_length
        self._meta = embedder_meta(embedder, dimensions, max_length)
        self._corpus: Any = None
        self.work = Work()
        """Texts read so far."""

    @property
    def mteb_model_meta(self) -> Any:
        """mteb's ``ModelMeta``; results are kept under its name, revision and options."""
        return self._meta

    def encode(
        self,
        inputs: Batches,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """(n, dimension) float32 vectors of the texts of a dataloader, in their order."""
        parts = list(self._stream(inputs, task_metadata, prompt_type, kwargs))
        return Embeddings.concatenate(parts, self._dimensions or self._embedder.dimension).dense

    def similarity(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """(n, m) cosines, or inner products for a model that does not normalise."""
        return self._embedder.similarity(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> NDArray[np.float32]:
        """(n,) similarities of rows that belong together."""
        a, b = (np.atleast_2d(np.asarray(x, np.float32)) for x in (embeddings1, embeddings2))
        if self._embedder.card.normalize:
            a, b = normalize(a), normalize(b)
        out: NDArray[np.float32] = np.einsum("ij,ij->i", a, b)
        return out

    def index(self, corpus: Any, **kwargs: Any) -> None:
        """Take a corpus; its vectors are made while `search` compares them, so that they need not be kept."""
        self._corpus = corpus

    def search(
        self,
        queries: Any,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        top_k: int,
        encode_kwargs: Mapping[str, Any],
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        num_proc: int | None = None,
        **kwargs: Any,
    ) -> Hits:
        """Exact search: the best ``top_k`` of the corpus, or of each query's ``top_ranked`` documents."""
        from mteb._create_dataloaders import create_dataloader
        from mteb.types import PromptType

        if self._corpus is None:
            raise InvalidInputError("there is no corpus to search; call index() before each search()")
        corpus, self._corpus = self._corpus, None
        ids = list(queries["id"])
        batches = create_dataloader(queries, task_metadata=task_metadata, prompt_type=PromptType.query, batch_size=256)
        vectors = self.encode(
            batches,
            task_metadata=task_metadata,
            hf_split=hf_split,
            hf_subset=hf_subset,
            prompt_type=PromptType.query,
            **encode_kwargs,
        )
        if top_ranked is None:
            return search_all(vectors, ids, self._blocks(corpus, task_metadata, encode_kwargs), corpus, top_k)
        rows = candidate_rows(corpus, top_ranked)
        places = {document: place for place, document in enumerate(rows)}
        blocks = self._blocks(corpus.select(list(rows.values())), task_metadata, encode_kwargs)
        return rank_candidates(vectors, ids, blocks, places, top_ranked, top_k)

    def _blocks(
        self, corpus: Any, metadata: Any, keywords: Mapping[str, Any]
    ) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """(place of the first, vectors) of a corpus, part by part."""
        from mteb.types import PromptType

        start = 0
        for part in self._stream(corpus_batches(corpus, metadata), metadata, PromptType.document, keywords):
            yield start, part.dense
            start += len(part)

    def _stream(
        self, inputs: Batches, metadata: Any, prompt_type: Any, keywords: Mapping[str, Any]
    ) -> Iterator[Embeddings]:
        check_keywords(keywords)
        side = side_of(prompt_type)
        how = wording(self._embedder.card, hint_of(metadata, side), side)
        parts = self._embedder.stream(
            texts_of(inputs, metadata, prompt_type),
            role=how.role,
            prompt=how.prompt,
            instruction=how.instruction,
            dimensions=self._dimensions,
            max_length=self._max_length,
            progress=bool(keywords.get("show_progress_bar", False)),
        )
        for part in parts:
            self.work.add(part.tokens, part.truncated)
            yield part
