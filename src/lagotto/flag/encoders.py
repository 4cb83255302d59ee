"""`FlagModel` and `FlagReranker` for encoder models, and the class that chooses a reranker by a listed name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lagotto.cards.architectures import NATIVE_ARCHITECTURES
from lagotto.cards.checkpoint import check_runs
from lagotto.cards.registry import find_by_repo_name
from lagotto.cards.schema import ModelCard, Pooling
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.flag.llm_rerankers import FlagLLMReranker, LayerWiseFlagLLMReranker, LightWeightFlagLLMReranker
from lagotto.flag.shared import Devices, device_of, instructed, tensor_of
from lagotto.models.embedder import Embedder
from lagotto.models.reranker import Reranker
from lagotto.models.token_outputs import DENSE

_ENCODERS = "encoder-only-base"
_RERANKERS: dict[str, type[FlagLLMReranker]] = {
    "decoder-only-base": FlagLLMReranker,
    "decoder-only-layerwise": LayerWiseFlagLLMReranker,
    "decoder-only-lightweight": LightWeightFlagLLMReranker,
}
_HEAD_CLASSES = {
    "yes_logit": "decoder-only-base",
    "layerwise": "decoder-only-layerwise",
    "lightweight": "decoder-only-lightweight",
}


class FlagModel:
    """FlagEmbedding's embedder for encoder models: (n, d) arrays, or (d,) for a single string."""

    def __init__(
        self,
        model_name_or_path: str,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        query_instruction_format: str = "{}{}",
        devices: Devices = None,
        pooling_method: Pooling = "cls",
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        batch_size: int = 256,
        query_max_length: int = 512,
        passage_max_length: int = 512,
        convert_to_numpy: bool = True,
        truncate_dim: int | None = None,
        *,
        passage_instruction_for_retrieval: str | None = None,
        passage_instruction_format: str = "{}{}",
    ) -> None:
        self.model = Embedder(
            model_name_or_path,
            device=device_of(devices),
            precision="bf16" if use_bf16 else "auto" if use_fp16 else "f32",
            pooling=pooling_method,
            hub_cache_dir=cache_dir,
        )
        self.normalize_embeddings = normalize_embeddings
        self.query_instruction_for_retrieval = query_instruction_for_retrieval
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_retrieval = passage_instruction_for_retrieval
        self.passage_instruction_format = passage_instruction_format
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.passage_max_length = passage_max_length
        self.convert_to_numpy = convert_to_numpy
        self.truncate_dim = truncate_dim

    def encode_queries(
        self,
        queries: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        convert_to_numpy: bool | None = None,
    ) -> Any:
        """Vectors of queries, with ``query_instruction_for_retrieval`` where it was given."""
        return self.encode(
            queries,
            batch_size,
            max_length or self.query_max_length,
            convert_to_numpy,
            instruction=self.query_instruction_for_retrieval,
            instruction_format=self.query_instruction_format,
        )

    def encode_corpus(
        self,
        corpus: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        convert_to_numpy: bool | None = None,
    ) -> Any:
        """Vectors of passages, with ``passage_instruction_for_retrieval`` where it was given."""
        return self.encode(
            corpus,
            batch_size,
            max_length or self.passage_max_length,
            convert_to_numpy,
            instruction=self.passage_instruction_for_retrieval,
            instruction_format=self.passage_instruction_format,
        )

    def encode(
        self,
        sentences: str | list[str],
        batch_size: int | None = None,
        max_length: int | None = None,
        convert_to_numpy: bool | None = None,
        instruction: str | None = None,
        instruction_format: str | None = None,
    ) -> Any:
        """(n, d) float32 for a list, (d,) for a string; a torch tensor when ``convert_to_numpy`` is False."""
        texts = [sentences] if isinstance(sentences, str) else list(sentences)
        if instruction is not None:
            texts = [instructed(instruction_format or "{}{}", instruction, text) for text in texts]
        dense = self.model.encode(
            texts,
            prompt="",
            dimensions=self.truncate_dim,
            normalize=self.normalize_embeddings,
            max_length=min(max_length or self.passage_max_length, self.model.max_length),
            outputs=DENSE,
        ).dense
        vectors = dense[0] if isinstance(sentences, str) else dense
        as_numpy = self.convert_to_numpy if convert_to_numpy is None else convert_to_numpy
        return vectors if as_numpy else tensor_of(vectors)

    def stop_self_pool(self) -> None:
        """Free the model; FlagEmbedding stops its worker processes here."""
        self.model.close()


