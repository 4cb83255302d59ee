"""``lagotto serve`` as a process of its own with tiny models, for clients that others wrote.

`scripts/conformance` runs these tests in an environment that has the clients; without them they are skipped.
"""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lagotto import Embedder, Reranker
from support.checkpoints import XLMR, some_texts, write_m3, write_modules

PATIENCE = 120
MAIN = "import sys\nfrom lagotto.cli.main import main\nsys.argv[1:] = {arguments!r}\nmain()"
COHERES = "embed-english-v3.0"
"""A client that allows Cohere's names alone is served by an alias."""
TEXTS = [text or "a" for text in some_texts(12, seed=5)]

if find_spec("llama_index") is None:
    collect_ignore_glob = ["test_*.py"]


def _tiktoken_files() -> Path:
    """llama-index-core brings tiktoken's files along."""
    spec = find_spec("llama_index.core")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations))) / "_static" / "tiktoken_cache"


@contextlib.contextmanager
def _serve(folder: Path, models: list[str], **environment: str) -> Iterator[str]:
    arguments = ["serve", "--precision", "f32", "--threads", "2", "--port", "0", "--offline"]
    arguments += [part for model in models for part in ("--model", model)]
    log = folder / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-c", MAIN.format(arguments=arguments)],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"serving on (http://\S+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield found.group(1)
    finally:
        process.terminate()
        process.wait(PATIENCE)


@pytest.fixture(scope="session")
def tiny_m3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_m3(tmp_path_factory.mktemp("models") / "tiny-m3", XLMR)
    write_modules(folder, XLMR, prompts={"query": "what is ", "document": "the "})
    return folder


@pytest.fixture(scope="session")
def models(tiny_bert: Path, tiny_m3: Path, tiny_reranker: Path) -> list[str]:
    """``bert``, ``m3`` (with prompts for queries and documents), the same under a name of Cohere's, and ``ranker``."""
    return [f"bert={tiny_bert}", f"m3={tiny_m3}", f"{COHERES}={tiny_m3}", f"ranker={tiny_reranker}"]


@pytest.fixture(scope="session")
def url(cache: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server as it comes."""
    with _serve(tmp_path_factory.mktemp("server"), models) as address:
        yield address


@pytest.fixture(scope="session")
def decoding_url(cache: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that decodes tiktoken's ids."""
    settings = {"LAGOTTO_TOKEN_IDS": "tiktoken", "TIKTOKEN_CACHE_DIR": str(_tiktoken_files())}
    with _serve(tmp_path_factory.mktemp("server"), models, **settings) as address:
        yield address


@pytest.fixture(scope="session", autouse=True)
def no_network(cache: Path) -> Iterator[None]:
    """Clients find tiktoken's files here, and have keys."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TIKTOKEN_CACHE_DIR", str(_tiktoken_files()))
        for name in ("OPENAI_API_KEY", "CO_API_KEY", "COHERE_API_KEY", "JINA_API_KEY", "VOYAGE_API_KEY"):
            patch.setenv(name, "not needed")
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # its client would not talk to this machine
        yield


@pytest.fixture(scope="session")
def m3(tiny_m3: Path, cache: Path) -> Iterator[Embedder]:
    with Embedder(tiny_m3, precision="f32", threads=2) as model:
        yield model


def same(found: object, expected: object) -> None:
    """Vectors are those of the library."""
    np.testing.assert_allclose(np.asarray(found, np.float32), np.asarray(expected), atol=5e-5)


def order(ranker: Reranker, query: str, top_n: int | None = None) -> list[int]:
    """How the library ranks `TEXTS`."""
    return [hit.index for hit in ranker.rank(query, TEXTS, top_n=top_n)]
