"""Turn weights in other people's file formats into ordinary checkpoint folders."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lagotto.cards.starter_convert import e5_q4, llama_gguf, onnx_bert, splade_bert
from lagotto.cards.starter_convert.folder import Recipe


@dataclass(frozen=True, slots=True)
class Converter:
    """One source format: the files by role go in, a checkpoint folder comes out."""

    convert: Callable[[Mapping[str, Path], Path, Recipe], None]
    version: int


CONVERTERS: Mapping[str, Converter] = {
    "onnx_bert": Converter(onnx_bert.convert, onnx_bert.VERSION),
    "e5_q4": Converter(e5_q4.convert, e5_q4.VERSION),
    "llama_gguf": Converter(llama_gguf.convert, llama_gguf.VERSION),
    "splade_bert": Converter(splade_bert.convert, splade_bert.VERSION),
}

__all__ = ["CONVERTERS", "Converter", "Recipe"]
