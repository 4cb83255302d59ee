"""Pipelines as data: what makes a system, what it asks of models, and how it is described."""

from __future__ import annotations

import pytest

from lagotto.core.errors import ConfigError
from lagotto.evaluation.pipeline import (
    Bm25Leg,
    DenseLeg,
    Encoder,
    Fusion,
    MultiVectorLeg,
    Rerank,
    Rescore,
    SparseLeg,
    System,
)


def test_systems_made_in_python_are_checked_too():
    with pytest.raises(ConfigError, match=r"system 'x' has no \[\[system\.leg\]\]"):
        System("x", ())
    with pytest.raises(ConfigError, match="a system has no name"):
        System("", (Bm25Leg(),))
    with pytest.raises(ConfigError, match="system 'x': quantization is 'f8'"):
        System("x", (DenseLeg("m", quantization="f8"),))
    with pytest.raises(ConfigError, match="system 'x': top_k is True"):
        System("x", (Bm25Leg(),), top_k=True)
    with pytest.raises(ConfigError, match="system 'x': fusion method is 'rff'"):
        System("x", (Bm25Leg(), Bm25Leg()), Fusion("rff"))


def test_the_embedder_of_a_system_that_is_nothing_else():
    leg = DenseLeg("m", dimensions=8)
    assert System("x", (leg,)).embedder is leg
    assert System("x", (Bm25Leg(),)).embedder is None
    assert System("x", (leg,), rerank=Rerank("r")).embedder is None
    assert System("x", (leg, leg), Fusion()).embedder is None
    assert System("x", (leg,), rescore=Rescore("m")).embedder is None
    assert System("x", (SparseLeg("m"),)).embedder is None
    assert System("x", (), rerank=Rerank("r")).embedder is None


def test_the_models_of_a_system():
    legs = (DenseLeg("b"), Bm25Leg(), DenseLeg("a"), DenseLeg("b", dimensions=8))
    assert System("x", legs, Fusion(), Rerank("r")).models == ("b", "a", "r")
    assert System("x", (Bm25Leg(),)).models == ()
    rescored = System("x", (SparseLeg("s"), MultiVectorLeg("c")), Fusion(), Rerank("r"), rescore=Rescore("m"))
    assert rescored.models == ("s", "c", "m", "r")


def test_the_embedder_of_a_part_is_what_it_shares_with_others():
    told = {"query_prompt": "q", "document_prompt": "", "max_length": 9, "card": "c"}
    dense = DenseLeg("m", **told, dimensions=8, quantization="int8")
    assert dense.encoder == Encoder("m", **told)
    assert dense.encoder == SparseLeg("m", **told).encoder == Rescore("m", **told, top_k=5).encoder
    assert dense.encoder != SparseLeg("m", **{**told, "max_length": 8}).encoder
    assert SparseLeg("m") != MultiVectorLeg("m")


def test_rescoring_asks_for_what_has_weight():
    assert Rescore("m").outputs == {"dense", "sparse", "multivector"}
    assert Rescore("m", weights=(0, 0, 1)).outputs == {"multivector"}
    assert Rescore("m", weights=(0.2, 0.8, 0)).outputs == {"dense", "sparse"}


def test_a_description_says_what_a_file_would_and_no_more():
    assert System("x", (Bm25Leg(),)).describe() == {
        "top_k": 1000,
        "leg": [{"type": "bm25", "language": "auto", "k1": 1.2, "b": 0.75}],
    }
    parts = (DenseLeg("m"), Bm25Leg()), Fusion(weights=(1, 2)), Rerank("r"), 1000, Rescore("m")
    described = System("x", *parts).describe()
    assert described["rescore"] == {"model": "m", "weights": (0.4, 0.2, 0.4), "top_k": 200}
    assert described["leg"][0] == {"type": "dense", "model": "m", "quantization": "f32", "rescore": 0}
    assert described["fusion"] == {"method": "rrf", "weights": (1, 2), "rrf_k": 60, "scaling": "min_max"}
    assert described["rerank"] == {"model": "r", "top_k": 100, "max_windows": 10}
