"""The turns of rotary positions, against transformers' own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto.cards.decoder_config import Rotary, decoder_config
from lagotto.cards.rotary import frequencies

SIZES = {
    "model_type": "llama",
    "vocab_size": 9,
    "hidden_size": 256,
    "intermediate_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
}
LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


@pytest.mark.parametrize(
    "told",
    [{"rope_type": "default"}, {"rope_type": "linear", "factor": 4.0}, LLAMA3],
    ids=lambda told: told["rope_type"],
)
@pytest.mark.parametrize("theta", [500.0, 10_000.0, 500_000.0, 1e6])
def test_turns_are_those_of_transformers(told: dict[str, Any], theta: float) -> None:
    pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    given = {**SIZES, "rope_parameters": {**told, "rope_theta": theta}}
    expected = LlamaRotaryEmbedding(transformers.LlamaConfig(**given)).inv_freq.numpy()
    found = frequencies(decoder_config(given, Path("model")).rotary, 128)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=3e-7)


def test_slow_turns_are_slowed_and_fast_ones_kept() -> None:
    plain = frequencies(Rotary(theta=500_000.0), 128)
    scaled = frequencies(Rotary(theta=500_000.0, factor=32.0, low=1.0, high=4.0, original=8192), 128)
    assert scaled[0] == plain[0] == 1.0
    np.testing.assert_allclose(scaled[-1] * 32, plain[-1], rtol=1e-6)
    assert (np.diff(scaled) < 0).all()
