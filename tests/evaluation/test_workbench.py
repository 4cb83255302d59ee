"""`Workbench`: each model is open once, as its leg says, and no longer than it is needed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lagotto.core.errors import ClosedError, ModelNotFoundError
from lagotto.evaluation.legs import retrieve
from lagotto.evaluation.pipeline import Bm25Leg, DenseLeg, Fusion, Rerank, System
from lagotto.evaluation.workbench import Workbench
from lagotto.models.loading import Options


class Lines:
    """A watcher that keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


def system(*legs, name: str = "s", **more) -> System:
    return System(name, legs, Fusion() if len(legs) > 1 else None, **more)


def test_variants_of_a_leg_share_one_model(bench, dense, counts):
    first = bench.embedder(dense)
    for change in ({"dimensions": 8}, {"quantization": "int8"}, {"rescore": 5}, {"query_prompt": "x"}):
        assert bench.embedder(replace(dense, **change)) is first
    assert counts.opened == [dense.model]


@pytest.mark.parametrize("change", [{"precision": "bf16"}, {"max_length": 16}, {"pooling": "cls"}])
def test_what_changes_the_model_opens_another(bench, dense, counts, change):
    first = bench.embedder(dense)
    other = bench.embedder(replace(dense, **change))
    assert other is not first
    assert len(counts.opened) == 2
    assert bench.embedder(dense) is first


def test_rerankers_are_shared_whatever_their_depth(bench, rerank, counts):
    first = bench.reranker(rerank)
    assert bench.reranker(replace(rerank, top_k=3, max_windows=None)) is first
    assert bench.reranker(replace(rerank, max_length=20)) is not first


def test_a_leg_says_more_than_the_options(store, dense, rerank):
    bench = Workbench(store, Options(precision="f32", threads=1, max_length=20, truncation="left"))
    model, judge = bench.embedder(dense), bench.reranker(rerank)
    assert (model.max_length, model.truncation, model.engine.threads, model.engine.precision) == (20, "left", 1, "f32")
    assert (judge.max_length, judge.truncation, judge.engine.threads) == (20, "left", 1)
    assert bench.embedder(replace(dense, max_length=30)).max_length == 30
    assert bench.reranker(replace(rerank, max_length=30)).max_length == 30
    bench.close()


def test_a_pooling_among_the_options_is_for_embedders(store, dense, rerank):
    bench = Workbench(store, Options(precision="f32", threads=1, pooling="cls"))
    assert bench.embedder(dense).card.pooling == "cls"
    assert bench.reranker(rerank).max_length == 64
    bench.close()


def test_models_are_announced_once(store, dense, rerank):
    watcher = Lines()
    bench = Workbench(store, Options(precision="f32", threads=1), watcher)  # type: ignore[arg-type]
    for _ in range(2):
        bench.embedder(dense)
        bench.reranker(rerank)
    bench.close()
    assert watcher.lines == [f"opening {dense.model}", f"opening {rerank.model}"]


def test_fingerprints_are_those_of_the_models(bench, dense, rerank, embedder, ranker):
    found = bench.fingerprints(system(dense, Bm25Leg(), rerank=rerank))
    assert found == {dense.model: embedder.fingerprint, rerank.model: ranker.fingerprint}
    assert bench.fingerprints(system(Bm25Leg())) == {}


def test_models_nobody_needs_are_closed(bench, dense, rerank, counts):
    model, judge = bench.embedder(dense), bench.reranker(rerank)
    bench.keep_only([system(dense), system(Bm25Leg())])
    assert counts.closed == [rerank.model]
    assert bench.embedder(replace(dense, dimensions=8)) is model
    with pytest.raises(ClosedError):
        judge.score([("a", "b")])
    bench.keep_only(iter([system(Bm25Leg(), rerank=rerank)]))
    assert counts.closed == [rerank.model, dense.model]
    assert bench.reranker(rerank) is not judge


def test_the_same_model_opened_otherwise_is_closed_by_itself(bench, dense):
    first, second = bench.embedder(dense), bench.embedder(replace(dense, max_length=16))
    bench.keep_only([system(dense)])
    assert len(first.encode("panda")) == 1
    with pytest.raises(ClosedError):
        second.encode("panda")


def test_close_closes_everything_and_may_come_twice(bench, dense, rerank, counts):
    bench.embedder(dense)
    bench.reranker(rerank)
    bench.close()
    bench.close()
    assert sorted(counts.closed) == sorted([dense.model, rerank.model])


def test_a_model_that_is_not_there(bench, tmp_path):
    with pytest.raises(ModelNotFoundError):
        bench.embedder(DenseLeg(str(tmp_path / "none")))
    with pytest.raises(ModelNotFoundError):
        bench.reranker(Rerank(str(tmp_path / "none")))
    bench.close()


def test_rankings_of_shared_legs_are_kept_while_a_system_needs_them(bench, dense, data):
    bench.shared = frozenset({dense, Bm25Leg()})
    for leg in (dense, replace(dense, dimensions=8), Bm25Leg()):
        retrieve(bench, leg, data, 5)
    assert {key[0] for key in bench.ranked} == {dense, Bm25Leg()}
    bench.keep_only([system(dense)])
    assert {key[0] for key in bench.ranked} == {dense}
    bench.keep_only([])
    assert not bench.ranked


def test_memory_of_a_system_is_what_its_models_took(bench, dense, rerank, monkeypatch):
    held = 100
    opened = {"Embedder": 30, "Reranker": 7}
    for name, size in opened.items():
        real = getattr(__import__("lagotto"), name)

        def open_model(model, *, kind=real, size=size, **options):
            nonlocal held
            held += size
            return kind(model, **options)

        # `isinstance` is asked about the real class
        monkeypatch.setattr(f"lagotto.evaluation.workbench.{name}", _Kind(real, open_model))
    monkeypatch.setattr("lagotto.evaluation.workbench.resident_bytes", lambda: held)
    assert bench.memory(system(Bm25Leg())) == (100, 100)
    assert bench.memory(system(dense)) == (100, 130)
    assert bench.memory(system(dense, replace(dense, dimensions=8))) == (100, 130)  # one model, two legs
    assert bench.memory(system(Bm25Leg(), rerank=rerank)) == (130, 137)
    assert bench.memory(system(dense, rerank=rerank)) == (100, 137)


class _Kind(type):
    """A class that opens models through a function."""

    def __new__(mcs, real, open_model):
        return super().__new__(mcs, real.__name__, (), {})

    def __init__(cls, real, open_model):
        cls.real, cls.open_model = real, staticmethod(open_model)

    def __call__(cls, *args, **options):
        return cls.open_model(*args, **options)

    def __instancecheck__(cls, instance):
        return isinstance(instance, cls.real)
