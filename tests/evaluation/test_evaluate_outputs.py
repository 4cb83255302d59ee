"""`evaluate` over several outputs of one model: one encoding, figures that do not change, interruptions."""

from __future__ import annotations

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation import store
from lagotto.evaluation.pipeline import SparseLeg, System
from lagotto.evaluation.report.rows import stage_rows
from support.collection import DOCUMENTS, QUERIES, sts


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven documents a block, and their token vectors in parts of three."""
    monkeypatch.setattr(store, "BLOCK", 7)
    monkeypatch.setattr(store, "PART", 3)


WEIGHTS = {"dense": 0.15, "sparse": 0.5, "multivector": 0.35}


def test_a_report_on_all_outputs_encodes_once(go, data, tiny_m3, counts):
    hybrid = {"dense": 0.2, "sparse": 0.8}
    call = {"model": tiny_m3, "sparse": True, "multivector": True, "fuse": [hybrid], "rescore": [WEIGHTS]}
    report = go(data, **call)
    assert counts.texts == DOCUMENTS + QUERIES
    assert counts.opened == [str(tiny_m3)]
    assert len(report.systems) == len(report.results) == 5
    labels = [words for result, words, _ in stage_rows(report.results) if result.system == report.systems[-1].name]
    assert labels[-1].zh == f"重新打分: {tiny_m3}"
    again = go(data, **call)
    assert not counts.texts
    assert [result.metrics for result in again.results] == [result.metrics for result in report.results]


def test_an_interrupted_report_goes_on(go, folder, tiny_m3, counts, tmp_path, monkeypatch):
    call = {"model": tiny_m3, "sparse": True, "multivector": True, "rescore": [WEIGHTS]}
    whole = go(folder, **call, cache=False)
    real, finished = store.write_block, []

    def stop(path, *rest):
        if len(finished) == 9:
            raise KeyboardInterrupt
        finished.append(path)
        real(path, *rest)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(store, "write_block", stop)
        go(folder, **call, out=tmp_path / "out")
    report = go(folder, **call, out=tmp_path / "out")
    assert 0 < counts.texts < DOCUMENTS + QUERIES
    for result, wanted in zip(report.results, whole.results, strict=True):
        assert result.metrics == wanted.metrics
    counts.clear()
    go(folder, **call, out=tmp_path / "out")
    assert not counts.texts


def test_pairs_are_for_dense_vectors_alone(go, data, tiny_m3):
    report = go([data, sts()], model=tiny_m3, sparse=True, rescore=[WEIGHTS])
    assert [(result.system, result.dataset) for result in report.results if result.dataset == "likeness"] == [
        ("tiny-m3", "likeness")
    ]
    with pytest.raises(InvalidInputError, match="sets of pairs need an embedder's dense vectors alone"):
        go(sts(), pipeline=[System("s", (SparseLeg(str(tiny_m3)),))])
