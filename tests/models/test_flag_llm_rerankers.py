"""FlagEmbedding's classes for rerankers that are language models."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import (
    FlagAutoReranker,
    FlagLLMReranker,
    LayerWiseFlagLLMReranker,
    LightWeightFlagLLMReranker,
    ScoreOptions,
)
from lagotto.core.errors import InvalidInputError

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.adapters import write_adapter  # noqa: E402
from support.llm_rerankers import open_ranker, write_causal, write_layerwise  # noqa: E402

PAIRS = [["what is a panda", "the giant panda is a bear"], ["what is a panda", "paris"], ["where", "the river"]]

# FlagEmbedding 1.4.2, abc/inference and inference/reranker/decoder_only: what a call takes, in order.
CALLS: dict[Any, list[str]] = {
    FlagLLMReranker: ["prompt", "normalize", "use_dataloader", "num_workers"],
    LayerWiseFlagLLMReranker: ["cutoff_layers", "prompt", "normalize", "use_dataloader", "num_workers"],
    LightWeightFlagLLMReranker: [
        *("cutoff_layers", "compress_layer", "compress_layers", "compress_ratio", "prompt", "normalize"),
    ],
}


@pytest.mark.parametrize("kind", CALLS)
def test_calls_take_what_flagembeddings_take(kind: Any) -> None:
    found = list(inspect.signature(kind.compute_score).parameters)
    assert found == ["self", "sentence_pairs", "batch_size", "query_max_length", "max_length", *CALLS[kind]]


COMMON = [
    *("self", "model_name_or_path", "peft_path", "use_fp16", "use_bf16", "query_instruction_for_rerank"),
    *("query_instruction_format", "passage_instruction_for_rerank", "passage_instruction_format", "cache_dir"),
    *("trust_remote_code", "devices"),
]
OPENED: dict[Any, list[str]] = {
    FlagLLMReranker: [],
    LayerWiseFlagLLMReranker: ["cutoff_layers"],
    LightWeightFlagLLMReranker: ["cutoff_layers", "compress_layers", "compress_ratio"],
}


@pytest.mark.parametrize("kind", OPENED)
def test_they_are_opened_with_what_flagembeddings_are(kind: Any) -> None:
    found = list(inspect.signature(kind).parameters)
    last = ["prompt", "batch_size", "query_max_length", "max_length", "normalize"]
    assert ["self", *found] == [*COMMON, *OPENED[kind], *last]


def test_scores_are_those_of_the_library(tmp_path: Path) -> None:
    folder = write_causal(tmp_path / "bge-reranker-v2-gemma", "gemma")
    with open_ranker(folder, "gemma") as ranker:
        expected = ranker.score(PAIRS)
        asked = ranker.score(PAIRS, options=ScoreOptions(prompt="Is it?"), normalize=True)
    flag = FlagLLMReranker(str(folder))
    assert np.allclose(flag.compute_score(PAIRS), expected.scores, atol=1e-5)
    assert np.allclose(flag.compute_score(PAIRS[0]), [expected[0]], atol=1e-5)
    assert np.allclose(flag.compute_score(PAIRS, prompt="Is it?", normalize=True), asked.scores, atol=1e-5)
    bare = FlagLLMReranker(str(folder), query_instruction_for_rerank=None, passage_instruction_for_rerank=None)
    written = [[f"A: {query}", f"B: {passage}"] for query, passage in PAIRS]
    assert np.allclose(bare.compute_score(written), expected.scores, atol=1e-5)
    flag.stop_self_pool()
    bare.stop_self_pool()


def test_several_layers_give_a_list_each(tmp_path: Path) -> None:
    layerwise = LayerWiseFlagLLMReranker(str(write_layerwise(tmp_path / "layerwise", "minicpm")), cutoff_layers=[2, 4])
    found = layerwise.compute_score(PAIRS)
    assert np.array(found).shape == (2, 3)
    assert np.allclose(layerwise.compute_score(PAIRS, cutoff_layers=[4]), found[1], atol=1e-6)
    light = LightWeightFlagLLMReranker(
        str(write_layerwise(tmp_path / "light", "cost_wise_gemma")), compress_layers=[2], compress_ratio=2
    )
    shorter, plain = light.compute_score(PAIRS), light.compute_score(PAIRS, compress_ratio=1)
    assert np.array(shorter).shape == (3,)
    assert not np.allclose(shorter[:1], plain[:1], atol=1e-4)
    assert light.compute_score(PAIRS, compress_layer=[2]) == shorter
    with pytest.raises(InvalidInputError, match="allows layers 1 to 4"):
        light.compute_score(PAIRS, cutoff_layers=[9])


@pytest.mark.parametrize(
    ("name", "architecture", "kind"),
    [
        ("bge-reranker-v2-gemma", "gemma", FlagLLMReranker),
        ("bge-reranker-v2-minicpm-layerwise", "minicpm", LayerWiseFlagLLMReranker),
        ("bge-reranker-v2.5-gemma2-lightweight", "cost_wise_gemma", LightWeightFlagLLMReranker),
    ],
)
def test_a_listed_name_chooses_the_class(name: str, architecture: str, kind: Any, tmp_path: Path) -> None:
    write = write_causal if architecture == "gemma" else write_layerwise
    opened = FlagAutoReranker.from_finetuned(str(write(tmp_path / name, architecture)))
    assert type(opened) is kind
    opened.stop_self_pool()


def test_a_class_may_be_named(tmp_path: Path) -> None:
    folder = write_layerwise(tmp_path / "mine", "minicpm")
    opened = FlagAutoReranker.from_finetuned(str(folder), "decoder-only-layerwise", cutoff_layers=[3])
    assert isinstance(opened, LayerWiseFlagLLMReranker)
    assert opened.cutoff_layers == [3]


@pytest.mark.parametrize(
    ("kind", "architecture"),
    [
        (FlagLLMReranker, "gemma"),
        (LayerWiseFlagLLMReranker, "minicpm"),
        (LightWeightFlagLLMReranker, "cost_wise_gemma"),
    ],
)
def test_adapters_are_merged(kind: Any, architecture: str, tmp_path: Path) -> None:
    write = write_causal if architecture == "gemma" else write_layerwise
    base = write(tmp_path / "base", architecture)
    adapter = write_adapter(tmp_path / "adapter", str(base), {"model.layers.1.self_attn.v_proj": (16, 32)})
    plain, adapted = (kind(str(base), peft_path=path, normalize=True) for path in (None, str(adapter)))
    expected = open_ranker(base, architecture, adapter=adapter).score(
        [(f"A: {query}", f"B: {passage}") for query, passage in PAIRS],
        max_windows=1,
        normalize=True,
        options=ScoreOptions(instruction="", document_instruction=""),
    )
    found = adapted.compute_score(PAIRS)
    assert np.allclose(found, expected.scores, atol=1e-5)
    assert not np.allclose(found, plain.compute_score(PAIRS), atol=1e-3)
