"""Embedders grown from language models, held to transformers' own forward and to each formula written out."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder, Example
from lagotto.cards.architectures import DECODERS
from lagotto.cards.checkpoint import open_checkpoint
from lagotto.cards.registry import find_card
from lagotto.cards.sources import Source
from lagotto.core.errors import CheckpointError, InvalidInputError, UnsupportedModelError
from lagotto.engines.torch.engine import TorchEngine
from lagotto.engines.torch.pooling import pool
from lagotto.engines.torch.weights import open_module
from support.architectures import reference_model, torch, transformers
from support.checkpoints import change_json, some_texts
from support.engines import compute, tokenizer_of
from support.language_models import their_tokenizer, write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = [*some_texts(10, seed=2, longest=30), "a", "the dog"]
CLOSE = 1e-5
Vectors = NDArray[np.float32]
MODERN = tuple(int(part) for part in transformers.__version__.split(".")[:2]) >= (5, 2)


def opened(folder: Path, **options: Any) -> Embedder:
    return Embedder(folder, **{"precision": "f32", "threads": 1, "device": "cpu", **options})


def unit(vectors: Any) -> Vectors:
    found = np.asarray(vectors, np.float32)
    return np.asarray(found / np.linalg.norm(found, axis=-1, keepdims=True), np.float32)


def states(model: Any, ids: Sequence[int], **given: Any) -> Vectors:
    with torch.inference_mode():
        found: Vectors = model(torch.tensor([list(ids)]), **given).last_hidden_state[0].numpy()
    return found


@pytest.fixture(scope="module")
def mistral(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("model") / "mistral")


@pytest.fixture(scope="module")
def icl(mistral: Path) -> Iterator[Embedder]:
    with opened(mistral, card="BAAI/bge-en-icl") as model:
        yield model


@pytest.mark.parametrize("architecture", DECODERS)
def test_the_last_token_is_found_whichever_side_padding_is_on(tmp_path: Path, architecture: str) -> None:
    folder = write_language_model(tmp_path / "model", architecture)
    model, tokenizer = reference_model(folder), their_tokenizer(folder)
    with opened(folder, pooling="last_token") as ours:
        found = ours.encode(TEXTS).dense
    for side in ("left", "right"):
        tokenizer.padding_side = side
        batch = tokenizer(TEXTS, return_tensors="pt", padding=True, return_token_type_ids=False)
        places = batch["attention_mask"].cumsum(-1) - 1
        with torch.inference_mode():
            hidden = model(**batch, position_ids=places.clamp(min=0)).last_hidden_state
        last = torch.full((len(TEXTS),), hidden.shape[1] - 1) if side == "left" else batch["attention_mask"].sum(1) - 1
        expected = unit(hidden[torch.arange(len(TEXTS)), last].numpy())
        np.testing.assert_allclose(found, expected, atol=CLOSE)


# The end token.


def test_an_end_token_that_the_config_asks_for_is_added_aloud(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """As intfloat/e5-mistral-7b-instruct: tokenizer_config.json asks for it, tokenizer.json does not add it."""
    with opened(write_language_model(tmp_path / "whole"), pooling="last_token") as model:
        expected = model.encode(TEXTS)
    assert not caplog.records
    folder = write_language_model(tmp_path / "lacking", end=False)
    change_json(folder / "tokenizer_config.json", add_eos_token=True)
    with caplog.at_level(logging.WARNING), opened(folder, pooling="last_token") as model:
        found = model.encode(TEXTS)
        assert model.tokenizer.template.suffix == (2,)
        np.testing.assert_allclose(
            model.encode_ids([[1, 356, 382, 2], [356, 382]]).dense, model.encode("the dog").dense[[0, 0]], atol=1e-6
        )
    assert "adds no end token, and the model was trained with '</s>': it is added behind every text" in caplog.text
    np.testing.assert_allclose(found.dense, expected.dense, atol=CLOSE)
    assert found.tokens.tolist() == expected.tokens.tolist()


def test_a_card_knows_the_end_token_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_language_model(tmp_path / "model", end=False)
    with caplog.at_level(logging.WARNING), opened(folder, card="intfloat/e5-mistral-7b-instruct") as model:
        assert model.tokenizer.template.suffix == (2,)
        told = model.fingerprint
    assert "'</s>'" in caplog.text
    with opened(folder, pooling="last_token") as plain:
        assert plain.tokenizer.template.suffix == ()
        assert plain.fingerprint != told
    with opened(folder, pooling="mean") as mean:  # there the end has no part of its own
        assert mean.tokenizer.template.suffix == ()


def test_another_end_token_is_left_and_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = write_language_model(tmp_path / "model")
    change_json(folder / "tokenizer_config.json", add_eos_token=True, eos_token={"content": "<s1>"})
    with caplog.at_level(logging.WARNING), opened(folder, pooling="last_token") as model:
        assert model.tokenizer.template.suffix == (2,)
    assert "texts end with '</s>', as tokenizer.json says, and not with '<s1>'" in caplog.text


def test_an_end_token_that_nobody_knows_is_refused(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", end=False)
    change_json(folder / "tokenizer_config.json", add_eos_token=True, eos_token="<end>")
    with pytest.raises(CheckpointError, match="texts end with '<end>', which is no token"):
        opened(folder, pooling="last_token")
    change_json(folder / "tokenizer_config.json", eos_token=None)
    with pytest.raises(CheckpointError, match="add_eos_token is true, but eos_token is None"):
        opened(folder, pooling="last_token")


# Attention in both directions.


@pytest.mark.skipif(not MODERN, reason="this transformers masks language models one way")
@pytest.mark.parametrize("architecture", ["qwen2", "mistral", "llama", "gemma2"])
def test_both_directions(tmp_path: Path, architecture: str) -> None:
    folder = write_language_model(tmp_path / "model", architecture, sliding_window=512)
    model, tokenizer = reference_model(folder), their_tokenizer(folder)
    ids = tokenizer(TEXTS).input_ids
    one_way = unit(states(model, ids[-1])[-1])
    seen = [states(model, one, attention_mask=_all_seen(architecture, len(one)))[-1] for one in ids]
    assert np.abs(unit(seen[-1]) - one_way).max() > 0.01
    with opened(folder, pooling="last_token") as plain:
        np.testing.assert_allclose(plain.encode(TEXTS[-1]).dense[0], one_way, atol=CLOSE)
        before = plain.fingerprint
    change_json(folder / "config.json", is_causal=False)
    with opened(folder, pooling="last_token") as both:
        np.testing.assert_allclose(both.encode(TEXTS).dense, unit(np.stack(seen)), atol=CLOSE)
        assert both.fingerprint != before
    checkpoint = open_checkpoint(Source(str(folder), folder, None), "embed", pooling="last_token")
    packed = TorchEngine(checkpoint, "cpu", "f32", 1, packing=True)
    sequences = tokenizer_of(checkpoint).encode(TEXTS, 256)
    np.testing.assert_allclose(compute(packed, sequences, 0), np.stack(seen), atol=1e-4)
    packed.close()


def _all_seen(architecture: str, tokens: int) -> Any:
    mask = torch.zeros(1, 1, tokens, tokens)
    return {"full_attention": mask, "sliding_attention": mask} if architecture == "gemma2" else mask


@pytest.mark.skipif(not MODERN, reason="this transformers masks language models one way")
def test_a_listed_models_own_code_is_passed_over_where_its_card_knows_better(tmp_path: Path) -> None:
    """gte-Qwen2: config.json names code of the checkpoint's own, and says nothing of the direction."""
    folder = write_language_model(tmp_path / "model", "qwen2")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        written = (folder / name).read_text().replace("</s>", "<|endoftext|>")
        (folder / name).write_text(written)
    change_json(folder / "config.json", auto_map={"AutoModel": "modeling_qwen.Qwen2Model"})
    with pytest.raises(UnsupportedModelError, match="pass card= with the listed model it was made from"):
        opened(folder, pooling="last_token")
    with opened(folder, card="Alibaba-NLP/gte-Qwen2-1.5B-instruct") as model:
        assert model.card.bidirectional
        found = model.encode_queries("the dog")
    change_json(folder / "config.json", auto_map=None, is_causal=False)
    with opened(folder, pooling="last_token") as model:
        text = "Instruct: Given a web search query, retrieve relevant passages that answer the query\nQuery: the dog"
        np.testing.assert_allclose(found.dense, model.encode(text).dense, atol=CLOSE)


