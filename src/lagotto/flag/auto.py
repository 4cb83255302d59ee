"""`FlagAutoModel`: the class that goes with an embedder's listed name."""

from __future__ import annotations

from typing import Any

from lagotto.cards.architectures import DECODERS
from lagotto.cards.checkpoint import check_runs
from lagotto.cards.schema import ModelCard, Pooling
from lagotto.core.errors import InvalidInputError, UnsupportedModelError
from lagotto.flag.encoders import _ENCODERS, FlagModel, _check_class, _check_class_is_here, _listed
from lagotto.flag.llm import FlagICLModel, FlagLLMModel
from lagotto.flag.m3 import BGEM3FlagModel
from lagotto.flag.shared import Devices

_M3 = "encoder-only-m3"
_LLM = "decoder-only-base"
_ICL = "decoder-only-icl"
_EMBEDDERS = (_ENCODERS, _M3, _LLM, _ICL)
_PSEUDO_MOE = "decoder-only-pseudo_moe"


class FlagAutoModel:
    """Opens a listed model with its own pooling and query format: ``FlagAutoModel.from_finetuned(...)``."""

    def __init__(self) -> None:
        raise OSError("use FlagAutoModel.from_finetuned(model_name_or_path)")

    @classmethod
    def from_finetuned(
        cls,
        model_name_or_path: str,
        model_class: str | None = None,
        normalize_embeddings: bool = True,
        use_fp16: bool = True,
        use_bf16: bool = False,
        query_instruction_for_retrieval: str | None = None,
        devices: Devices = None,
        pooling_method: Pooling | None = None,
        trust_remote_code: bool | None = None,
        query_instruction_format: str | None = None,
        truncate_dim: int | None = None,
        **kwargs: Any,
    ) -> FlagModel | FlagLLMModel | FlagICLModel | BGEM3FlagModel:
        """The model of that name (the last part of the path counts), or of ``model_class`` for an unlisted one.

        Raises `InvalidInputError` for a name that is not listed, `UnsupportedModelError` for one that does not
        run here.
        """
        if model_class is None:
            card = _listed(model_name_or_path)
            model_class = _class_of(card)
            pooling_method = pooling_method or card.pooling
            query_instruction_format = query_instruction_format or _positional(card.query.format)
        elif model_class == _PSEUDO_MOE:
            raise UnsupportedModelError(
                f"model_class {_PSEUDO_MOE!r} is for checkpoints whose domains (general, coding, reasoning) are chosen "
                "by code of their own; such code is never run here. For a reasoning or coding embedder take "
                "BAAI/bge-reasoner-embed-qwen3-8b-0923 or BAAI/bge-code-v1"
            )
        else:
            _check_class(model_class, _EMBEDDERS)
        if query_instruction_format is not None or model_class in (_ENCODERS, _M3):
            kwargs["query_instruction_format"] = query_instruction_format or "{}{}"
        if model_class in (_ENCODERS, _M3):
            kwargs["pooling_method"] = pooling_method or "cls"
        elif pooling_method not in (None, "last_token"):
            raise InvalidInputError(f"pooling_method is {pooling_method!r}; language models have 'last_token'")
        opened: FlagModel | FlagLLMModel | FlagICLModel | BGEM3FlagModel = _CLASSES[model_class](
            model_name_or_path,
            normalize_embeddings=normalize_embeddings,
            use_fp16=use_fp16,
            use_bf16=use_bf16,
            query_instruction_for_retrieval=query_instruction_for_retrieval,
            devices=devices,
            trust_remote_code=bool(trust_remote_code),
            truncate_dim=truncate_dim,
            **kwargs,
        )
        return opened


_CLASSES: dict[str, Any] = {_ENCODERS: FlagModel, _M3: BGEM3FlagModel, _LLM: FlagLLMModel, _ICL: FlagICLModel}


def _class_of(card: ModelCard) -> str:
    """The ``model_class`` of a listed embedder. Raises `UnsupportedModelError` for one that comes later."""
    if card.architecture in DECODERS and card.pooling == "last_token":
        check_runs(card)
        return _ICL if "example_format" in card.options else _LLM
    _check_class_is_here(card)
    return _M3 if {"dense", "sparse"} <= set(card.heads) else _ENCODERS


def _positional(template: str) -> str:
    return template.replace("{instruction}", "{}").replace("{text}", "{}")
