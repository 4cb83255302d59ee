"""The official ``openai`` client works against this server as against OpenAI's."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import openai
import pytest

from lagotto import Embedder
from support.checkpoints import some_texts

FINE = 2e-5
TEXTS = [text or "a" for text in some_texts(20)]


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{url}/v1", api_key="not needed", max_retries=0) as client:
        yield client


def vectors(reply: Any) -> Any:
    assert [item.index for item in reply.data] == list(range(len(reply.data)))
    assert {item.object for item in reply.data} == {"embedding"}
    return np.array([item.embedding for item in reply.data], np.float32)


@pytest.mark.parametrize("encoding", [None, "float", "base64"])
def test_vectors_and_usage_are_the_librarys(client: openai.OpenAI, embedder: Embedder, encoding: Any) -> None:
    wish = {} if encoding is None else {"encoding_format": encoding}
    reply = client.embeddings.create(model="bert", input=TEXTS, **wish)
    expected = embedder.encode(TEXTS)
    if encoding == "base64":
        assert all(isinstance(item.embedding, str) for item in reply.data), "who asks for base64 gets base64"
    else:
        np.testing.assert_allclose(vectors(reply), expected.dense, atol=FINE)
    tokens = int(expected.tokens.sum())
    assert (reply.usage.prompt_tokens, reply.usage.total_tokens) == (tokens, tokens)
    assert (reply.model, reply.object) == ("bert", "list")


def test_the_clients_silent_base64_gives_the_same_numbers_as_float(client: openai.OpenAI) -> None:
    silent = vectors(client.embeddings.create(model="bert", input=TEXTS))
    floats = vectors(client.embeddings.create(model="bert", input=TEXTS, encoding_format="float"))
    np.testing.assert_array_equal(silent, floats)


def test_a_single_string_and_a_model_with_slashes_and_colon(client: openai.OpenAI) -> None:
    reply = client.embeddings.create(model="org/xlmr:1", input="the giant panda", user="somebody")
    assert vectors(reply).shape == (1, 32)
    assert reply.model == "org/xlmr:1"


def test_dimensions(client: openai.OpenAI, embedder: Embedder) -> None:
    found = vectors(client.embeddings.create(model="bert", input=TEXTS, dimensions=8))
    np.testing.assert_allclose(found, embedder.encode(TEXTS, dimensions=8).dense, atol=FINE)


@pytest.mark.parametrize("ids", [[2, 20, 30, 40, 3], [[2, 20, 30, 3], [2, 40, 3]]])
def test_token_ids(client: openai.OpenAI, embedder: Embedder, ids: Any) -> None:
    found = vectors(client.embeddings.create(model="bert", input=ids))
    expected = embedder.encode_ids(ids if isinstance(ids[0], list) else [ids])
    np.testing.assert_allclose(found, expected.dense, atol=FINE)


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    listed = {model.id: model for model in client.models.list()}
    assert set(listed) == {"bert", "org/xlmr:1", "ranker"}
    for name, model in listed.items():
        assert client.models.retrieve(name) == model
        assert model.object == "model"
        assert model.created > 0
        assert model.owned_by


@pytest.mark.parametrize(
    ("call", "kind", "code", "param"),
    [
        (lambda c: c.embeddings.create(model="none", input="a"), openai.NotFoundError, "model_not_found", "model"),
        (lambda c: c.models.retrieve("a/b:c"), openai.NotFoundError, "model_not_found", "model"),
        (lambda c: c.embeddings.create(model="bert", input=""), openai.BadRequestError, "invalid_input", "input"),
        (lambda c: c.embeddings.create(model="bert", input=[]), openai.BadRequestError, "invalid_input", "input"),
        (
            lambda c: c.embeddings.create(model="bert", input="a", dimensions=99),
            openai.BadRequestError,
            "invalid_input",
            "dimensions",
        ),
        (lambda c: c.embeddings.create(model="ranker", input="a"), openai.BadRequestError, "invalid_input", "model"),
        (
            lambda c: c.embeddings.create(model="bert", input="a", extra_body={"truncate": True}),
            openai.BadRequestError,
            "invalid_input",
            "truncate",
        ),
    ],
)
def test_errors_arrive_as_the_clients_own_classes(
    client: openai.OpenAI,
    call: Callable[[openai.OpenAI], Any],
    kind: type[openai.APIStatusError],
    code: str,
    param: str,
) -> None:
    with pytest.raises(kind) as caught:
        call(client)
    assert (caught.value.code, caught.value.type, caught.value.param) == (code, "invalid_request_error", param)
    assert caught.value.body


def test_the_truncation_header_is_seen_with_the_raw_response(client: openai.OpenAI) -> None:
    raw = client.embeddings.with_raw_response.create(model="bert", input=["a", "panda " * 100])
    assert raw.headers["x-lagotto-truncated"] == "1"
    assert len(raw.parse().data) == 2


def test_the_asynchronous_client_gets_the_same(url: str, client: openai.OpenAI) -> None:
    async def ask() -> tuple[Any, Any, Any]:
        async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="not needed", max_retries=0) as asynchronous:
            one = [asynchronous.embeddings.create(model="bert", input=text) for text in TEXTS]
            found = [vectors(reply)[0] for reply in await asyncio.gather(*one)]
            names = [model.id async for model in asynchronous.models.list()]
            with pytest.raises(openai.NotFoundError) as caught:
                await asynchronous.embeddings.create(model="none", input="a")
            return found, names, caught.value.code

    found, names, code = asyncio.run(ask())
    np.testing.assert_allclose(found, vectors(client.embeddings.create(model="bert", input=TEXTS)), atol=FINE)
    assert names == ["bert", "org/xlmr:1", "ranker"]
    assert code == "model_not_found"
