"""Sizes and switches of language models, read from config.json."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lagotto.cards.decoder_config import DecoderConfig, decoder_config
from lagotto.cards.llm_rerankers import allowed_layers, folder_options
from lagotto.cards.registry import find_card
from lagotto.core.errors import CheckpointError, UnsupportedModelError

SIZES = {
    "vocab_size": 100,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
}


def read(architecture: str, **changes: Any) -> DecoderConfig:
    given = {**SIZES, "model_type": architecture, **changes}
    return decoder_config(json.loads(json.dumps(given)), Path("model"))


def test_defaults_are_those_of_the_architecture() -> None:
    gemma2 = read("gemma2")
    assert (gemma2.head_dim, gemma2.attention_scale, gemma2.embedding_scale) == (256, 1 / 16, 8.0)
    assert (gemma2.attention_softcap, gemma2.logit_softcap, gemma2.tied) == (50.0, 30.0, True)
    assert gemma2.windows == (4096, None, 4096, None)
    assert read("mistral").windows == (4096,) * 4
    assert read("qwen2").windows == (None,) * 4
    assert (read("qwen2").qkv_bias, read("qwen2").output_bias, read("qwen3").qkv_bias) == (True, False, False)
    assert read("llama", attention_bias=True).output_bias
    minicpm = read("minicpm", scale_emb=12, scale_depth=1.4)
    assert (minicpm.embedding_scale, minicpm.residual_scale, minicpm.head_dim) == (12.0, 0.7, 16)


def test_null_switches_off_what_is_on_by_default() -> None:
    off = read("cost_wise_gemma", attn_logit_softcapping=None, final_logit_softcapping=None, sliding_window=None)
    assert (off.attention_softcap, off.logit_softcap, off.windows) == (None, None, (None,) * 4)


def test_rotary_positions_of_either_release() -> None:
    assert read("llama", rope_theta=5e5).rotary.theta == 5e5
    assert read("llama", rope_parameters={"rope_type": "default", "rope_theta": 7.0}).rotary.theta == 7.0
    assert read("llama", rope_scaling={"type": "linear", "factor": 4.0}).rotary.factor == 4.0
    for told in ({"type": "dynamic", "factor": 2.0}, {"rope_type": "yarn", "factor": 2.0}):
        with pytest.raises(UnsupportedModelError, match="default, linear and llama3 are supported"):
            read("minicpm", rope_scaling=told)
    with pytest.raises(UnsupportedModelError, match="partial rotary"):
        read("llama", partial_rotary_factor=0.5)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden_size": None}, "'hidden_size' is missing"),
        ({"hidden_size": "wide"}, "a size is not a number"),
        ({"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        ({"num_key_value_heads": 3}, "not a multiple of num_key_value_heads 3"),
        (
            {"layer_types": ["sliding_attention"], "sliding_window": 4, "use_sliding_window": True},
            "1 layer_types",
        ),
    ],
)
def test_what_makes_no_sense_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(CheckpointError, match=said):
        read("qwen3", **changes)


def test_what_is_not_computed_here_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="'phi' are not computed here"):
        read("phi")
    with pytest.raises(UnsupportedModelError, match="activation 'relu' is not supported"):
        read("llama", hidden_act="relu")


def test_a_folder_says_which_layers_have_heads() -> None:
    card = find_card("BAAI/bge-reranker-v2.5-gemma2-lightweight")
    assert card is not None
    assert allowed_layers(card) == tuple(range(8, 43))
    changed = card.with_changes(
        options=folder_options(card, {"num_hidden_layers": 9, "start_layer": 3, "layer_sep": 2}, Path("model"))
    )
    assert allowed_layers(changed) == (3, 5, 7, 9)
    assert (changed.options["cutoff_layers"], changed.options["compress_layers"]) == ([9], [8])
    gemma = find_card("BAAI/bge-reranker-v2-gemma")
    assert gemma is not None
    assert allowed_layers(gemma) == ()
    assert folder_options(gemma, {}, Path("model")) is gemma.options


@pytest.mark.parametrize(
    ("raw", "kind", "said"),
    [
        ({"head_type": "raw"}, UnsupportedModelError, "head_type 'raw'"),
        ({"head_multi": False}, UnsupportedModelError, "head_multi False"),
        ({"layer_wise": False}, UnsupportedModelError, "layer_wise False"),
        ({"num_hidden_layers": "x"}, CheckpointError, "num_hidden_layers, start_layer, layer_sep"),
        ({"start_layer": 9}, CheckpointError, "start_layer 9 and layer_sep 1 do not fit 4 layers"),
    ],
)
def test_heads_of_another_kind_are_refused(raw: dict[str, Any], kind: type[Exception], said: str) -> None:
    card = find_card("BAAI/bge-reranker-v2-minicpm-layerwise")
    assert card is not None
    with pytest.raises(kind, match=said):
        folder_options(card, {"num_hidden_layers": 4, "start_layer": 1, **raw}, Path("model"))
