"""A starter model in int8 against itself in float32, on real sentences.

Seen on a Zen 4 processor with 64 texts to calibrate on: mean cosine 0.9992, least 0.9986.
"""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

import lagotto
from lagotto import Embedder, quantize
from lagotto.core.errors import MissingDependencyError
from lagotto.models.loading import Options

MODEL = "starter:bge-small-en-v1.5"
SENTENCES = [
    "The giant panda is a bear native to south central China.",
    "Press and hold the reset button for ten seconds until the lights blink.",
    "BM25 ranks documents by term frequency and inverse document frequency.",
    "The quick brown fox jumps over the lazy dog.",
    "ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)",
    "Refunds are issued within 14 days if the goods are returned unopened.",
    "What is the boiling point of water at 3,000 metres above sea level?",
    "Interest rates were raised by 25 basis points on Wednesday.",
    "Shake well before use. Keep out of reach of children.",
    "Her new novel, set in Lisbon, was praised by critics and readers alike.",
    "It rained for three days, and the river rose above its banks.",
    "The defendant pleaded not guilty to all charges.",
    "Sourdough needs flour, water, salt and patience.",
    "https://example.org/a/very/long/path?with=query&and=more#fragment",
    "Large language models are trained to predict the next token.",
    "for (int i = 0; i < n; ++i) { total += weights[i] * values[i]; }",
    "Statins lowered LDL cholesterol by 38 % (95 % CI 34 to 42, p < 0.001).",
    "La vie est belle, and Kant’s “Kritik” is not.",
    "Q3 revenue: $4.2m; EBITDA margin 11.3 %; headcount 57.",
    "supercalifragilisticexpialidocious",
    "WARNING!!! DO NOT OPEN THE HOUSING WHILE THE MACHINE IS RUNNING",
    "She scored twice in the second half, and the match ended 3:1.",
    "Add two eggs, fold in the sugar, and bake at 180 °C for forty minutes.",
    "Entropy never decreases in an isolated system.",
]
RANDOM = random.Random(0)
TEXTS = [*SENTENCES, *(" ".join(RANDOM.sample(SENTENCES, RANDOM.randint(2, 4))) for _ in range(100))]
QUERIES = ["what is a panda?", "capital of France", "reset router", "side effects of statins in older patients"]
UNSEEN = [
    "Photosynthesis converts light energy into chemical energy.",
    "How do I reset the password of my router?",
    "In 1969, Apollo 11 landed on the Moon; Neil Armstrong stepped out first.",
    "def quicksort(items): return items if len(items) < 2 else ...",
    "naïve café Zürich, “quotes”, emoji 🐕 and ½ symbols",
    "The mitochondrion is the powerhouse of the cell.",
    "SELECT name, count(*) FROM orders GROUP BY name ORDER BY 2 DESC LIMIT 10;",
    "Two-factor authentication adds a second step to signing in.",
]


def test_bge_small_in_int8(int8_cpu: None, cache: Path, tmp_path: Path) -> None:
    try:
        lagotto.resolve(MODEL)
    except MissingDependencyError as missing:
        pytest.skip(str(missing))
    rows = [{"text": text} for text in TEXTS] + [{"query": query} for query in QUERIES]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = quantize(MODEL, tmp_path / "texts.jsonl", tmp_path / "int8", samples=64, options=Options(threads=2))
    assert report.accepted
    assert report.agreement.cosine is not None
    assert report.agreement.cosine["mean"] >= 0.998
    assert not report.converted.kept
    assert report.converted.bytes_after < 0.4 * report.converted.bytes_before
    with Embedder(MODEL, precision="f32", threads=2) as exact, Embedder(tmp_path / "int8", threads=2) as int8:
        assert int8.card.query == exact.card.query  # the instruction has come along
        for one, other in (
            (exact.encode_documents(UNSEEN), int8.encode_documents(UNSEEN)),
            (exact.encode_queries(QUERIES), int8.encode_queries(QUERIES)),
        ):
            cosines = (one.dense * other.dense).sum(axis=1)
            assert cosines.mean() >= 0.998
            assert cosines.min() >= 0.99
        short = (exact.encode(["", "e", "panda"]).dense * int8.encode(["", "e", "panda"]).dense).sum(axis=1)
        assert short.min() >= 0.99  # far from any sentence, and calibrated on all the same
        both = [model.similarity(model.encode(UNSEEN), model.encode(UNSEEN)) for model in (exact, int8)]
    assert np.abs(both[0] - both[1]).max() < 0.05
