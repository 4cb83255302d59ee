"""Where a benchmark's folder is looked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from lagotto.core.errors import ConfigError, InvalidInputError
from lagotto.evaluation.benchmarks.prepare import prepare
from lagotto.evaluation.benchmarks.registry import expand

SCIFACT = expand("beir/scifact")[0]


def put(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "corpus.jsonl").write_text('{"_id": "1", "text": "x"}\n')
    return folder


def test_an_exported_folder_is_found_in_the_cache(tmp_path: Path) -> None:
    folder = put(tmp_path / "benchmarks" / "beir" / "scifact")

    assert prepare(SCIFACT, cache=tmp_path, offline=True) == folder


def test_the_operator_s_folder_is_looked_at_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cached = put(tmp_path / "benchmarks" / "beir" / "scifact")
    monkeypatch.setenv("LAGOTTO_BENCHMARKS", str(tmp_path / "store"))
    (tmp_path / "store").mkdir()
    assert prepare(SCIFACT, cache=tmp_path) == cached

    kept = put(tmp_path / "store" / "beir" / "scifact")

    assert prepare(SCIFACT, cache=tmp_path) == kept


def test_a_folder_without_a_corpus_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "benchmarks" / "beir" / "scifact").mkdir(parents=True)

    with pytest.raises(InvalidInputError, match="is not on this machine"):
        prepare(SCIFACT, cache=tmp_path, offline=True)


def test_an_operator_s_folder_that_is_not_there_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LAGOTTO_BENCHMARKS", str(tmp_path / "nowhere"))

    with pytest.raises(ConfigError, match=r"LAGOTTO_BENCHMARKS=.*nowhere is not a folder"):
        prepare(SCIFACT, cache=tmp_path)


@pytest.mark.parametrize("offline", [True, False])
def test_offline_ir_datasets_is_not_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, offline: bool) -> None:
    store = tmp_path / "store"
    store.mkdir()
    monkeypatch.setenv("LAGOTTO_BENCHMARKS", str(store))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", not offline)

    with pytest.raises(InvalidInputError) as raised:
        prepare(SCIFACT, cache=tmp_path, offline=offline)

    message = str(raised.value)
    assert "benchmark beir/scifact is not on this machine, and offline mode is on (HF_HUB_OFFLINE or offline" in message
    assert f"Looked in {store / 'beir/scifact'} and {tmp_path / 'benchmarks/beir/scifact'}. It comes from " in message
    assert "beir/scifact/test in ir_datasets" in message
    assert "run `lagotto eval benchmarks --fetch beir/scifact` and copy the folder it names to" in message
    assert "$LAGOTTO_BENCHMARKS names" in message