class FlagReranker:
    """FlagEmbedding's reranker for encoder models; scores are logits, or 0..1 with ``normalize``."""

    def __init__(
        self,
        model_name_or_path: str,
        use_fp16: bool = False,
        query_instruction_for_rerank: str | None = None,
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = None,
        passage_instruction_format: str = "{}{}",
        trust_remote_code: bool = False,
        cache_dir: str | None = None,
        devices: Devices = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
    ) -> None:
        self.model = Reranker(
            model_name_or_path,
            device=device_of(devices),
            precision="auto" if use_fp16 else "f32",
            hub_cache_dir=cache_dir,
        )
        self.query_instruction_for_rerank = query_instruction_for_rerank
        self.query_instruction_format = query_instruction_format
        self.passage_instruction_for_rerank = passage_instruction_for_rerank
        self.passage_instruction_format = passage_instruction_format
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.max_length = max_length
        self.normalize = normalize

    def compute_score(
        self,
        sentence_pairs: Sequence[Sequence[str]] | Sequence[str],
        batch_size: int | None = None,
        query_max_length: int | None = None,
        max_length: int | None = None,
        normalize: bool | None = None,
    ) -> list[float]:
        """Scores of (query, passage) pairs as a list; one pair gives a list of one. Passages are cut, not windowed."""
        single = len(sentence_pairs) > 0 and isinstance(sentence_pairs[0], str)
        pairs: Any = [sentence_pairs] if single else sentence_pairs
        limit = min(max_length or self.max_length, self.model.max_length)
        scores = self.model.score(
            [(self._query(query), self._passage(passage)) for query, passage in pairs],
            normalize=self.normalize if normalize is None else normalize,
            max_length=limit,
            query_max_length=query_max_length or self.query_max_length or limit * 3 // 4,
            max_windows=1,
        )
        return list(scores)

    def stop_self_pool(self) -> None:
        """Free the model; FlagEmbedding stops its worker processes here."""
        self.model.close()

    def _query(self, text: str) -> str:
        if self.query_instruction_for_rerank is None:
            return text
        return instructed(self.query_instruction_format, self.query_instruction_for_rerank, text)

    def _passage(self, text: str) -> str:
        if self.passage_instruction_for_rerank is None:
            return text
        return instructed(self.passage_instruction_format, self.passage_instruction_for_rerank, text)


class FlagAutoReranker:
    """Opens a listed reranker: ``FlagAutoReranker.from_finetuned(...)``."""

    def __init__(self) -> None:
        raise OSError("use FlagAutoReranker.from_finetuned(model_name_or_path)")

    @classmethod
    def from_finetuned(
        cls,
        model_name_or_path: str,
        model_class: str | None = None,
        use_fp16: bool = False,
        trust_remote_code: bool | None = None,
        **kwargs: Any,
    ) -> FlagReranker | FlagLLMReranker:
        """The reranker of that name, or of ``model_class`` for an unlisted one. Raises as `FlagAutoModel` does."""
        if model_class is None:
            card = _listed(model_name_or_path)
            model_class = _HEAD_CLASSES.get(card.heads[0], _ENCODERS)
            check_runs(card) if model_class in _RERANKERS else _check_class_is_here(card)
        _check_class(model_class, (_ENCODERS, *_RERANKERS))
        chosen = _RERANKERS.get(model_class, FlagReranker)
        return chosen(model_name_or_path, use_fp16=use_fp16, trust_remote_code=bool(trust_remote_code), **kwargs)


def _listed(name_or_path: str) -> ModelCard:
    """The card by the last part of a name or path; a training checkpoint's folder counts by its parent."""
    path = Path(name_or_path.partition("@")[0] if not Path(name_or_path).is_dir() else name_or_path)
    basename = path.parent.name if path.name.startswith("checkpoint-") else path.name
    card = find_by_repo_name(basename.removeprefix("starter:"))
    if card is None:
        raise InvalidInputError(
            f"model name {basename!r} is not listed; pass model_class={_ENCODERS!r} for a BERT or XLM-R checkpoint"
        )
    return card


def _check_class_is_here(card: ModelCard) -> None:
    """Raise `UnsupportedModelError` for a model that FlagEmbedding opens by one of its LLM classes."""
    check_runs(card)
    if card.architecture not in NATIVE_ARCHITECTURES:
        raise UnsupportedModelError(
            f"{card.name} is opened by FlagEmbedding's classes for language models, which come later; use "
            "lagotto.Embedder"
        )


def _check_class(name: str, running: tuple[str, ...]) -> None:
    if name not in running:
        raise InvalidInputError(f"model_class {name!r} is unknown; allowed are {', '.join(running)}")
