"""What goes into linear layers, against the hidden states that transformers has there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lagotto.batch.sequences import Batch, Sequences, pad
from lagotto.cards.checkpoint import Checkpoint
from lagotto.engines.openvino.observed import Observed, observe
from support.calibration import texts
from support.checkpoints import BERT
from support.engines import checkpoint_of, encode, tokenizer_of

PARTS = ("attention.self.query", "attention.output.dense", "intermediate.dense", "output.dense")


def alone(sequences: Sequences, checkpoint: Checkpoint) -> list[Batch]:
    return [pad(sequences, [row], checkpoint.config.pad_token_id) for row in range(len(sequences))]


def observed(folder: Path, rows: int = 64) -> list[Observed]:
    checkpoint = checkpoint_of(folder)
    return observe(checkpoint, alone(encode(folder, texts(8)), checkpoint), 1, rows=rows)


@pytest.mark.parametrize("model", ["tiny_bert", "tiny_xlmr"])
def test_extremes_are_those_of_transformers(model: str, request: pytest.FixtureRequest) -> None:
    from support.reference import open_reference

    folder = request.getfixturevalue(model)
    reference = open_reference(folder, 64)
    seen: dict[str, list[np.ndarray]] = {}
    for name, module in reference.model.named_modules():
        if name.startswith("encoder.layer.") and name.endswith(PARTS):

            def keep(_: object, given: tuple, name: str = name) -> None:
                seen.setdefault(name, []).append(np.abs(given[0][0].numpy()).max(axis=0))

            module.register_forward_pre_hook(keep)
    for text in texts(8):
        reference.hidden([text])
    found = observed(folder)
    assert [group.layers[0] for group in found] == [f"encoder.layer.{n}.{part}" for n in range(2) for part in PARTS]
    for group in found:
        np.testing.assert_allclose(group.largest, np.max(seen[group.layers[0]], axis=0), atol=1e-4)


def test_layers_with_one_input_stand_together(tiny_bert: Path) -> None:
    first = observed(tiny_bert)[0]
    names = [f"encoder.layer.0.attention.self.{part}" for part in ("query", "key", "value")]
    assert list(first.layers) == names


def test_rows_are_taken_evenly_and_are_within_the_extremes(tiny_bert: Path) -> None:
    lengths = encode(tiny_bert, texts(8)).lengths()
    for group in observed(tiny_bert, rows=16):
        assert len(group.rows) == sum(min(2, length) for length in lengths)
        assert (np.abs(group.rows.astype(np.float32)) <= group.largest * 1.001).all()


def test_a_rerankers_last_layer_is_seen_as_it_is_computed(tiny_reranker: Path) -> None:
    checkpoint = checkpoint_of(tiny_reranker, "rerank")
    pairs = list(zip(texts(6), texts(6, seed=4), strict=True))
    batches = alone(tokenizer_of(checkpoint).encode_pairs(pairs, 64), checkpoint)
    counted: list[int] = []
    found = observe(checkpoint, batches, 1, done=counted.append)
    assert sum(counted) == 6
    named = [layer for group in found for layer in group.layers]
    assert len(named) == len(set(named)) == 6 * BERT.layers
    assert all(layer.startswith("bert.encoder.layer.") for layer in named)
    query = next(group for group in found if "bert.encoder.layer.1.attention.self.query" in group.layers)
    assert query.layers == ("bert.encoder.layer.1.attention.self.query",)  # of the first token alone
    assert len(query.rows) == 6
