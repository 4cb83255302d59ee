"""A language model that reranks, in a pipeline: its options decide its scores, and what of them is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from lagotto import ScoreOptions
from lagotto.evaluation.pipeline import Rerank
from lagotto.evaluation.store import VectorStore

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.llm_rerankers import open_ranker, write_layerwise  # noqa: E402

PAIRS = [("what is a panda", text) for text in ("the giant panda is a bear", "paris is a city of france", "dog")]


def test_scores_are_kept_by_their_options(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "store")
    with open_ranker(write_layerwise(tmp_path / "light", "cost_wise_gemma"), "cost_wise_gemma") as ranker:
        for rerank in (Rerank("light"), Rerank("light", cutoff_layer=2), Rerank("light", compress_ratio=2)):
            kept = store.score(ranker, PAIRS, options=rerank.options).values().reshape(-1)
            assert kept.tolist() == ranker.score(PAIRS, options=rerank.options).scores.tolist()
    assert len(list((tmp_path / "store").rglob("*.npz"))) == 3


def test_a_pipelines_table_says_the_options() -> None:
    rerank = Rerank("m", cutoff_layer=28, compress_layers=(24,), compress_ratio=2, instruction="Find", prompt="Is it?")
    assert rerank.options == ScoreOptions(
        cutoff_layers=28, compress_layers=(24,), compress_ratio=2, instruction="Find", prompt="Is it?"
    )
    assert Rerank("m").options.given() == ()
