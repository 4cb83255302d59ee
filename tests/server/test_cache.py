"""Vectors that are kept: the same values in the same order, whatever was kept before, and less to compute."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, MultiCls, Windows
from lagotto.core.errors import ClosedError, InvalidInputError, TextTooLongError
from lagotto.core.values import Embeddings
from lagotto.server.cache import CachedEmbedder, VectorCache, open_cache
from lagotto.server.cache_disk import DiskCache
from lagotto.server.cache_memory import MemoryCache
from lagotto.server.settings import Settings
from support.checkpoints import XLMR, some_texts, write_embedder

MB = 1 << 20
LONG = "dog bites man and " * 40


@pytest.fixture(params=["memory", "disk", "both"])
def vectors(request: Any, tmp_path: Path) -> Iterator[VectorCache]:
    memory = None if request.param == "disk" else MemoryCache(MB)
    disk = None if request.param == "memory" else DiskCache(tmp_path / "vectors.sqlite", MB)
    cache = VectorCache(memory, disk)
    yield cache
    cache.close()


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each call that was computed."""
    calls: list[list[str]] = []
    stream = Embedder._stream

    def noting(self: Embedder, texts: Any, *more: Any) -> Any:
        given = [texts] if isinstance(texts, str) else list(texts)
        calls.append(given)
        return stream(self, given, *more)

    monkeypatch.setattr(Embedder, "_stream", noting)
    return calls


def same(found: Embeddings, expected: Embeddings) -> None:
    np.testing.assert_allclose(found.dense, expected.dense, atol=2e-5)
    np.testing.assert_array_equal(found.tokens, expected.tokens)
    np.testing.assert_array_equal(found.truncated, expected.truncated)
    assert found.dense.dtype == np.float32


def test_only_missing_texts_are_computed_and_the_order_is_kept(
    embedder: Embedder, vectors: VectorCache, computed: list[list[str]]
) -> None:
    cached = CachedEmbedder(embedder, vectors)
    texts = some_texts(20, seed=1)
    same(cached.encode(texts[:12]), embedder.encode(texts[:12]))
    computed.clear()
    mixed = [texts[n] for n in (15, 3, 3, 19, 0, 15, 11)]
    found = cached.encode(mixed)
    assert computed == [[texts[15], texts[19]]]
    same(found, embedder.encode(mixed))
    assert (vectors.hits, vectors.misses) == (3, 14)


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("encode", {}),
    ("encode", {"dimensions": 8}),
    ("encode", {"normalize": False}),
    ("encode", {"dimensions": 8, "normalize": False}),
    ("encode", {"prompt": "search: "}),
    ("encode", {"prompt": "search "}),
    ("encode", {"instruction": "find"}),
    ("encode", {"max_length": 9}),
    ("encode", {"max_length": 9, "truncation": "left"}),
    ("encode", {"truncation": Windows(20, 4)}),
    ("encode", {"truncation": Windows(20, 4, "max")}),
    ("encode", {"truncation": Windows(20, 4), "dimensions": 8}),
    ("encode", {"truncation": Windows(20, 4), "normalize": False}),
    ("encode", {"truncation": MultiCls(10)}),
    ("encode_queries", {}),
    ("encode_documents", {}),
]


def test_no_call_is_answered_with_what_another_one_kept(embedder: Embedder, vectors: VectorCache) -> None:
    cached = CachedEmbedder(embedder, vectors)
    texts = ["a dog", LONG, "", "a dog bites"]
    for _ in range(2):  # the second time all of it is there
        for method, how in CALLS:
            same(getattr(cached, method)(texts, **how), getattr(embedder, method)(texts, **how))
    assert vectors.hits > vectors.misses


def test_dimensions_and_normalising_share_one_computation(
    embedder: Embedder, vectors: VectorCache, computed: list[list[str]]
) -> None:
    cached = CachedEmbedder(embedder, vectors)
    for how in ({}, {"dimensions": 8}, {"normalize": False}, {"dimensions": 3, "normalize": True}):
        cached.encode(["a dog"], **how)
    assert len(computed) == 1


def test_models_do_not_share(embedder: Embedder, vectors: VectorCache, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "other", XLMR, pooling="mean")
    with Embedder(folder, precision="f32", threads=1) as other:
        for model in (embedder, other, embedder):
            same(CachedEmbedder(model, vectors).encode("a dog"), model.encode("a dog"))


def test_one_text_none_and_a_generator(embedder: Embedder, vectors: VectorCache) -> None:
    cached = CachedEmbedder(embedder, vectors)
    for given in ("a dog", [], ["a dog"]):
        same(cached.encode(given), embedder.encode(given))
    same(cached.encode(text for text in ("a", "b")), embedder.encode(["a", "b"]))
    assert cached.encode([], dimensions=8).dense.shape == (0, 8)


