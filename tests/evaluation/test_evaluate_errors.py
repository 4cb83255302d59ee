"""`evaluate`: what is wrong is said before work starts, and whatever happens the models are closed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import ConfigError, InvalidInputError, ModelNotFoundError
from lagotto.evaluation.datasets.corpus import ListCorpus
from lagotto.evaluation.datasets.open import MtebTask
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Rerank, System
from support.collection import (
    bitext,
    candidates,
    collection,
    same_or_not,
    sts,
)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        ({"measures": ["ndgc@10"]}, InvalidInputError, "measure 'ndgc@10' is not known"),
        ({"measures": ["answer_recall@5"]}, InvalidInputError, "answer_recall@5 can't be measured on 'mini'"),
        ({"baseline": "other"}, InvalidInputError, "baseline 'other' is none of the systems: 'tiny-bert'"),
        ({"quantization": ["int4"]}, InvalidInputError, "quantization is 'int4'"),
        ({"top_k": 0}, ConfigError, "top_k is 0"),
        ({"dimensions": [0]}, ConfigError, "dimensions is 0"),
        ({"data": []}, InvalidInputError, "no data set was given"),
        ({"data": "nonsense"}, InvalidInputError, "nonsense"),
        ({"data": "./nonsense"}, InvalidInputError, "no such file or folder"),
        ({"data": Path("nonsense")}, InvalidInputError, "no such file or folder"),
        ({"data": [collection(), collection()]}, InvalidInputError, "two data sets are called"),
        ({"pipeline": [System("tiny-bert", (Bm25Leg(),))]}, InvalidInputError, "two systems are called 'tiny-bert'"),
        ({"data": collection(measures=("ndgc@10",))}, InvalidInputError, "measure 'ndgc@10' is not known"),
        ({"data": collection(queries={})}, InvalidInputError, "40 documents and 0 queries"),
        ({"data": collection(qrels={"other": {"d1": 1}})}, InvalidInputError, "40 documents and 0 queries"),
        ({"data": collection(corpus=ListCorpus({}))}, InvalidInputError, "0 documents and 8 queries"),
        ({"data": replace(sts(), gold=(1.0,))}, InvalidInputError, "24 left texts, 24 right ones, 1 values"),
        ({"data": replace(bitext(), right=("a",))}, InvalidInputError, "24 left texts, 1 right ones, 24 values"),
        ({"data": replace(candidates(), candidates=())}, InvalidInputError, "0 left texts"),
        ({"data": replace(same_or_not(), gold=(0.0,) * 24)}, InvalidInputError, "labels must be 1"),
    ],
)
def test_errors_before_a_model_is_opened(go, data, tiny_bert, tmp_path, counts, call, error, message):
    told = {"data": data, "model": tiny_bert, "out": tmp_path / "out"} | call
    with pytest.raises(error, match=message):
        go(told.pop("data"), **told)
    assert not counts.opened


@pytest.mark.parametrize("more", [{"top_k": 5}, {"rerank_top_k": 5}, {"language": "en"}])
def test_what_a_pipeline_says_itself_is_not_said_again(go, data, more):
    with pytest.raises(InvalidInputError, match="a pipeline file says its own"):
        go(data, pipeline=[System("mine", (Bm25Leg(),))], **more)


@pytest.mark.parametrize("more", [{"dimensions": [8]}, {"quantization": ["int8"]}, {"hybrid": True}])
@pytest.mark.parametrize("pipeline", [(), [System("mine", (Bm25Leg(),))]])
def test_what_is_for_models_needs_one(go, data, more, pipeline):
    with pytest.raises(InvalidInputError, match="name a model too"):
        go(data, pipeline=pipeline, **more)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ({"data": collection(), "reranker": "x"}, r"none of the systems \('x'\) can do 'mini'"),
        ({"data": sts(), "bm25": True}, r"none of the systems \('BM25'\) can do 'likeness'"),
        ({"data": candidates()}, r"none of the systems \('BM25'\) can do 'candidates'"),
        ({"data": [sts(), collection()], "reranker": "x", "bm25": True}, "can do 'likeness'"),
        ({"data": MtebTask("mteb/STS12")}, r"none of the systems \('BM25'\) can do 'mteb/STS12'"),
    ],
)
def test_data_that_no_system_can_do(go, call, message, counts):
    with pytest.raises(InvalidInputError, match=message):
        go(call.pop("data"), **call)
    assert not counts.opened


def test_names_that_would_share_a_file(go, data, tmp_path):
    systems = [System(name, (Bm25Leg(),)) for name in ("a/b", "a:b")]
    assert len(go(data, pipeline=systems).results) == 2
    with pytest.raises(InvalidInputError, match="would have the same file"):
        go(data, pipeline=systems, out=tmp_path / "out")


def test_a_model_that_is_not_there(go, data, tiny_bert, tmp_path, counts):
    with pytest.raises(ModelNotFoundError):
        go(data, model=[tiny_bert, tmp_path / "none"], out=tmp_path / "out")
    assert counts.opened == counts.closed == [str(tiny_bert)]
    assert (tmp_path / "out/results/mini/tiny-bert.json").exists()


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_models_are_closed_whatever_happens(go, data, tiny_bert, tiny_reranker, counts, monkeypatch, error):
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr("lagotto.evaluation.evaluate.evaluate_retrieval", fail)
    with pytest.raises(error):
        go(data, pipeline=[System("all", (DenseLeg(str(tiny_bert)),), rerank=Rerank(str(tiny_reranker)))])
    assert sorted(counts.closed) == sorted(counts.opened)
    assert len(counts.closed) == 2
