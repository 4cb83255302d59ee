"""`ServedEmbedder` and `ServedReranker`: models as a server gives them to its routes: limited, metered, cached."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from lagotto.core.errors import InvalidInputError
from lagotto.core.span_values import SpanEmbeddings
from lagotto.core.values import Embeddings, Scores
from lagotto.models.computing import Wanted
from lagotto.models.embedder import Embedder
from lagotto.models.progress import Progress
from lagotto.models.rendering import Asked, Rendering, Role
from lagotto.models.reranker import Reranker
from lagotto.server.cache import CachedEmbedder, VectorCache
from lagotto.server.metering import MeteredEngine

Bound = Callable[[], int | None]
"""Gives the number of characters a text may have; None for any."""


class ServedEmbedder(CachedEmbedder):
    """An embedder whose texts have a bound, whose work is counted, and whose vectors are kept where they may be.

    ``prompts`` stand before texts of a role that come without prompt, instruction and task. ``max_characters`` gives
    the bound that holds at the moment, since settings change while a model is loaded. ``adapter`` is that of every
    call.
    """

    def __init__(
        self,
        model: Embedder,
        cache: VectorCache | None,
        max_characters: Bound,
        prompts: Mapping[Role, str],
        adapter: str | None = None,
    ) -> None:
        super().__init__(model, cache, MeteredEngine, adapter)
        self._max_characters = max_characters
        self._prompts = prompts
        self.adapted = {name: ServedEmbedder(model, cache, max_characters, prompts, name) for name in self.adapters}
        """The models that it is with each of its adapters; they share its memory and its queue, and end with it."""

    def _renderer(self, role: Role, asked: Asked) -> Rendering:
        if asked.prompt is None and asked.instruction is None and asked.task is None:
            asked = replace(asked, prompt=self._prompts.get(role))
        return super()._renderer(role, asked)

    def encode_spans(self, texts: str | Iterable[str], spans: Any, **how: Any) -> SpanEmbeddings:
        """Vectors of spans, see `Embedder.encode_spans`. Raises `InvalidInputError` for a text that is too long."""
        return super().encode_spans(self._checked(texts), spans, **how)

    def encode_states(self, texts: str | Iterable[str], **how: Any) -> Embeddings:
        """States of tokens, see `Embedder.encode_states`. Raises `InvalidInputError` for a text that is too long."""
        return super().encode_states(self._checked(texts), **how)

    def _collect(self, texts: str | Iterable[str], render: Rendering, wanted: Wanted, progress: Progress) -> Embeddings:
        return super()._collect(self._checked(texts), render, wanted, progress)  # also of texts that are in the cache

    def _checked(self, texts: str | Iterable[str]) -> str | list[str]:
        found = list(bounded([texts] if isinstance(texts, str) else texts, self._max_characters()))
        return texts if isinstance(texts, str) else found

    def _stream(
        self, texts: str | Iterable[str], render: Rendering, wanted: Wanted, progress: Progress
    ) -> Iterator[Embeddings]:
        given = [texts] if isinstance(texts, str) else texts
        return super()._stream(bounded(given, self._max_characters()), render, wanted, progress)


class ServedReranker(Reranker):
    """A reranker whose texts have a bound and whose work is counted. ``adapter`` is that of every call."""

    def __init__(self, model: Reranker, max_characters: Bound, adapter: str | None = None) -> None:
        loaded = model._loaded.using(adapter)
        self._loaded = replace(loaded, engine=MeteredEngine(loaded.engine))
        self._truncation = model._truncation
        self._options = model._options
        self._max_characters = max_characters
        self.adapted = {name: ServedReranker(model, max_characters, name) for name in self.adapters}
        """The models that it is with each of its adapters, as a `ServedEmbedder` has them."""

    def score(self, pairs: Iterable[Sequence[str]], **how: Any) -> Scores:
        """Scores of pairs, see `Reranker.score`. Raises `InvalidInputError` for a text that is too long."""
        given = list(pairs)
        for _ in bounded((text for pair in given for text in pair), self._max_characters(), per_item=2):
            continue
        return super().score(given, **how)


Served = ServedEmbedder | ServedReranker


def with_adapter(model: Served, adapter: str | None) -> Served:
    """The model that it is with an adapter; itself for None."""
    return model if adapter is None else model.adapted[adapter]


def bounded(texts: Iterable[Any], most: int | None, per_item: int = 1) -> Iterator[Any]:
    """The texts, up to one that is too long; what is no text is left to others to refuse."""
    for number, text in enumerate(texts):
        if most is not None and isinstance(text, str) and len(text) > most:
            raise InvalidInputError(
                f"text {number // per_item} has {len(text)} characters, {most} are allowed here; send it in parts"
            )
        yield text
