"""`MtebCrossEncoder`: a `Reranker` that mteb can evaluate."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lagotto.evaluation.mteb.encoder import Batches
from lagotto.evaluation.mteb.inputs import Work, check_keywords, texts_of
from lagotto.evaluation.mteb.meta import reranker_meta
from lagotto.models.reranker import MAX_WINDOWS, Reranker


class MtebCrossEncoder:
    """A reranker as mteb's ``CrossEncoderProtocol``, for tasks that give each query its candidates.

    - ``max_length``: tokens query and document may have together. ``max_windows``: as in `Reranker.score`; 1 cuts a
      long document, which is what sentence-transformers does.

    Raises `InvalidInputError` for options the model does not allow, `MissingDependencyError` without mteb.
    """

    def __init__(
        self, reranker: Reranker, *, max_length: int | None = None, max_windows: int | None = MAX_WINDOWS
    ) -> None:
        # Wrong options raise here, and not when the first task has fetched its data.
        reranker.score((), max_length=max_length, max_windows=max_windows)
        self._reranker = reranker
        self._max_length = max_length
        self._max_windows = max_windows
        self._meta = reranker_meta(reranker, max_length, max_windows)
        self.work = Work()
        """Pairs read so far."""

    @property
    def mteb_model_meta(self) -> Any:
        """mteb's ``ModelMeta``; results are kept under its name, revision and options."""
        return self._meta

    def predict(
        self,
        inputs1: Batches,
        inputs2: Batches,
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> NDArray[np.float32]:
        """(n,) raw logits of (query, document) pairs, in their order."""
        from mteb.types import PromptType

        check_keywords(kwargs)
        pairs = zip(
            texts_of(inputs1, task_metadata, PromptType.query),
            texts_of(inputs2, task_metadata, PromptType.document),
            strict=True,
        )
        scores = self._reranker.score(
            pairs,
            max_length=self._max_length,
            max_windows=self._max_windows,
            progress=bool(kwargs.get("show_progress_bar", False)),
        )
        self.work.add(scores.tokens, scores.truncated)
        return scores.scores