def test_token_ids_and_streams_are_computed(embedder: Embedder, vectors: VectorCache) -> None:
    cached = CachedEmbedder(embedder, vectors)
    np.testing.assert_allclose(cached.encode_ids([[20, 30]]).dense, embedder.encode_ids([[20, 30]]).dense, atol=2e-5)
    (part,) = cached.stream(["a"])
    same(part, embedder.encode("a"))
    assert (vectors.hits, vectors.misses) == (0, 0)


@pytest.mark.parametrize("known", [[], ["a dog"]])
def test_errors_are_those_of_the_model_with_the_numbers_of_the_call(
    embedder: Embedder, vectors: VectorCache, known: list[str]
) -> None:
    cached = CachedEmbedder(embedder, vectors)
    cached.encode(known, truncation="error")
    with pytest.raises(TextTooLongError, match="text 1 "):
        cached.encode(["a dog", LONG], truncation="error")
    with pytest.raises(InvalidInputError, match="text 1 "):
        cached.encode(["a dog", "\ud800"])
    with pytest.raises(InvalidInputError, match="dimensions"):
        cached.encode(known, dimensions=99)
    with pytest.raises(InvalidInputError):
        cached.encode([1])  # type: ignore[list-item]


def test_a_closed_model_still_knows_what_it_knew_and_computes_nothing(tiny_bert: Path) -> None:
    cache = VectorCache(MemoryCache(MB), None)
    with Embedder(tiny_bert, precision="f32", threads=1) as model:
        cached = CachedEmbedder(model, cache)
        cached.encode("a dog")
    with pytest.raises(ClosedError):
        cached.encode("a cat")


def test_without_a_cache_it_is_an_embedder(embedder: Embedder) -> None:
    same(CachedEmbedder(embedder, None).encode("a dog"), embedder.encode("a dog"))


def test_values_outlive_the_process_on_disk(embedder: Embedder, tmp_path: Path, computed: list[list[str]]) -> None:
    for _ in range(2):
        cache = VectorCache(MemoryCache(MB), DiskCache(tmp_path / "v.sqlite", MB))
        found = CachedEmbedder(embedder, cache).encode(["a dog"])
        cache.close()
    assert len(computed) == 1
    same(found, embedder.encode(["a dog"]))


def test_the_file_holds_no_text(embedder: Embedder, tmp_path: Path) -> None:
    cache = VectorCache(None, DiskCache(tmp_path / "v.sqlite", MB))
    CachedEmbedder(embedder, cache).encode(["quetzalcoatl"], prompt="xochipilli")
    cache.close()
    for file in tmp_path.iterdir():
        assert b"quetzalcoatl" not in file.read_bytes()
        assert b"xochipilli" not in file.read_bytes()


# Memory.


def test_what_was_not_used_for_longest_goes_first() -> None:
    memory = MemoryCache(3 * (1 + 100 + 200))
    for key in (b"a", b"b", b"c"):
        memory.put({key: b"x" * 100})
    assert memory.get([b"a"])
    memory.put({b"d": b"x" * 100})
    assert sorted(memory.get([b"a", b"b", b"c", b"d"])) == [b"a", b"c", b"d"]
    assert memory.bytes == 3 * (1 + 100 + 200)


def test_what_is_larger_than_the_cache_is_not_kept_and_drops_nothing() -> None:
    memory = MemoryCache(1000)
    memory.put({b"a": b"x"})
    memory.put({b"b": b"x" * 1000})
    assert memory.get([b"a", b"b"]) == {b"a": b"x"}


def test_a_value_that_comes_again_counts_once() -> None:
    memory = MemoryCache(MB)
    for size in (10, 500, 20):
        memory.put({b"a": b"x" * size})
    assert memory.bytes == 1 + 20 + 200


# The server.


@pytest.fixture
def embed() -> Callable[..., Any]:
    return lambda client, text: client.post("/v1/embeddings", json={"model": "bert", "input": text})


def test_a_server_keeps_vectors_unless_told_not_to(
    open_client: Any, tiny_bert: Path, computed: list[list[str]], embed: Callable[..., Any]
) -> None:
    for setting, calls in ((True, 1), (False, 2)):
        computed.clear()
        with open_client(models=[f"bert={tiny_bert}"], embedding_cache=setting) as client:
            bodies = [embed(client, ["a dog", "a cat"]).json() for _ in range(2)]
        assert bodies[0] == bodies[1]
        assert len(computed) == calls


def test_settings_open_the_cache(tmp_path: Path) -> None:
    assert open_cache(Settings(embedding_cache=False, cache_path=tmp_path / "v")) is None
    assert open_cache(Settings(cache_memory_mb=0)) is None
    default = open_cache(Settings())
    assert default is not None
    assert default.disk is None
    both = open_cache(Settings(cache_path=tmp_path / "deep/v"))
    assert both is not None
    assert both.disk is not None
    both.close()
    assert (tmp_path / "deep/v").is_file()
