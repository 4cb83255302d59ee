"""`Embedder`: what goes in, what comes out, what is refused."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lagotto import Embedder, Embeddings
from lagotto.core.errors import ClosedError, InvalidInputError, TextTooLongError, UnsupportedModelError
from support.checkpoints import BERT, Shape, some_texts, tokenizer_for, write_embedder

TEXTS = some_texts(60, longest=80)
FINE = 2e-5
Encode = Callable[..., Embeddings]


@pytest.fixture(params=["encode", "encode_queries", "encode_documents"])
def encode(request: pytest.FixtureRequest, embedder: Embedder) -> Encode:
    method: Encode = getattr(embedder, request.param)
    return method


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedder]:
    """A model with prompts of its own, and one of them by default."""
    folder = write_embedder(
        tmp_path_factory.mktemp("prompted"),
        BERT,
        prompts={"query": "search: ", "document": "text: ", "other": "find: "},
        default_prompt="other",
    )
    with Embedder(folder, precision="f32", threads=1) as model:
        yield model


def same(found: Embeddings | np.ndarray, expected: Embeddings | np.ndarray) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=FINE)


# What goes in.


def test_a_list_gives_a_row_each(encode: Encode) -> None:
    found = encode(TEXTS)
    assert found.dense.shape == (60, 32)
    assert found.dense.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found.dense, axis=1), 1, atol=1e-5)


def test_a_single_string_is_one_row(encode: Encode) -> None:
    found = encode("the dog")
    assert found.dense.shape == (1, 32)
    same(found, encode(["the dog"]))


def test_any_iterable_will_do(encode: Encode) -> None:
    expected = encode(TEXTS)
    for given in (tuple(TEXTS), iter(TEXTS), (text for text in TEXTS), np.array(TEXTS)):
        same(encode(given), expected)


@pytest.mark.parametrize("nothing", [[], (), iter([])])
def test_nothing_gives_no_rows_of_the_right_width(encode: Encode, nothing: Any) -> None:
    found = encode(nothing)
    assert found.dense.shape == (0, 32)
    assert len(found.tokens) == len(found.truncated) == 0


def test_an_empty_string_is_a_text(encode: Encode) -> None:
    found = encode(["", "the dog", ""])
    assert found.tokens.tolist() == [2, 4, 2]
    assert np.isfinite(found.dense).all()
    same(found[0], found[2])


@pytest.mark.parametrize(
    ("wrong", "named"), [(None, "NoneType"), (5, "int"), (b"text", "bytes"), ({"a": 1}, "dict"), (1.5, "float")]
)
def test_what_is_no_text_is_refused(encode: Encode, wrong: Any, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"texts is a {named}"):
        encode(wrong)


@pytest.mark.parametrize(("wrong", "named"), [(5, "int"), (None, "NoneType"), (b"x", "bytes"), (["a"], "list")])
def test_a_wrong_item_is_named_by_its_number(encode: Encode, wrong: Any, named: str) -> None:
    with pytest.raises(InvalidInputError, match=f"text 2 is a {named}"):
        encode(["a", "b", wrong])


def test_a_bad_text_behind_the_first_chunk_is_named_by_its_number(embedder: Embedder) -> None:
    texts = ["a"] * 3000
    with pytest.raises(InvalidInputError, match="text 3000 is a int"):
        embedder.encode([*texts, 5])  # type: ignore[list-item]
    with pytest.raises(InvalidInputError, match="text 3000 holds a lone surrogate"):
        embedder.encode([*texts, "\ud800"])
    with pytest.raises(TextTooLongError, match="text 3000 has 100 tokens"):
        embedder.encode([*texts, "dog " * 100], truncation="error")
    with pytest.raises(InvalidInputError, match="input 3000: token id 99999"):
        embedder.encode_ids([[5]] * 3000 + [[99999]])


def test_an_unknown_keyword_is_a_type_error(encode: Encode, tiny_bert: Path) -> None:
    with pytest.raises(TypeError, match="batch_size"):
        encode(TEXTS, batch_size=32)
    with pytest.raises(TypeError, match="use_fp16"):
        Embedder(tiny_bert, use_fp16=True)  # type: ignore[call-arg]


def test_order_does_not_matter_to_a_text(embedder: Embedder) -> None:
    same(embedder.encode(TEXTS[::-1])[::-1], embedder.encode(TEXTS))


# Token counts and truncation.


def test_tokens_and_truncation_are_reported(embedder: Embedder) -> None:
    whole = [len(encoding.ids) for encoding in tokenizer_for(BERT).encode_batch(TEXTS)]
    found = embedder.encode(TEXTS)
    assert found.tokens.tolist() == [min(length, 64) for length in whole]
    assert found.truncated.tolist() == [length > 64 for length in whole]
    assert found.truncated.any()


def test_max_length_of_a_call(embedder: Embedder) -> None:
    found = embedder.encode(["the dog is big", "dog"], max_length=4)
    assert found.tokens.tolist() == [4, 3]
    assert found.truncated.tolist() == [True, False]
    same(found[0], embedder.encode("the dog").dense[0])


def test_left_truncation_keeps_the_end(embedder: Embedder) -> None:
    same(embedder.encode("big the dog", max_length=4, truncation="left"), embedder.encode("the dog"))


def test_refusing_truncation(embedder: Embedder) -> None:
    with pytest.raises(TextTooLongError, match="text 1 has 3 tokens, 2 fit"):
        embedder.encode(["dog", "the big dog"], max_length=4, truncation="error")


def test_truncation_and_max_length_of_the_model(tiny_bert: Path) -> None:
    with Embedder(tiny_bert, precision="f32", threads=1, max_length=4, truncation="left") as model:
        assert model.max_length == 4
        same(model.encode("big the dog"), model.encode("the dog"))
        assert model.encode("big the dog", max_length=64).tokens.tolist() == [5]
        assert model.encode("big the dog", truncation="right").truncated.tolist() == [True]


@pytest.mark.parametrize("max_length", [0, -1, 65, True, 5.0, "5"])
def test_max_length_stays_within_the_models(embedder: Embedder, tiny_bert: Path, max_length: Any) -> None:
    with pytest.raises(InvalidInputError, match="allows 1 to 64"):
        embedder.encode("a", max_length=max_length)
    with pytest.raises(InvalidInputError, match="allows 1 to 64"):
        Embedder(tiny_bert, max_length=max_length)


@pytest.mark.parametrize("truncation", ["middle", "", True, 1])
def test_an_unknown_truncation_is_refused(embedder: Embedder, tiny_bert: Path, truncation: Any) -> None:
    with pytest.raises(InvalidInputError, match="right, left, error"):
        embedder.encode("a", truncation=truncation)
    with pytest.raises(InvalidInputError, match="right, left, error"):
        Embedder(tiny_bert, truncation=truncation)


# Dimensions and length of vectors.


def test_dimensions_are_cut_and_then_normalised(encode: Encode) -> None:
    whole, cut = encode(TEXTS).dense, encode(TEXTS, dimensions=8).dense
    assert cut.shape == (60, 8)
    same(cut, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True))


def test_all_dimensions_may_be_asked_for(encode: Encode) -> None:
    same(encode(TEXTS, dimensions=32), encode(TEXTS))
    assert encode([], dimensions=8).dense.shape == (0, 8)


@pytest.mark.parametrize("dimensions", [0, -1, 33, True, 8.0, "8"])
@pytest.mark.parametrize("texts", [["a"], []])
def test_bad_dimensions_are_refused(encode: Encode, dimensions: Any, texts: list[str]) -> None:
    with pytest.raises(InvalidInputError, match="1 to 32"):
        encode(texts, dimensions=dimensions)


def test_vectors_may_stay_as_the_model_gives_them(embedder: Embedder) -> None:
    raw = embedder.encode(TEXTS, normalize=False).dense
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(norms - 1).min() > 0.1
    same(raw / norms, embedder.encode(TEXTS))
    same(embedder.encode(TEXTS, normalize=False, dimensions=8), raw[:, :8])


# Prompts.


def test_a_prompt_is_put_before_the_text_as_it_stands(encode: Encode, embedder: Embedder) -> None:
    same(encode("dog", prompt="find: {text} {0} "), embedder.encode("find: {text} {0} dog"))
    same(encode("{instruction} {} {text}", prompt="a "), embedder.encode("a {instruction} {} {text}"))
    same(encode("dog", prompt=""), embedder.encode("dog"))


def test_an_instruction_is_put_into_the_template(encode: Encode, embedder: Embedder) -> None:
    same(encode("{text} {}", instruction="find {instruction}: "), embedder.encode("find {instruction}: {text} {}"))
    same(encode("dog", instruction=""), embedder.encode("dog"))


def test_prompt_and_instruction_exclude_each_other(encode: Encode) -> None:
    with pytest.raises(InvalidInputError, match=r"prompt=.*instruction="):
        encode("a", prompt="b", instruction="c")


@pytest.mark.parametrize("keyword", ["prompt", "instruction"])
def test_a_prompt_must_be_text(encode: Encode, keyword: str) -> None:
    with pytest.raises(InvalidInputError, match=f"{keyword} is a bytes"):
        encode("a", **{keyword: b"query: "})


def test_prompts_count_as_tokens(embedder: Embedder) -> None:
    assert embedder.encode("dog", prompt="the big ").tokens.tolist() == [5]


def test_queries_and_documents_are_written_as_the_card_says(prompted: Embedder) -> None:
    plain = prompted.encode(["search: dog", "text: dog", "find: dog", "dog"], prompt="")
    same(prompted.encode_queries("dog"), plain[0:1])
    same(prompted.encode_documents("dog"), plain[1:2])
    same(prompted.encode("dog"), plain[2:3])
    same(prompted.encode_queries("dog", prompt=""), plain[3:4])
    same(prompted.encode_queries("dog", instruction="find: "), plain[2:3])


def test_a_listed_cards_instruction_is_used(tiny_bert: Path) -> None:
    with Embedder(tiny_bert, precision="f32", threads=1, card="BAAI/bge-small-en-v1.5") as model:
        expected = model.encode("Represent this sentence for searching relevant passages: dog")
        same(model.encode_queries("dog"), expected)
        same(model.encode_documents("dog"), model.encode("dog"))


# Token ids.


def test_ids_give_the_vectors_of_their_texts(embedder: Embedder) -> None:
    encoded = tokenizer_for(BERT).encode_batch(TEXTS)
    found = embedder.encode_ids([encoding.ids for encoding in encoded])
    expected = embedder.encode(TEXTS)
    short = ~expected.truncated
    same(found.dense[short], expected.dense[short])
    assert found.tokens[short].tolist() == expected.tokens[short].tolist()


def test_ids_know_dimensions_length_and_nothing(embedder: Embedder) -> None:
    ids = [[30, 31, 32, 33, 34]]
    plain = embedder.encode_ids(ids, normalize=False).dense[:, :8]
    same(embedder.encode_ids(ids, dimensions=8), plain / np.linalg.norm(plain))
    assert embedder.encode_ids(ids, max_length=4).truncated.tolist() == [True]
    assert embedder.encode_ids([]).dense.shape == (0, 32)


@pytest.mark.parametrize("wrong", [None, 5, [1, 2], [None], "text", ["text"], [b"ab"], {"a": [1]}])
def test_what_are_no_ids_is_refused(embedder: Embedder, wrong: Any) -> None:
    with pytest.raises(InvalidInputError):
        embedder.encode_ids(wrong)


@pytest.mark.parametrize("inputs", [[[5]], []])
def test_bad_dimensions_of_ids_are_refused(embedder: Embedder, inputs: list[list[int]]) -> None:
    with pytest.raises(InvalidInputError, match="1 to 32"):
        embedder.encode_ids(inputs, dimensions=33)


# Similarity.


def test_similarity_is_the_cosine(embedder: Embedder) -> None:
    a, b = embedder.encode(TEXTS[:3]), embedder.encode(TEXTS[3:8])
    found = embedder.similarity(a, b)
    assert found.shape == (3, 5)
    same(found, a.dense @ b.dense.T)
    same(embedder.similarity(a.dense * 7, b), found)
    same(np.diag(embedder.similarity(a, a)), np.ones(3))


def test_similarity_of_single_vectors(embedder: Embedder) -> None:
    vector = embedder.encode("dog").dense[0]
    assert embedder.similarity(vector, vector).shape == (1, 1)


def test_similarity_of_a_model_that_does_not_normalise_is_the_inner_product(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT, normalize=False)
    with Embedder(folder, precision="f32", threads=1) as model:
        a = model.encode(TEXTS[:3])
        assert np.abs(np.linalg.norm(a.dense, axis=1) - 1).min() > 0.1
        np.testing.assert_allclose(model.similarity(a, a), a.dense @ a.dense.T, rtol=1e-5)


def test_vectors_of_two_models_cannot_be_compared(embedder: Embedder) -> None:
    with pytest.raises(InvalidInputError, match="32 and 8 dimensions"):
        embedder.similarity(embedder.encode("a"), embedder.encode("a", dimensions=8))


# What it says about itself.


def test_it_describes_itself(embedder: Embedder, tiny_bert: Path) -> None:
    assert embedder.name == str(tiny_bert)
    assert embedder.dimension == 32
    assert embedder.max_length == 64
    assert (embedder.card.pooling, embedder.card.normalize, embedder.card.task) == ("cls", True, "embed")
    assert (embedder.engine.precision, embedder.engine.threads, embedder.engine.device) == ("f32", 2, "cpu")
    assert len(embedder.fingerprint) == 32
    assert repr(embedder) == (
        f"Embedder({str(tiny_bert)!r}: cls pooling, 32 dimensions, 64 tokens, openvino cpu f32, 2 threads)"
    )


def test_an_xlm_roberta_model_loses_two_positions_to_padding(tiny_xlmr: Path) -> None:
    with Embedder(tiny_xlmr, precision="f32", threads=1) as model:
        assert model.max_length == 64
        assert model.encode("dog " * 100).tokens.tolist() == [64]
        with pytest.raises(InvalidInputError, match="1 to 64"):
            model.encode("dog", max_length=65)


@pytest.mark.parametrize(
    ("keywords", "error", "match"),
    [
        ({"device": "gpu"}, InvalidInputError, "allowed are auto, cpu, mps, cuda and cuda:N"),
        ({"device": ""}, InvalidInputError, "device is ''"),
        ({"device": ["auto", "cpu"]}, InvalidInputError, "device is"),
        ({"device": "cuda", "engine": "openvino"}, UnsupportedModelError, "computes on the CPU.*engine='torch'"),
        ({"engine": "onnx"}, InvalidInputError, "engine is 'onnx'; allowed are auto, openvino, torch"),
        ({"precision": "f16"}, UnsupportedModelError, "f16.*engine='torch'"),
        ({"precision": "fp16"}, InvalidInputError, "auto, f32, bf16"),
        ({"threads": 0}, InvalidInputError, "threads is 0"),
        ({"threads": True}, InvalidInputError, "threads is True"),
        ({"threads": "2"}, InvalidInputError, "threads is '2'"),
        ({"pooling": "median"}, InvalidInputError, "median"),
        ({"card": "BAAI/bge-bose-en-v1.5"}, InvalidInputError, "BAAI/bge-base-en-v1.5"),
    ],
)
def test_bad_options_are_refused(tiny_bert: Path, keywords: dict[str, Any], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        Embedder(tiny_bert, **keywords)


# Closing, and many callers at once.


def test_a_closed_model_says_so(tiny_bert: Path) -> None:
    with Embedder(tiny_bert, precision="f32", threads=1) as model:
        model.encode("a")
    with pytest.raises(ClosedError, match="closed"):
        model.encode("a")
    with pytest.raises(ClosedError, match="closed"):
        list(model.stream(["a"]))
    model.close()
    assert "32 dimensions" in repr(model)


def test_two_models_of_one_folder_are_independent(tiny_bert: Path) -> None:
    first, second = (Embedder(tiny_bert, precision="f32", threads=1) for _ in range(2))
    expected = first.encode(TEXTS)
    first.close()
    same(second.encode(TEXTS), expected)
    second.close()


def test_threads_get_equal_vectors(embedder: Embedder) -> None:
    expected = embedder.encode(TEXTS)
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: embedder.encode(TEXTS), range(24)):
            same(found, expected)


def test_asyncio_tasks_get_equal_vectors(embedder: Embedder) -> None:
    expected = embedder.encode(TEXTS)

    async def together() -> list[Embeddings]:
        return await asyncio.gather(*(asyncio.to_thread(embedder.encode, TEXTS) for _ in range(16)))

    for found in asyncio.run(together()):
        same(found, expected)


def test_bf16_keeps_the_direction(tiny_bert: Path, embedder: Embedder) -> None:
    with Embedder(tiny_bert, precision="bf16", threads=1) as half:
        assert half.engine.precision == "bf16"
        assert half.fingerprint != embedder.fingerprint
        cosines = (half.encode(TEXTS).dense * embedder.encode(TEXTS).dense).sum(axis=1)
    assert cosines.min() >= 0.9995


def test_a_model_of_one_layer_and_one_head(tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", Shape(hidden=8, heads=1, layers=1, inner=5, positions=7))
    with Embedder(folder, precision="f32", threads=1) as model:
        assert model.encode(TEXTS).dense.shape == (60, 8)
        assert model.max_length == 7
