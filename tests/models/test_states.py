"""`Embedder.encode_states`: the last hidden states of every token; and what models say they give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Windows
from lagotto.core.errors import InvalidInputError, TextTooLongError
from support.checkpoints import XLMR, some_texts, write_m3, write_modules

TEXTS = [text or "a" for text in some_texts(30, seed=3)]
LONG = "panda " * 100


def test_states_are_what_the_model_pools(embedder: Embedder) -> None:
    found, pooled = embedder.encode_states(TEXTS), embedder.encode(TEXTS, normalize=False)
    assert found.multivector is not None
    assert [len(states) for states in found.multivector] == pooled.tokens.tolist() == found.tokens.tolist()
    cls = np.stack([states[0] for states in found.multivector])
    np.testing.assert_allclose(cls, pooled.dense, atol=1e-4)
    assert found.dense.shape == (len(TEXTS), 0)


def test_states_may_have_unit_length(embedder: Embedder) -> None:
    plain, unit = (embedder.encode_states(TEXTS, normalize=wish).multivector for wish in (False, True))
    assert plain is not None
    assert unit is not None
    lengths = np.linalg.norm(plain.vectors, axis=1, keepdims=True)
    np.testing.assert_allclose(unit.vectors, plain.vectors / lengths, atol=1e-5)


def test_wording_and_length_are_those_of_encode(embedder: Embedder) -> None:
    found = embedder.encode_states(["a dog", LONG], prompt="the ", max_length=10, truncation="left")
    expected = embedder.encode(["a dog", LONG], prompt="the ", max_length=10, truncation="left")
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert found.truncated.tolist() == [False, True]
    assert embedder.encode_states("a dog").tokens.tolist() == [4]
    assert len(embedder.encode_states([])) == 0


def test_windows_have_no_states_of_one_text(embedder: Embedder) -> None:
    with pytest.raises(InvalidInputError, match="truncation"):
        embedder.encode_states(LONG, truncation=Windows())  # type: ignore[arg-type]
    with pytest.raises(TextTooLongError):
        embedder.encode_states(LONG, truncation="error")


def test_a_model_says_what_it_gives(embedder: Embedder, tmp_path: Path, cache: Path) -> None:
    assert embedder.outputs == ("dense",)
    folder = write_m3(tmp_path / "m3")
    write_modules(folder, XLMR)
    with Embedder(folder, precision="f32", threads=2) as model:
        assert model.outputs == ("dense", "sparse", "multivector")


def test_the_tokenizer_is_the_models_own(embedder: Embedder) -> None:
    assert [token.text for token in embedder.tokenizer.tokenize("a dog")] == ["[CLS]", "a", "dog", "[SEP]"]
