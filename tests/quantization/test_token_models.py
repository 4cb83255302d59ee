"""int8 twins of models without a dense vector: they are held to their originals by the scores between texts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lagotto import Embedder
from lagotto.core.hardware import supports_int8
from lagotto.models.loading import Options
from lagotto.quantization.quantize import quantize
from support.checkpoints import some_texts
from support.collection import write_collection
from support.token_models import write_colbert, write_splade

pytestmark = pytest.mark.skipif(not supports_int8(), reason="this CPU multiplies no int8")


@pytest.mark.parametrize("write", [write_splade, write_colbert])
def test_scores_between_texts_are_compared(tmp_path: Path, cache: Path, write: Callable[[Path], Path]) -> None:
    texts = [text for text in some_texts(100, seed=5, longest=20) if text.strip()]
    rows = [{"query" if number % 3 == 0 else "text": text} for number, text in enumerate(texts)]
    (tmp_path / "texts.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report = quantize(
        write(tmp_path / "original"),
        tmp_path / "texts.jsonl",
        tmp_path / "int8",
        evaluate_on=write_collection(tmp_path / "mini"),
        samples=40,
        options=Options(threads=1),
        force=True,
    )
    assert report.agreement.cosine is None
    assert report.agreement.items == 40 * 39 // 2
    assert report.agreement.spearman > 0.98
    assert report.quality[0].original > 0
    with Embedder(tmp_path / "int8", threads=1) as model:
        assert model.engine.precision == "int8"
        assert model.encode_queries(texts[:2]).tokens.any()
