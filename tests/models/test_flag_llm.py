"""FlagEmbedding's classes for language models: names, defaults, and the vectors that its own way gives."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from lagotto import Embedder
from lagotto.core.errors import InvalidInputError
from lagotto.flag import FlagAutoModel, FlagICLModel, FlagLLMModel
from support.architectures import reference_model, torch
from support.checkpoints import some_texts
from support.language_models import their_tokenizer, write_language_model

pytestmark = pytest.mark.filterwarnings("ignore")
TEXTS = [*some_texts(8, seed=4, longest=30), "the dog " * 60]
REQUIRED = inspect.Parameter.empty
EXAMPLES = [{"instruct": "find", "query": "who", "response": "the dog"}, {"query": "where", "response": "paris"}]
SHOWN = "<instruct>find\n<query>who\n<response>the dog\n\n<instruct>look\n<query>where\n<response>paris\n\n"
LLM: dict[str, Any] = {
    "model_name_or_path": REQUIRED,
    "normalize_embeddings": True,
    "use_fp16": True,
    "use_bf16": False,
    "query_instruction_for_retrieval": None,
    "query_instruction_format": "Instruct: {}\nQuery: {}",
    "devices": None,
    "trust_remote_code": False,
    "cache_dir": None,
    "batch_size": 256,
    "query_max_length": 512,
    "passage_max_length": 512,
    "convert_to_numpy": True,
    "truncate_dim": None,
}
ICL = {
    **LLM,
    "query_instruction_format": "<instruct>{}\n<query>{}",
    "suffix": "\n<response>",
    "examples_for_task": None,
    "examples_instruction_format": "<instruct>{}\n<query>{}\n<response>{}",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language_model(tmp_path_factory.mktemp("models") / "bge-en-icl")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[FlagICLModel]:
    opened = FlagICLModel(
        str(folder), use_fp16=False, query_instruction_for_retrieval="look", query_max_length=40, devices="cpu"
    )
    yield opened
    opened.stop_self_pool()


def flag_icl(folder: Path, texts: list[str], prefix: str, instruction: str | None, most: int) -> Any:
    """FlagEmbedding's way with queries, written out: cut, decode, put the frame around, tokenise, last token."""
    tokenizer, network, alone = their_tokenizer(folder), reference_model(folder), {"add_special_tokens": False}
    suffix, rows = "\n<response>", []
    size = {part: len(tokenizer(part, **alone)["input_ids"]) for part in (prefix, suffix, "<s>", suffix + "</s>")}
    for text in texts:
        query = text if instruction is None else f"<instruct>{instruction}\n<query>{text}"
        room = most - size["<s>"] - size[suffix + "</s>"]
        kept = tokenizer.decode(tokenizer(query, max_length=room, truncation=True, **alone)["input_ids"])
        limit = (size[prefix] + size[suffix] + most + 8) // 8 * 8 + 8
        given = tokenizer(prefix + kept + suffix, max_length=limit, truncation=True, return_tensors="pt")
        with torch.inference_mode():
            state = network(given["input_ids"]).last_hidden_state[0, -1].numpy()
        rows.append(state / np.linalg.norm(state))
    return np.stack(rows)


@pytest.mark.parametrize(("kind", "expected"), [(FlagLLMModel, LLM), (FlagICLModel, ICL)])
def test_parameters_and_defaults(kind: Any, expected: dict[str, Any]) -> None:
    found = inspect.signature(kind.__init__).parameters.values()
    named = {one.name: one.default for one in found if one.name != "self" and one.kind is not one.KEYWORD_ONLY}
    assert named == expected


def test_queries_are_flag_embeddings(folder: Path, model: FlagICLModel) -> None:
    expected = flag_icl(folder, TEXTS, "", "look", 40)
    np.testing.assert_allclose(model.encode_queries(TEXTS), expected, atol=1e-5)
    model.set_examples(EXAMPLES)
    shown = model.encode_queries(TEXTS)
    np.testing.assert_allclose(shown, flag_icl(folder, TEXTS, SHOWN, "look", 40), atol=1e-5)
    assert model.encode_queries(TEXTS[0]).shape == (32,)
    assert isinstance(model.encode_queries(TEXTS[0], convert_to_numpy=False), torch.Tensor)
    model.set_examples()
    np.testing.assert_allclose(model.encode_queries(TEXTS), expected, atol=1e-5)


def test_passages_stay_plain(folder: Path, model: FlagICLModel) -> None:
    with Embedder(folder, pooling="last_token", precision="f32", device="cpu") as plain:
        np.testing.assert_allclose(model.encode_corpus(TEXTS), plain.encode(TEXTS).dense, atol=1e-5)
        np.testing.assert_allclose(model.encode(TEXTS), plain.encode(TEXTS).dense, atol=1e-5)


def test_formats_of_ones_own(folder: Path) -> None:
    model = FlagICLModel(
        str(folder),
        use_fp16=False,
        query_instruction_for_retrieval="look",
        query_instruction_format="{} : {}",
        suffix=" <response>",
        examples_for_task=EXAMPLES[:1],
        examples_instruction_format="{} / {} / {}",
        devices="cpu",
    )
    with Embedder(folder, pooling="last_token", precision="f32", device="cpu") as plain:
        expected = plain.encode("find / who / the dog\n\nlook : the dog <response>").dense[0]
    np.testing.assert_allclose(model.encode_queries("the dog"), expected, atol=1e-5)
    model.stop_self_pool()
    with pytest.raises(InvalidInputError, match=r"has 1 places \{\}, 2 are filled"):
        FlagICLModel(str(folder), query_instruction_format="{}", devices="cpu")


def test_the_automatic_class_knows_them(folder: Path, model: FlagICLModel) -> None:
    auto = FlagAutoModel.from_finetuned(
        str(folder), use_fp16=False, query_instruction_for_retrieval="look", devices="cpu", query_max_length=40
    )
    assert isinstance(auto, FlagICLModel)
    np.testing.assert_array_equal(auto.encode_queries(TEXTS), model.encode_queries(TEXTS))
    auto.stop_self_pool()
    base = FlagAutoModel.from_finetuned(str(folder), "decoder-only-base", use_fp16=False, devices="cpu")
    assert type(base) is FlagLLMModel
    assert base.query_instruction_format == "Instruct: {}\nQuery: {}"
    base.stop_self_pool()
    with pytest.raises(InvalidInputError, match="pooling_method is 'cls'; language models have 'last_token'"):
        FlagAutoModel.from_finetuned(str(folder), pooling_method="cls")
