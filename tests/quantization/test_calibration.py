"""What is calibrated on, and what is kept apart to compare by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lagotto.models.loading import Options
from lagotto.quantization.calibration import SHORT, Pairs, Texts, read_calibration
from support.calibration import write_pairs, write_texts
from support.checkpoints import BERT, write_embedder
from support.engines import checkpoint_of, tokenizer_of


@pytest.mark.parametrize(
    ("number", "samples", "used", "others"), [(128, 32, 32, 32), (128, 256, 64, 64), (41, 32, 21, 20)]
)
def test_texts_that_are_compared_were_not_calibrated_on(
    tmp_path: Path, number: int, samples: int, used: int, others: int
) -> None:
    texts = read_calibration("embed", write_texts(tmp_path / "texts.jsonl", number), samples)
    pairs = read_calibration("rerank", write_pairs(tmp_path / "pairs.jsonl", number), samples)
    assert isinstance(texts, Texts)
    assert isinstance(pairs, Pairs)
    for found in (texts, pairs):
        assert (len(found.used), len(found.others)) == (used, others)
        assert not set(found.used) & set(found.others)


def test_texts_are_read_as_the_card_writes_them_and_short_ones_besides(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, prompts={"query": "find: ", "document": ""})
    checkpoint = checkpoint_of(folder)
    tokenizer = tokenizer_of(checkpoint)
    rows = [f"panda {number} bear" for number in range(40)]
    (tmp_path / "q.csv").write_text("query\n" + "".join(f"{row}\n" for row in rows))
    found = read_calibration("embed", tmp_path / "q.csv", 32)
    sequences = found.sequences(tokenizer, checkpoint.card, 64)
    read = [tokenizer.decode(ids.tolist()) for ids in sequences.ids]
    assert len(read) == 20 + SHORT + 1
    assert read[0].startswith("[CLS] find : panda")
    assert read[-2] == "[CLS] find : panda [SEP]"
    assert read[-1] == "[CLS] [SEP]"


def test_pairs_are_read_together_and_cut(tmp_path: Path, tiny_reranker: Path, pairs_file: Path) -> None:
    checkpoint = checkpoint_of(tiny_reranker, "rerank")
    sequences = read_calibration("rerank", pairs_file, 32).sequences(tokenizer_of(checkpoint), checkpoint.card, 16)
    assert len(sequences) == 32 + SHORT + 1
    assert max(sequences.lengths()) == 16
    assert all(second < length for second, length in zip(sequences.second, sequences.lengths(), strict=True))


def test_values_are_a_models_own(tiny_bert: Path, tiny_reranker: Path, texts_file: Path, pairs_file: Path) -> None:
    options = Options(precision="f32", threads=1)
    vectors, fingerprint = read_calibration("embed", texts_file, 32).values(tiny_bert, options)
    assert vectors.shape == (32, 32)
    assert len(fingerprint) == 32
    scores, _ = read_calibration("rerank", pairs_file, 32).values(tiny_reranker, options)
    assert scores.shape == (32,)
    assert np.isfinite(scores).all()
