"""``[[model]]`` tables: models with names, limits and prompts of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder
from lagotto.core.errors import ConfigError
from lagotto.server.catalogue import offers
from lagotto.server.settings import Settings, load_settings
from support.low_bits import needs

SHARED = {"precision": "f32", "threads": 2}


def tables(tmp_path: Path, text: str, **flags: Any) -> Settings:
    file = tmp_path / "settings.toml"
    file.write_text(text, encoding="utf-8")
    return load_settings(file, **SHARED | flags)


def embed(client: Any, model: str, text: str = "a dog bites man and dog") -> Any:
    return client.post("/v1/embeddings", json={"model": model, "input": text})


def test_a_table_says_all_there_is_to_say_and_the_rest_is_as_the_server_s(tmp_path: Path) -> None:
    settings = tables(
        tmp_path,
        """
        keep_seconds = 5
        offline = true
        [[model]]
        name = "BAAI/bge-m3"
        alias = ["m3", "text-embedding-3-small"]
        eager = false
        engine = "torch"
        device = "cuda:1"
        precision = "f16"
        weights = "nf4"
        threads = 7
        max_length = 99
        truncation = "error"
        card = "BAAI/bge-m3"
        pooling = "mean"
        keep_seconds = 600
        prompts = {query = "search: ", text = "t: "}
        [[model]]
        name = "plain"
        """,
    )
    whole, plain = offers(settings)
    assert whole.names == ("m3", "text-embedding-3-small")
    assert (whole.source, whole.eager, whole.keep_seconds) == ("BAAI/bge-m3", False, 600)
    assert whole.prompts == {"query": "search: ", "text": "t: "}
    options = whole.options
    assert (options.engine, options.device, options.precision, options.threads) == ("torch", "cuda:1", "f16", 7)
    assert (options.weights, plain.options.weights) == ("nf4", "full")
    assert (options.max_length, options.truncation, options.card) == (99, "error", "BAAI/bge-m3")
    assert (options.pooling, options.offline) == ("mean", True)
    assert (plain.names, plain.eager, plain.keep_seconds, plain.prompts) == (("plain",), True, 5, {})
    assert (plain.options.precision, plain.options.threads, plain.options.max_length) == ("f32", 2, None)
    assert (plain.options.truncation, plain.options.offline) == ("right", True)


def test_one_alias_may_be_a_string(tmp_path: Path) -> None:
    (offer,) = offers(tables(tmp_path, '[[model]]\nname = "x"\nalias = "a"'))
    assert offer.names == ("a",)


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ('alias = ""', "alias"),
        ('alias = ["a", " b"]', "alias"),
        ('alias = "a\\nb"', "alias"),
        ("threads = 0", "threads"),
        ("max_length = 0", "max_length"),
        ('precision = "int3"', "precision"),
        ('weights = "int3"', "weights"),
        ('pooling = "median"', "pooling"),
        ("keep_seconds = -1", "keep_seconds"),
        ("keep_seconds = inf", "keep_seconds"),
        ('prompts = {passage = "p"}', "prompts"),
        ("lazy = true", "lazy"),
        ("eager = 3", "eager"),
    ],
)
def test_a_bad_table_is_refused_with_its_number_and_field(tmp_path: Path, line: str, field: str) -> None:
    with pytest.raises(ConfigError, match=rf"setting model\.1\.{field}"):
        tables(tmp_path, f'[[model]]\nname = "x"\n[[model]]\nname = "y"\n{line}')


@pytest.mark.parametrize("text", ["[[model]]", '[[model]]\nname = ""', '[[model]]\nname = " x"', "model = 3"])
def test_a_table_without_a_name_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="model"):
        tables(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        '[[model]]\nname = "x"\n[[model]]\nname = "x"',
        'models = ["a=x"]\n[[model]]\nname = "y"\nalias = ["b", "a"]',
        '[[model]]\nname = "x"\nalias = ["a", "a"]',
    ],
)
def test_a_name_stands_for_one_model(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match="two models are called"):
        offers(tables(tmp_path, text))


@pytest.mark.parametrize("precision", ["bf16", "f16", "int8"])
def test_half_precision_that_is_forbidden_is_forbidden_to_each(tmp_path: Path, precision: str) -> None:
    text = f'use_fp16 = false\n[[model]]\nname = "x"\nprecision = "{precision}"'
    settings = tables(tmp_path, text, precision=None)
    with pytest.raises(ConfigError, match=r"'x'.*use_fp16 is false"):
        offers(settings)


# Served.


@needs("torchao")
def test_one_model_of_a_server_keeps_its_weights_in_fewer_bits(open_client: Any, tiny_bert: Path) -> None:
    pytest.importorskip("torch")
    low = {"name": str(tiny_bert), "alias": "low", "weights": "int8"}
    with open_client(model=[{"name": str(tiny_bert), "alias": "full"}, low]) as client:
        models = {model["id"]: model for model in client.get("/models").json()["models"]}
        kept = {name: (model["engine"]["name"], model["engine"]["weights"]) for name, model in models.items()}
        assert kept == {"full": ("openvino", "full"), "low": ("torch", "int8")}
        assert models["full"]["fingerprint"] != models["low"]["fingerprint"]
        vectors = [np.array(embed(client, name).json()["data"][0]["embedding"]) for name in ("full", "low")]
        assert 0.999 < vectors[0] @ vectors[1] < 0.999999


def test_every_name_answers_from_one_model_in_memory(open_client: Any, tiny_bert: Path) -> None:
    model = {"name": str(tiny_bert), "alias": ["a", "org/b:1"]}
    with open_client(model=[model]) as client:
        assert [m["id"] for m in client.get("/v1/models").json()["data"]] == ["a", "org/b:1"]
        assert [m["id"] for m in client.get("/models").json()["models"]] == ["a"]
        bodies = [embed(client, name).json() for name in ("a", "org/b:1")]
        assert [body["model"] for body in bodies] == ["a", "org/b:1"]
        assert bodies[0]["data"] == bodies[1]["data"]
        assert embed(client, tiny_bert.name).status_code == 404
        pool = client.app.state.pool
        assert len(pool.slots.all) == 1
        assert pool.entries["a"].admission is pool.entries["org/b:1"].admission, "one model has one queue"
        assert pool.entries["a"].admission.stats().admitted == 2


def test_a_lazy_model_is_shown_as_not_loaded_until_it_is(open_client: Any, tiny_bert: Path, tiny_xlmr: Path) -> None:
    lazy = {"name": str(tiny_xlmr), "alias": "lazy", "eager": False}
    with open_client(models=[f"bert={tiny_bert}"], model=[lazy]) as client:

        def loaded() -> dict[str, bool]:
            return {model["id"]: model["loaded"] for model in client.get("/v1/models").json()["data"]}

        assert loaded() == {"bert": True, "lazy": False}
        assert embed(client, "lazy").status_code == 200
        assert loaded() == {"bert": True, "lazy": True}


def test_limits_are_the_model_s_own(open_client: Any, tiny_bert: Path) -> None:
    short = {"name": str(tiny_bert), "alias": "short", "max_length": 6, "truncation": "error", "threads": 1}
    with open_client(models=[f"bert={tiny_bert}"], model=[short]) as client:
        assert embed(client, "bert").status_code == 200
        assert embed(client, "short").json()["error"]["code"] == "context_length_exceeded"
        described = {model["id"]: model for model in client.get("/models").json()["models"]}
    assert (described["bert"]["max_length"], described["short"]["max_length"]) == (64, 6)
    assert (described["bert"]["engine"]["threads"], described["short"]["engine"]["threads"]) == (2, 1)


def test_prompts_stand_before_texts_of_their_role(open_client: Any, tiny_bert: Path, embedder: Embedder) -> None:
    model = {"name": str(tiny_bert), "alias": "bert", "prompts": {"text": "passage: ", "query": "search: "}}
    with open_client(model=[model]) as client:
        found = embed(client, "bert", "dog").json()["data"][0]["embedding"]
        np.testing.assert_allclose(found, embedder.encode("passage: dog").dense[0], atol=2e-5)
        (entry,) = client.app.state.pool.loaded()
        served = entry.model
        expected = embedder.encode("search: dog").dense
        np.testing.assert_allclose(served.encode_queries("dog").dense, expected, atol=2e-5)
        for how in ({"prompt": "x "}, {"instruction": "find"}):
            np.testing.assert_allclose(
                served.encode_queries("dog", **how).dense, embedder.encode_queries("dog", **how).dense, atol=2e-5
            )
        np.testing.assert_allclose(
            served.encode_documents("dog").dense, embedder.encode_documents("dog").dense, atol=2e-5
        )


def test_config_shows_tables_without_what_they_open(open_client: Any, tiny_bert: Path) -> None:
    with open_client(model=[{"name": str(tiny_bert), "max_length": 9}]) as client:
        reply = client.get("/config")
    assert str(tiny_bert.parent) not in reply.text
    (table,) = reply.json()["model"]
    assert (table["alias"], table["max_length"]) == ([tiny_bert.name], 9)


def test_one_text_may_have_a_bound(open_client: Any, tiny_bert: Path, tiny_reranker: Path, error_of: Any) -> None:
    models = [f"bert={tiny_bert}", f"ranker={tiny_reranker}"]
    with open_client(models=models, max_text_characters=10) as client:
        assert embed(client, "bert", "a" * 10).status_code == 200
        reply = client.post("/v1/embeddings", json={"model": "bert", "input": ["a", "b" * 11]})
        assert "text 1 has 11 characters, 10 are allowed" in error_of(reply)["message"]
        reply = client.post("/embed_all", json={"inputs": ["a", "b" * 11]})
        assert reply.status_code == 422
        assert "text 1 has 11 characters" in reply.json()["error"]
        for inputs, spans in ((["a", "b" * 11], [[[0, 1]], [[0, 1]]]), (["a", "b" * 10], [[[0, 1]], [[0, 1]]])):
            reply = client.post("/v1/encode", json={"model": "bert", "input": inputs, "spans": spans})
            assert reply.status_code == (200 if len(inputs[1]) == 10 else 400), reply.text
        good = client.post("/v1/rerank", json={"query": "a" * 10, "documents": ["b" * 10]})
        assert good.status_code == 200
        for query, documents, number in (("a", ["b", "c" * 11], 1), ("a" * 11, ["b"], 0)):
            reply = client.post("/v1/rerank", json={"query": query, "documents": documents})
            assert f"text {number} has 11 characters" in error_of(reply)["message"]