def test_both_directions_need_a_transformers_that_can(mistral: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lagotto.engines.torch.weights._BOTH_DIRECTIONS", (99, 0))
    checkpoint = open_checkpoint(Source("m", mistral, None), "embed", pooling="last_token")
    both = replace(checkpoint, card=checkpoint.card.with_changes(bidirectional=True))
    with pytest.raises(UnsupportedModelError, match=r"install transformers 5\.2 or later"):
        open_module(both, torch.float32, "cpu")


# LLARA.


def test_llara_is_the_mean_of_its_eight_tokens(tmp_path: Path) -> None:
    folder = write_language_model(tmp_path / "model", "llama", end=False)
    model, tokenizer = reference_model(folder), their_tokenizer(folder)

    def expected(text: str, end: str, marks: range) -> Vectors:
        after = f'", {end} within eight words: ' + "".join(f"<s{number}>" for number in marks)
        middle = tokenizer(text, add_special_tokens=False).input_ids
        ids = [*tokenizer('"').input_ids, *middle, *tokenizer(after).input_ids[1:]]
        assert len(tokenizer("".join(f"<s{number}>" for number in marks), add_special_tokens=False).input_ids) == 8
        return unit(states(model, ids)[-8:].mean(axis=0))

    query = np.stack([expected(text, "predict the following passage", range(9, 17)) for text in TEXTS])
    passage = np.stack([expected(text, "summarize the above passage", range(1, 9)) for text in TEXTS])
    with opened(folder, card="BAAI/LLARA-passage") as ours:
        np.testing.assert_allclose(ours.encode_queries(TEXTS).dense, query, atol=CLOSE)
        np.testing.assert_allclose(ours.encode_documents(TEXTS).dense, passage, atol=CLOSE)
        long = ours.encode_documents("dog " * 400)
        assert (long.tokens.tolist(), long.truncated.tolist()) == ([256], [True])
        spans = ours.encode_spans("the dog", [(0, 7)])
        assert spans.dense.shape == (1, 32)
        with pytest.raises(UnsupportedModelError, match="puts something behind these texts"):
            ours.encode_spans("the dog", [(0, 7)], role="document")
    assert np.abs(query - passage).max() > 0.01


def test_last_tokens_mean_of_shorter_texts_and_without_a_number(mistral: Path) -> None:
    found = pool(torch.arange(24.0).reshape(2, 6, 2), torch.tensor([2, 6]), "last_tokens_mean", 4)
    assert found.tolist() == [[1.0, 2.0], [19.0, 20.0]]
    with pytest.raises(CheckpointError, match="last_tokens_mean needs the number of states"):
        opened(mistral, pooling="last_tokens_mean")


# bge-en-icl.

EXAMPLES: list[dict[str, Any]] = [
    {"instruct": "find the animal", "query": "what is a {query}", "response": "the big dog"},
    {"query": "who", "response": "the cat {instruction}"},
]
SHOWN = (
    "<instruct>find the animal\n<query>what is a {query}\n<response>the big dog\n\n"
    "<instruct>TASK\n<query>who\n<response>the cat {instruction}\n\n"
)


def icl_vector(folder: Path, text: str) -> Vectors:
    return unit(states(reference_model(folder), their_tokenizer(folder)(text).input_ids)[-1])


def test_icl_queries(mistral: Path, icl: Embedder) -> None:
    usual = "<instruct>Given a web search query, retrieve relevant passages that answer the query.\n<query>the dog"
    np.testing.assert_allclose(
        icl.encode_queries("the dog").dense[0], icl_vector(mistral, usual + "\n<response>"), atol=CLOSE
    )
    asked = "<instruct>find\n<query>the dog\n<response>"
    shown = SHOWN.replace("TASK", "find")
    values = [Example("what is a {query}", "the big dog", "find the animal"), Example("who", "the cat {instruction}")]
    for examples in (EXAMPLES, values, iter(values)):
        found = icl.encode_queries("the dog", instruction="find", examples=examples)
        np.testing.assert_allclose(found.dense[0], icl_vector(mistral, shown + asked), atol=CLOSE)
        assert not found.truncated[0]
    alike = icl.encode("the dog", instruction="find").dense[0]  # an instruction makes it a query
    np.testing.assert_allclose(alike, icl_vector(mistral, asked), atol=CLOSE)
    bare = icl.encode_queries("the dog", instruction="").dense[0]
    np.testing.assert_allclose(bare, icl_vector(mistral, "the dog\n<response>"), atol=CLOSE)


def test_icl_documents_stay_plain(mistral: Path, icl: Embedder) -> None:
    expected = icl_vector(mistral, "the dog")
    np.testing.assert_allclose(icl.encode_documents("the dog").dense[0], expected, atol=CLOSE)
    np.testing.assert_allclose(icl.encode("the dog").dense[0], expected, atol=CLOSE)
    with pytest.raises(InvalidInputError, match="documents have none"):
        icl.encode_documents("the dog", examples=EXAMPLES)


def test_icl_cuts_the_query_alone(icl: Embedder) -> None:
    found = icl.encode_queries(["dog " * 300, "dog"], instruction="find", max_length=40, examples=EXAMPLES)
    alone = icl.encode_queries("dog " * 300, instruction="find", max_length=40)
    assert found.truncated.tolist() == [True, False]
    assert found.tokens[0] == alone.tokens[0] + icl.tokenizer.count(SHOWN.replace("TASK", "find"))
    assert len(np.unique(found.dense, axis=0)) == 2


def test_compat_cuts_as_flag_embedding_does(mistral: Path, icl: Embedder) -> None:
    with opened(mistral, card="BAAI/bge-en-icl", compat=True) as model:
        assert model.fingerprint != icl.fingerprint
        found = model.encode_queries("the dog", instruction="find").dense[0]
        # The tokenizer's space before each string is shown by decoding, and comes twice.
        expected = icl_vector(mistral, "<instruct> find\n<query> the dog\n<response>")
        np.testing.assert_allclose(found, expected, atol=CLOSE)
    with pytest.raises(InvalidInputError, match="compat is for bge-en-icl"):
        opened(mistral, pooling="last_token", compat=True)


@pytest.mark.parametrize(
    ("examples", "message"),
    [
        ("dog", "examples is a str"),
        ({"query": "a", "response": "b"}, "examples is a dict"),
        ([1], "example 0 is a int"),
        ([{"query": "a"}], "example 0 has query; it needs query and response"),
        ([{"query": "a", "response": "b", "answer": "c"}], "example 0 has query, response, answer"),
        ([{"query": "a", "response": 3}], "example 0: response is 3"),
        ([{"query": "a", "response": "b"}, Example(1, "b")], "example 1: query is 1"),  # type: ignore[arg-type]
    ],
)
def test_examples_that_are_none(icl: Embedder, examples: Any, message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        icl.encode_queries("dog", examples=examples)


def test_examples_are_for_models_that_were_trained_with_them(mistral: Path) -> None:
    with opened(mistral, pooling="last_token") as model:
        with pytest.raises(InvalidInputError, match="was not trained with worked examples"):
            model.encode_queries("dog", examples=EXAMPLES)
        np.testing.assert_array_equal(model.encode_queries("dog", examples=[]).dense, model.encode("dog").dense)


# Every listed one, run once as a tiny model of its shape.

LISTED = [
    *("BAAI/bge-multilingual-gemma2", "BAAI/bge-en-icl", "BAAI/bge-code-v1", "BAAI/bge-reasoner-embed-qwen3-8b-0923"),
    *("BAAI/LLARA-beir", "Qwen/Qwen3-Embedding-0.6B", "Alibaba-NLP/gte-Qwen2-7B-instruct"),
    *("intfloat/e5-mistral-7b-instruct", "Salesforce/SFR-Embedding-2_R", "Linq-AI-Research/Linq-Embed-Mistral"),
]


@pytest.mark.parametrize("name", LISTED)
def test_each_listed_shape_runs(tmp_path: Path, name: str) -> None:
    card = find_card(name)
    assert card is not None
    if card.bidirectional and not MODERN:
        pytest.skip("this transformers masks language models one way")
    folder = write_language_model(tmp_path / "model", card.architecture)
    if card.end_token not in ("", "</s>"):
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_text((folder / file).read_text().replace("</s>", card.end_token))
    with opened(folder, card=name) as model:
        fixed = "last_tokens" in card.options
        asked: dict[str, Any] = {} if fixed else {"instruction": "find the animal"}
        queries = model.encode_queries(["the dog", "what is a panda"], **asked)
        documents = model.encode_documents(["the big dog", "a panda", "paris"])
        assert (queries.dense.shape, documents.dense.shape) == ((2, 32), (3, 32))
        np.testing.assert_allclose(np.linalg.norm(documents.dense, axis=1), 1, atol=1e-5)
        again = model.encode_queries("the dog", **asked).dense[0]
        np.testing.assert_allclose(queries.dense[0], again, atol=CLOSE)
        if fixed:
            with pytest.raises(
                InvalidInputError, match="reads its vector from the tokens that its own prompts end with"
            ):
                model.encode_queries("the dog", instruction="find the city")
            return
        other = model.encode_queries("the dog", instruction="find the city").dense[0]
        assert np.abs(other - again).max() > 1e-3


def test_a_folders_prompt_in_the_cards_template_takes_other_instructions(tmp_path: Path) -> None:
    """Qwen3-Embedding's own files name the whole prefix, with its usual instruction in it."""
    name, folder = "Qwen/Qwen3-Embedding-0.6B", write_language_model(tmp_path / "model", "qwen3", end=False)
    for file in ("tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_text((folder / file).read_text().replace("</s>", "<|endoftext|>"))
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "Instruct: usual\nQuery:"})
    with opened(folder, card=name) as model:
        assert model.card.query.render("dog") == "Instruct: usual\nQuery:dog"
        assert model.card.query.render("dog", "find") == "Instruct: find\nQuery:dog"
        found = model.encode_queries("dog", instruction="find").dense
        np.testing.assert_allclose(found, model.encode("Instruct: find\nQuery:dog").dense, atol=CLOSE)
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "search: "})
    with opened(folder, card=name) as model:
        assert model.card.query.render("dog", "find: ") == "find: dog"
