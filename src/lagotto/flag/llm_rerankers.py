"""`FlagLLMReranker`, `LayerWiseFlagLLMReranker`, `LightWeightFlagLLMReranker`: language models that rerank."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lagotto.cards.registry import find_named
from lagotto.flag.shared import Devices, device_of, instructed
from lagotto.models.reranker import Reranker
from lagotto.models.score_options import ScoreOptions

Pairs = Sequence[Sequence[str]] | Sequence[str]
LayerScores = list[float] | list[list[float]]
"""Scores of pairs, or with several layers a list of them for each layer, in the order asked."""


class FlagLLMReranker:
    """FlagEmbedding's reranker for bge-reranker-v2-gemma and models like it; scores are logits of Yes.

    ``max_length`` limits the passage. ``peft_path`` is a LoRA adapter, merged when the model is loaded.
    ``use_dataloader`` and ``num_workers`` are accepted and have no effect.
    """

    _card = "BAAI/bge-reranker-v2-gemma"

    def __init__(
        self,
        model_name_or_path: str,
        peft_path: str | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        query_instruction_for_rerank: str | None = "A: ",
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = "B: ",
        passage_instruction_format: str = "{}{}",
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        devices: Devices = None,
        prompt: str | None = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
    ) -> None:
        self._open(model_name_or_path, peft_path, use_fp16, use_bf16, cache_dir, devices)
        self._query = (query_instruction_format, query_instruction_for_rerank)
        self._passage = (passage_instruction_format, passage_instruction_for_rerank)
        self.prompt = prompt
        self.batch_size = batch_size
        self.query_max_length = query_max_length
        self.max_length = max_length
        self.normalize = normalize

    def compute_score(
        self,
        sentence_pairs: Pairs,
        batch_size: int | None = None,
        query_max_length: int | None = None,
        max_length: int | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        use_dataloader: bool = False,
        num_workers: int | None = None,
    ) -> list[float]:
        """Scores of (query, passage) pairs; one pair gives a list of one. Passages are cut, not windowed."""
        found: Any = self._scores(sentence_pairs, query_max_length, max_length, normalize, prompt, ScoreOptions())
        return list(found)

    def stop_self_pool(self) -> None:
        """Free the model; FlagEmbedding stops its worker processes here."""
        self.model.close()

    def _open(
        self,
        name: str,
        peft_path: str | None,
        use_fp16: bool,
        use_bf16: bool,
        cache_dir: str | None,
        devices: Devices,
    ) -> None:
        self.model = Reranker(
            name,
            card=None if find_named(name) else self._card,
            adapter=peft_path or None,
            device=device_of(devices),
            precision="bf16" if use_bf16 else "auto" if use_fp16 else "f32",
            hub_cache_dir=cache_dir,
        )

    def _scores(
        self,
        pairs: Pairs,
        query_max_length: int | None,
        max_length: int | None,
        normalize: bool | None,
        prompt: str | None,
        options: ScoreOptions,
    ) -> LayerScores:
        given: Any = [pairs] if len(pairs) > 0 and isinstance(pairs[0], str) else pairs
        limit = min(max_length or self.max_length, self.model.max_length)
        asked = ScoreOptions(instruction="", document_instruction="", prompt=prompt or self.prompt)
        scores = self.model.score(
            [(_written(self._query, query), _written(self._passage, passage)) for query, passage in given],
            normalize=self.normalize if normalize is None else normalize,
            max_length=limit,
            query_max_length=query_max_length or self.query_max_length or limit * 3 // 4,
            max_windows=1,
            options=options.over(asked),
        )
        found: LayerScores = np.asarray(scores.scores.T).tolist()
        return found


class LayerWiseFlagLLMReranker(FlagLLMReranker):
    """FlagEmbedding's reranker for bge-reranker-v2-minicpm-layerwise."""

    _card = "BAAI/bge-reranker-v2-minicpm-layerwise"

    def __init__(
        self,
        model_name_or_path: str,
        peft_path: str | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        query_instruction_for_rerank: str | None = "A: ",
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = "B: ",
        passage_instruction_format: str = "{}{}",
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        devices: Devices = None,
        cutoff_layers: Sequence[int] | None = None,
        prompt: str | None = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
    ) -> None:
        super().__init__(
            model_name_or_path,
            peft_path=peft_path,
            use_fp16=use_fp16,
            use_bf16=use_bf16,
            query_instruction_for_rerank=query_instruction_for_rerank,
            query_instruction_format=query_instruction_format,
            passage_instruction_for_rerank=passage_instruction_for_rerank,
            passage_instruction_format=passage_instruction_format,
            cache_dir=cache_dir,
            trust_remote_code=trust_remote_code,
            devices=devices,
            prompt=prompt,
            batch_size=batch_size,
            query_max_length=query_max_length,
            max_length=max_length,
            normalize=normalize,
        )
        self.cutoff_layers = cutoff_layers

    def compute_score(  # type: ignore[override]  # as FlagEmbedding's differs from that of its sibling
        self,
        sentence_pairs: Pairs,
        batch_size: int | None = None,
        query_max_length: int | None = None,
        max_length: int | None = None,
        cutoff_layers: Sequence[int] | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
        use_dataloader: bool = False,
        num_workers: int | None = None,
    ) -> LayerScores:
        """Scores of pairs, in a list for each layer where several are asked for."""
        options = ScoreOptions(cutoff_layers=cutoff_layers or self.cutoff_layers)
        return self._scores(sentence_pairs, query_max_length, max_length, normalize, prompt, options)


