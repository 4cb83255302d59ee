"""Fixtures every test may use: tiny checkpoints made on the spot, a cache of their own, no way out to the network."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

# huggingface_hub reads these when it is imported, possibly while tests are collected.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

from lagotto import Embedder, Reranker, quantize
from lagotto.core.hardware import supports_int8
from lagotto.models.loading import Options
from support.calibration import write_pairs, write_texts
from support.checkpoints import BERT, XLMR, write_embedder, write_reranker

# The same examples on every run, and none called slow because a machine is busy.
hypothesis.settings.register_profile("lagotto", deadline=None, derandomize=True)
hypothesis.settings.load_profile("lagotto")

_SETTINGS = (
    "LAGOTTO_MODELS",
    "LAGOTTO_HUB",
    "LAGOTTO_BENCHMARKS",
    "LAGOTTO_LLM_API_KEY",
    "HF_TOKEN",
    "HF_ENDPOINT",
    "HUGGING_FACE_HUB_TOKEN",
)


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The cache folder of this test run, in ``LAGOTTO_CACHE``; the user's own settings are left out."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        for name in _SETTINGS:
            patch.delenv(name, raising=False)
        patch.setenv("LAGOTTO_CACHE", str(folder))
        patch.setenv("HF_HOME", str(folder / "huggingface"))
        yield folder


@pytest.fixture(scope="session")
def tiny_bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT embedder of 32 dimensions and 64 positions, CLS pooling, normalised."""
    return write_embedder(tmp_path_factory.mktemp("models") / "tiny-bert", BERT)


@pytest.fixture(scope="session")
def tiny_xlmr(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLM-RoBERTa embedder of 32 dimensions and 66 positions (64 tokens), mean pooling, normalised."""
    return write_embedder(tmp_path_factory.mktemp("models") / "tiny-xlmr", XLMR, pooling="mean")


@pytest.fixture(scope="session")
def tiny_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT cross-encoder with one label, which tells the texts of a pair apart by token types."""
    return write_reranker(tmp_path_factory.mktemp("models") / "tiny-reranker", BERT)


@pytest.fixture(scope="session")
def tiny_xlmr_reranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An XLM-RoBERTa cross-encoder with one label."""
    return write_reranker(tmp_path_factory.mktemp("models") / "tiny-xlmr-reranker", XLMR)


@pytest.fixture(scope="session")
def int8_cpu() -> None:
    """Skip where int8 products would overflow."""
    if not supports_int8():
        pytest.skip("this CPU has no int8 instructions")


@pytest.fixture(scope="session")
def texts_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Texts to calibrate embedders on."""
    return write_texts(tmp_path_factory.mktemp("calibration") / "texts.jsonl")


@pytest.fixture(scope="session")
def pairs_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs to calibrate rerankers on."""
    return write_pairs(tmp_path_factory.mktemp("calibration") / "pairs.jsonl")


@pytest.fixture(scope="session")
def tiny_int8(tiny_bert: Path, texts_file: Path, tmp_path_factory: pytest.TempPathFactory, int8_cpu: None) -> Path:
    """`tiny_bert` in int8."""
    folder = tmp_path_factory.mktemp("int8") / "tiny-bert-int8"
    quantize(tiny_bert, texts_file, folder, samples=64, options=Options(threads=1))
    return folder


@pytest.fixture(scope="session")
def embedder(tiny_bert: Path, cache: Path) -> Iterator[Embedder]:
    """`tiny_bert` in the library, to compare a server's answers with."""
    with Embedder(tiny_bert, precision="f32", threads=2) as model:
        yield model


@pytest.fixture(scope="session")
def ranker(tiny_reranker: Path, cache: Path) -> Iterator[Reranker]:
    """`tiny_reranker` in the library, to compare a server's answers with."""
    with Reranker(tiny_reranker, precision="f32", threads=2) as model:
        yield model
