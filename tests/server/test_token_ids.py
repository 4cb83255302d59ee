"""Token ids are read where they are surely the model's own, and never as words they do not stand for."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from lagotto import Embedder
from lagotto.core.errors import ConfigError
from lagotto.server import tiktoken_file
from lagotto.server.app import create_app
from lagotto.server.settings import load_settings

ErrorOf = Callable[..., dict[str, Any]]
CURE = "check_embedding_ctx_length=False"
WORDS = [b"the", b" giant", b" panda", b" is", "熊".encode()[:2], "熊".encode()[2:]]


def ask(client: TestClient, ids: Any, path: str = "/v1/embeddings") -> Any:
    return client.post(path, json={"model": "bert", "input": ids})


def vectors(reply: Any) -> Any:
    assert reply.status_code == 200, reply.text
    return np.array([item["embedding"] for item in reply.json()["data"]], np.float32)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/embeddings", "/openai/v1/embeddings"])
@pytest.mark.parametrize("ids", [[20, 30], [[20, 30]], [[2, 20, 3], [20, 30]], [2, 20], [20, 3], [2], [15339, 1917]])
def test_ids_that_may_be_another_tokenizers_are_refused_with_the_cure(client: TestClient, path: str, ids: Any) -> None:
    reply = ask(client, ids, path)
    assert reply.status_code == 400
    assert CURE in reply.json()["error"]["message"]


def test_ids_outside_the_vocabulary_are_refused_though_they_are_marked(client: TestClient, error_of: ErrorOf) -> None:
    error = error_of(ask(client, [[2, 20, 3], [2, 99999, 3]]))
    assert "input 1: token id 99999 is outside the vocabulary of bert" in error["message"]
    assert error["param"] == "input"


def test_marked_ids_are_read_and_may_stand_beside_texts_on_teis_route(client: TestClient, embedder: Embedder) -> None:
    expected = embedder.encode_ids([[2, 20, 30, 3]]).dense
    np.testing.assert_allclose(vectors(ask(client, [2, 20, 30, 3])), expected, atol=2e-5)
    mixed = client.post("/embed", json={"inputs": ["a dog", [2, 20, 30, 3], "paris"]}).json()
    texts = embedder.encode(["a dog", "paris"]).dense
    np.testing.assert_allclose(mixed, [texts[0], expected[0], texts[1]], atol=2e-5)


def test_the_operator_may_trust_all_ids(open_client: Any, tiny_bert: Path, embedder: Embedder) -> None:
    with open_client(models=[f"bert={tiny_bert}"], token_ids="own") as client:
        np.testing.assert_allclose(
            vectors(ask(client, [[20, 30], [2, 20, 30, 3]])), embedder.encode_ids([[20, 30]] * 2).dense, atol=2e-5
        )
        assert CURE in ask(client, [99999]).json()["error"]["message"]


# Those of tiktoken.


@pytest.fixture
def encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file of the form that tiktoken's has, in its place and taken for it."""
    content = b"".join(base64.b64encode(word) + b" %d\n" % number for number, word in enumerate(WORDS))
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken_file, "_SHA256", hashlib.sha256(content).hexdigest())
    file = tiktoken_file.encoding_file()
    file.write_bytes(content)
    return file


def test_tiktokens_ids_become_text_where_the_operator_allows_it(
    encoding: Path, open_client: Any, error_of: ErrorOf, tiny_bert: Path, embedder: Embedder
) -> None:
    with open_client(models=[f"bert={tiny_bert}"], token_ids="tiktoken") as client:
        found = vectors(ask(client, [[0, 1, 2, 3], [4, 5], [2, 20, 30, 3]]))
        expected = embedder.encode(["the giant panda is", "熊"]).dense
        np.testing.assert_allclose(found[:2], expected, atol=2e-5)
        np.testing.assert_allclose(found[2:], embedder.encode_ids([[20, 30]]).dense, atol=2e-5)
        for unknown in (6, -1, 10**30):
            assert CURE in error_of(ask(client, [0, unknown]))["message"]
        assert vectors(ask(client, [100257])).shape == (1, 32)


def test_a_missing_or_damaged_file_ends_the_start(encoding: Path, tiny_bert: Path) -> None:
    settings = load_settings(None, models=[f"bert={tiny_bert}"], token_ids="tiktoken")
    encoding.rename(encoding.with_suffix(".away"))
    with pytest.raises(ConfigError, match="TIKTOKEN_CACHE_DIR"):
        create_app(settings)
    encoding.write_bytes(b"YQ== 0\n")
    with pytest.raises(ConfigError, match="damaged"):
        create_app(settings)


def test_the_file_is_looked_for_where_tiktoken_keeps_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    name = "9b5ad71b2ce5302211f9c61530b329a4922fc6a4"  # what tiktoken calls it
    for variable in ("DATA_GYM_CACHE_DIR", "TIKTOKEN_CACHE_DIR"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
        assert tiktoken_file.encoding_file() == tmp_path / variable / name
    for variable in ("DATA_GYM_CACHE_DIR", "TIKTOKEN_CACHE_DIR"):
        monkeypatch.setenv(variable, "")
    assert tiktoken_file.encoding_file().parent.name == "data-gym-cache"