class LightWeightFlagLLMReranker(FlagLLMReranker):
    """FlagEmbedding's reranker for bge-reranker-v2.5-gemma2-lightweight.

    Each layer is read with its own head, and attention has its soft cap; FlagEmbedding's own scores, without either,
    come from ``Reranker`` with ``ScoreOptions(compat=True)``.
    """

    _card = "BAAI/bge-reranker-v2.5-gemma2-lightweight"

    def __init__(
        self,
        model_name_or_path: str,
        peft_path: str | None = None,
        use_fp16: bool = False,
        use_bf16: bool = False,
        query_instruction_for_rerank: str | None = "A: ",
        query_instruction_format: str = "{}{}",
        passage_instruction_for_rerank: str | None = "B: ",
        passage_instruction_format: str = "{}{}",
        cache_dir: str | None = None,
        trust_remote_code: bool = False,
        devices: Devices = None,
        cutoff_layers: Sequence[int] | None = None,
        compress_layers: Sequence[int] = (8,),
        compress_ratio: int = 1,
        prompt: str | None = None,
        batch_size: int = 128,
        query_max_length: int | None = None,
        max_length: int = 512,
        normalize: bool = False,
    ) -> None:
        super().__init__(
            model_name_or_path,
            peft_path=peft_path,
            use_fp16=use_fp16,
            use_bf16=use_bf16,
            query_instruction_for_rerank=query_instruction_for_rerank,
            query_instruction_format=query_instruction_format,
            passage_instruction_for_rerank=passage_instruction_for_rerank,
            passage_instruction_format=passage_instruction_format,
            cache_dir=cache_dir,
            trust_remote_code=trust_remote_code,
            devices=devices,
            prompt=prompt,
            batch_size=batch_size,
            query_max_length=query_max_length,
            max_length=max_length,
            normalize=normalize,
        )
        self.cutoff_layers = cutoff_layers
        self.compress_layers = compress_layers
        self.compress_ratio = compress_ratio

    def compute_score(  # type: ignore[override]  # as FlagEmbedding's differs from that of its sibling
        self,
        sentence_pairs: Pairs,
        batch_size: int | None = None,
        query_max_length: int | None = None,
        max_length: int | None = None,
        cutoff_layers: Sequence[int] | None = None,
        compress_layer: Sequence[int] | None = None,
        compress_layers: Sequence[int] | None = None,
        compress_ratio: int | None = None,
        prompt: str | None = None,
        normalize: bool | None = None,
    ) -> LayerScores:
        """Scores of pairs, in a list for each layer where several are asked for. ``compress_layer`` is an old name."""
        ratio = compress_ratio or self.compress_ratio
        chosen = compress_layer or compress_layers or self.compress_layers
        options = ScoreOptions(
            cutoff_layers=cutoff_layers or self.cutoff_layers,
            compress_layers=chosen if ratio > 1 else None,
            compress_ratio=ratio,
        )
        return self._scores(sentence_pairs, query_max_length, max_length, normalize, prompt, options)


def _written(how: tuple[str, str | None], text: str) -> str:
    template, instruction = how
    return text if instruction is None else instructed(template, instruction, text)
