"""`Reranker`: (query, document) pairs to scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lagotto.batch.document_parts import Reading
from lagotto.batch.long_texts import Truncation, check_truncation
from lagotto.batch.sequences import Sequences
from lagotto.cards.llm_rerankers import is_llm_reranker
from lagotto.core.arrays import sigmoid
from lagotto.core.errors import InvalidInputError
from lagotto.core.values import RankedDocument, Ranking, Scores
from lagotto.engines.base import Device
from lagotto.models.inputs import check_count, checked_pairs, checked_texts, is_pair
from lagotto.models.loading import EngineChoice, Options, load
from lagotto.models.opened_model import OpenedModel
from lagotto.models.pair_scoring import PairScoring, pair_scoring
from lagotto.models.pipeline import Computed, Pooled, chunks, run
from lagotto.models.progress import Progress, progress_of
from lagotto.models.score_options import ScoreOptions, check_options

MAX_WINDOWS = 10
"""Windows of a long document that are read by default, about 5,000 tokens for a model of 512."""
OVERLAP = 64
"""Tokens two neighbouring windows share by default."""


class Reranker(OpenedModel):
    """A cross-encoder, or a language model, that reads query and document together.

    >>> ranker = Reranker("BAAI/bge-reranker-v2-m3")                                       # doctest: +SKIP
    >>> ranker.rank("what is panda?", ["hi", "The giant panda is a bear."], top_n=1)[0].index     # doctest: +SKIP
    1

    Arguments and errors are those of `Embedder`; ``max_length`` limits query and document together (of a language
    model, see `lagotto.cards.llm_rerankers.Counted`). ``options`` are what a language model's calls start from.
    """

    def __init__(
        self,
        model: str | Path,
        *,
        engine: EngineChoice = "auto",
        device: Device = "auto",
        precision: str = "auto",
        weights: str = "full",
        threads: int | None = None,
        max_length: int | None = None,
        truncation: Truncation = "right",
        options: ScoreOptions | None = None,
        revision: str | None = None,
        card: str | None = None,
        adapter: str | Path | None = None,
        adapters: Mapping[str, str | Path] | None = None,
        cache_dir: str | Path | None = None,
        models_dir: str | Path | None = None,
        offline: bool = False,
        hub: str | None = None,
        hub_cache_dir: str | Path | None = None,
    ) -> None:
        check_truncation(truncation)
        loading = Options(
            engine=engine,
            device=device,
            precision=precision,
            weights=weights,
            threads=threads,
            max_length=max_length,
            revision=revision,
            card=card,
            adapter=adapter,
            adapters=adapters,
            cache_dir=cache_dir,
            models_dir=models_dir,
            offline=offline,
            hub=hub,
            hub_cache_dir=hub_cache_dir,
        )
        self._loaded = load(model, "rerank", loading)
        self._truncation = truncation
        self._options = options or ScoreOptions()
        try:
            check_options(self._options, self.card)
        except InvalidInputError:
            self.close()
            raise

    @property
    def truncation(self) -> Truncation:
        """What happens to a longer text unless a call says otherwise."""
        return self._truncation

    @property
    def options(self) -> ScoreOptions:
        """What a language model's calls start from."""
        return self._options

    @property
    def fingerprint(self) -> str:
        """32 hex digits over weights, tokenizer, precision and `options`: equal means equal scores."""
        return self.fingerprint_of(None)

    def fingerprint_of(self, adapter: str | None) -> str:
        """The `fingerprint` of what a live adapter gives. Raises `InvalidInputError` for one that is not there."""
        own = self._loaded.using(adapter).fingerprint
        given = {name: getattr(self._options, name) for name in self._options.given()}
        return own if not given else sha256(f"{own} {given}".encode()).hexdigest()[: len(own)]

    def score(
        self,
        pairs: Iterable[Sequence[str]],
        *,
        normalize: bool = False,
        max_length: int | None = None,
        query_max_length: int | None = None,
        document_max_length: int | None = None,
        max_windows: int | None = MAX_WINDOWS,
        overlap: int = OVERLAP,
        truncation: Truncation | None = None,
        options: ScoreOptions | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Scores:
        """Scores of (query, document) pairs, in their order.

        - ``normalize``: sigmoid of the logit, 0..1; raw logits by default.
        - ``query_max_length``: tokens of the query that are read, three quarters of ``max_length`` by default.
          ``document_max_length``: tokens of a document that are read, however many windows they need; all by default.
        - A document that does not fit is read in up to ``max_windows`` windows that share ``overlap`` tokens (half a
          window at most); the best window's score counts. ``max_windows=1`` cuts the document instead, None reads all
          of it.
        - ``options``: a language model's; what they leave out is as the reranker was opened. With several
          ``cutoff_layers`` the scores are (pairs, layers), in the order in which the layers were named.
        - ``adapter``: one of `Reranker.adapters`; the base alone by default.

        Raises `InvalidInputError` (with the number of the bad pair), `TextTooLongError`, `ClosedError`.
        """
        loaded = self._loaded.using(adapter)
        limit = loaded.limit(max_length)
        policy = self._truncation if truncation is None else truncation
        check_truncation(policy)
        check_count("query_max_length", query_max_length)
        check_count("document_max_length", document_max_length)
        check_count("max_windows", max_windows)
        check_count("overlap", overlap, least=0)

        reading = Reading(policy, document_max_length, overlap, max_windows)
        prompted = self._scoring(options)

        def encoded() -> Iterator[Sequences]:
            for start, chunk in chunks(checked_pairs(pairs), lambda pair: len(pair[0]) + len(pair[1])):
                if prompted is None:
                    yield loaded.tokenizer.encode_pairs(
                        chunk,
                        limit,
                        policy,
                        query_max_length=query_max_length,
                        document_max_length=document_max_length,
                        overlap=overlap,
                        max_windows=max_windows,
                        start=start,
                    )
                else:
                    yield loaded.tokenizer.encode_prompted(
                        chunk, prompted.prompt, limit, reading, query_max_length=query_max_length, start=start
                    )

        def collect(sequences: Sequences) -> Pooled:
            if prompted is None:
                return Pooled(len(sequences), loaded.engine.info.output)
            return Pooled(len(sequences), prompted.width, prompted.output)

        with progress_of(progress, [pairs] if is_pair(pairs) else pairs, "pair") as done:
            parts = [_best(part) for part in run(loaded.engine, loaded.tokenizer.pad_id, encoded(), collect, done)]
        layers = 1 if prompted is None else prompted.width
        scores = np.concatenate([p.scores for p in parts] or [np.zeros((0, layers), np.float32)])
        scores = scores[:, 0] if layers == 1 else scores
        return Scores(
            sigmoid(scores) if normalize else scores,
            np.concatenate([p.tokens for p in parts] or [np.zeros(0, np.int32)]),
            np.concatenate([p.truncated for p in parts] or [np.zeros(0, np.bool_)]),
        )

    def rank(
        self,
        query: str,
        documents: Iterable[str],
        *,
        top_n: int | None = None,
        normalize: bool = True,
        max_length: int | None = None,
        query_max_length: int | None = None,
        document_max_length: int | None = None,
        max_windows: int | None = MAX_WINDOWS,
        overlap: int = OVERLAP,
        truncation: Truncation | None = None,
        options: ScoreOptions | None = None,
        adapter: str | None = None,
        progress: Progress = False,
    ) -> Ranking:
        """Documents ordered by relevance to the query, the best ``top_n`` of them; scores in 0..1 by default.

        ``options`` are those of `score`, with one cutoff layer at most, and so is ``adapter``.
        """
        if not isinstance(query, str):
            raise InvalidInputError(f"query is a {type(query).__name__}; give a string")
        if isinstance(documents, str):
            raise InvalidInputError("documents is one string; give a list of documents")
        check_count("top_n", top_n)
        prompted = self._scoring(options)
        if prompted is not None and prompted.width > 1:
            raise InvalidInputError(
                f"cutoff_layers are {prompted.output.cutoff_layers}: documents are ordered by one score each; name "
                "one layer, or call score",
                param="cutoff_layers",
            )
        texts = list(checked_texts(documents))
        scores = self.score(
            [(query, text) for text in texts],
            max_length=max_length,
            query_max_length=query_max_length,
            document_max_length=document_max_length,
            max_windows=max_windows,
            overlap=overlap,
            truncation=truncation,
            options=options,
            adapter=adapter,
            progress=progress,
        )
        order = np.argsort(-scores.scores, kind="stable")[:top_n]  # by logits: high ones all round to 1.0
        shown = sigmoid(scores.scores) if normalize else scores.scores
        return Ranking(
            tuple(RankedDocument(int(i), float(shown[i]), texts[i]) for i in order),
            tokens=int(scores.tokens.sum()),
            truncated=tuple(np.flatnonzero(scores.truncated).tolist()),
        )

    def _scoring(self, asked: ScoreOptions | None) -> PairScoring | None:
        """How a language model's pairs are written and scored; None for a cross-encoder."""
        options = self._options if asked is None else asked.over(self._options)
        check_options(options, self.card)
        if not is_llm_reranker(self.card):
            return None
        return pair_scoring(self._loaded.checkpoint, self._loaded.tokenizer, options)

    def __repr__(self) -> str:
        return f"Reranker({self.name!r}: {self._loaded.describe()})"


def _best(part: Computed[NDArray[np.float32]]) -> Scores:
    """One score a pair and layer, (pairs, layers): the best of its windows."""
    sequences = part.sequences
    owner = np.array(sequences.owner, np.int64)
    scores = np.full((sequences.inputs, part.outputs.shape[1]), -np.inf, np.float32)
    tokens = np.zeros(sequences.inputs, np.int32)
    truncated = np.zeros(sequences.inputs, np.bool_)
    np.maximum.at(scores, owner, part.outputs)
    np.add.at(tokens, owner, np.array(sequences.lengths(), np.int32))
    truncated[owner] = sequences.truncated
    return Scores(scores, tokens, truncated)
