"""A language model that reranks, in a pipeline: its options decide its scores, and what of them is kept."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lagotto import ScoreOptions
from lagotto.evaluation.pipeline import Rerank
from lagotto.evaluation.store import VectorStore

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from support.adapters import write_adapter  # noqa: E402
from support.llm_rerankers import CARDS, open_ranker, write_layerwise  # noqa: E402

PAIRS = [("what is a panda", text) for text in ("the giant panda is a bear", "paris is a city of france", "dog")]


def test_scores_are_kept_by_their_options(tmp_path: Path) -> None:
    store = VectorStore(tmp_path / "store")
    with open_ranker(write_layerwise(tmp_path / "light", "cost_wise_gemma"), "cost_wise_gemma") as ranker:
        for rerank in (Rerank("light"), Rerank("light", cutoff_layer=2), Rerank("light", compress_ratio=2)):
            kept = store.score(ranker, PAIRS, options=rerank.options).values().reshape(-1)
            assert kept.tolist() == ranker.score(PAIRS, options=rerank.options).scores.tolist()
    assert len(list((tmp_path / "store").rglob("*.npz"))) == 3


def test_an_adapted_reranker_is_a_model_of_its_own(bench, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = write_layerwise(tmp_path / "light", "cost_wise_gemma")
    adapter = write_adapter(tmp_path / "adapter", str(folder), {"model.layers.0.self_attn.q_proj": (32, 32)})
    plain = Rerank(str(folder), card=CARDS["cost_wise_gemma"], precision="f32")
    base, adapted = bench.reranker(plain), bench.reranker(replace(plain, adapter=str(adapter)))
    assert base.fingerprint != adapted.fingerprint
    assert base.score(PAIRS).scores.tolist() != adapted.score(PAIRS).scores.tolist()
    assert bench.reranker(replace(plain, top_k=7)) is base


def test_a_pipelines_table_says_the_options() -> None:
    rerank = Rerank("m", cutoff_layer=28, compress_layers=(24,), compress_ratio=2, instruction="Find", prompt="Is it?")
    assert rerank.options == ScoreOptions(
        cutoff_layers=28, compress_layers=(24,), compress_ratio=2, instruction="Find", prompt="Is it?"
    )
    assert Rerank("m").options.given() == ()
