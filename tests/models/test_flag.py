"""`lagotto.flag`: FlagEmbedding's names, signatures, defaults and return shapes."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lagotto
from lagotto import Embedder, Reranker
from lagotto.core.arrays import sigmoid
from lagotto.core.errors import ClosedError, InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.flag import FlagAutoModel, FlagAutoReranker, FlagLLMModel, FlagModel, FlagReranker
from support.checkpoints import some_texts, write_embedder, write_plain, write_reranker

TEXTS = some_texts(12, longest=15)
PAIRS = list(zip(TEXTS, reversed(TEXTS), strict=True))
LONG = "the giant panda is a bear " * 40
FINE = 2e-5
REQUIRED = inspect.Parameter.empty

# Parameters of FlagEmbedding 1.4.2, in their order. What its methods take as **kwargs goes to the tokenizer there.
EMBEDDER: dict[str, Any] = {
    "model_name_or_path": REQUIRED,
    "normalize_embeddings": True,
    "use_fp16": True,
    "use_bf16": False,
    "query_instruction_for_retrieval": None,
    "query_instruction_format": "{}{}",
    "devices": None,
    "pooling_method": "cls",
    "trust_remote_code": False,
    "cache_dir": None,
    "batch_size": 256,
    "query_max_length": 512,
    "passage_max_length": 512,
    "convert_to_numpy": True,
    "truncate_dim": None,
}
RERANKER: dict[str, Any] = {
    "model_name_or_path": REQUIRED,
    "use_fp16": False,
    "query_instruction_for_rerank": None,
    "query_instruction_format": "{}{}",
    "passage_instruction_for_rerank": None,
    "passage_instruction_format": "{}{}",
    "trust_remote_code": False,
    "cache_dir": None,
    "devices": None,
    "batch_size": 128,
    "query_max_length": None,
    "max_length": 512,
    "normalize": False,
}
AUTO_EMBEDDER: dict[str, Any] = {
    "model_name_or_path": REQUIRED,
    "model_class": None,
    "normalize_embeddings": True,
    "use_fp16": True,
    "use_bf16": False,
    "query_instruction_for_retrieval": None,
    "devices": None,
    "pooling_method": None,
    "trust_remote_code": None,
    "query_instruction_format": None,
    "truncate_dim": None,
    "kwargs": REQUIRED,
}
AUTO_RERANKER: dict[str, Any] = {
    "model_name_or_path": REQUIRED,
    "model_class": None,
    "use_fp16": False,
    "trust_remote_code": None,
    "kwargs": REQUIRED,
}
CALL: dict[str, Any] = {"batch_size": None, "max_length": None, "convert_to_numpy": None}
METHODS: list[tuple[Callable[..., Any], dict[str, Any]]] = [
    (FlagModel.encode_queries, {"queries": REQUIRED, **CALL}),
    (FlagModel.encode_corpus, {"corpus": REQUIRED, **CALL}),
    (FlagModel.encode, {"sentences": REQUIRED, **CALL, "instruction": None, "instruction_format": None}),
    (
        FlagReranker.compute_score,
        {
            "sentence_pairs": REQUIRED,
            "batch_size": None,
            "query_max_length": None,
            "max_length": None,
            "normalize": None,
        },
    ),
    (FlagModel.stop_self_pool, {}),
    (FlagReranker.stop_self_pool, {}),
]

# The models that FlagEmbedding 1.4.2 opens with its encoder classes: pooling and query format.
BGE = [f"bge-{size}-{language}{version}" for size in ("large", "base", "small") for language in ("en", "zh")
       for version in ("-v1.5", "")]  # fmt: skip
E5 = [f"e5-{size}{version}" for size in ("large", "base", "small") for version in ("-v2", "")]
MULTILINGUAL_E5 = [f"multilingual-e5-{size}" for size in ("large", "base", "small")]
LISTED = {
    **dict.fromkeys((*BGE, "gte-large-zh", "gte-base-zh", "gte-small-zh", "bce-embedding-base_v1"), ("cls", "{}{}")),
    **dict.fromkeys((*E5, *MULTILINGUAL_E5, "gte-large", "gte-base", "gte-small"), ("mean", "{}{}")),
    "multilingual-e5-large-instruct": ("mean", "Instruct: {}\nQuery: {}"),
}
LLMS = {
    **dict.fromkeys(("bge-code-v1", "bge-multilingual-gemma2"), "<instruct>{}\n<query>{}"),
    **dict.fromkeys(("Qwen3-Embedding-0.6B", "Qwen3-Embedding-8B"), "Instruct: {}\nQuery:{}"),
    **dict.fromkeys(
        ("bge-reasoner-embed-qwen3-8b-0923", "e5-mistral-7b-instruct", "gte-Qwen2-7B-instruct", "SFR-Embedding-2_R",
         "SFR-Embedding-Mistral", "Linq-Embed-Mistral", "gte-Qwen1.5-7B-instruct"),
        "Instruct: {}\nQuery: {}",
    ),
}  # fmt: skip
LATER = ["gte-multilingual-base", "gte-large-en-v1.5"]
RERANKERS = ["bge-reranker-base", "bge-reranker-large", "bge-reranker-v2-m3", "bce-reranker-base_v1"]
RERANKERS_LATER = [
    "jina-reranker-v2-base-multilingual",
    "gte-multilingual-reranker-base",
    "jina-reranker-v1-turbo-en",
]


@pytest.fixture(scope="module")
def model(tiny_bert: Path, cache: Path) -> Iterator[FlagModel]:
    opened = FlagModel(str(tiny_bert), use_fp16=False)
    yield opened
    opened.stop_self_pool()


@pytest.fixture(scope="module")
def ranker(tiny_reranker: Path, cache: Path) -> Iterator[FlagReranker]:
    opened = FlagReranker(str(tiny_reranker))
    yield opened
    opened.stop_self_pool()


def same(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), atol=FINE)


# Names and signatures.


@pytest.mark.parametrize("name", ["FlagModel", "FlagReranker", "FlagAutoModel", "FlagAutoReranker"])
def test_the_names_are_found_where_scripts_look_for_them(name: str) -> None:
    import lagotto.flag

    assert getattr(lagotto, name) is getattr(lagotto.flag, name)


def defaults(function: Callable[..., Any]) -> dict[str, Any]:
    """Parameters and defaults in order, without self."""
    found = inspect.signature(function).parameters.values()
    return {parameter.name: parameter.default for parameter in found if parameter.name != "self"}


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        (FlagModel.__init__, EMBEDDER),
        (FlagReranker.__init__, RERANKER),
        (FlagAutoModel.from_finetuned, AUTO_EMBEDDER),
        (FlagAutoReranker.from_finetuned, AUTO_RERANKER),
        *METHODS,
    ],
    ids=lambda value: getattr(value, "__qualname__", ""),
)
def test_parameters_their_order_and_their_defaults_are_flagembeddings(
    function: Callable[..., Any], expected: dict[str, Any]
) -> None:
    found = defaults(function)
    extra = set(found) - set(expected)
    assert {name: default for name, default in found.items() if name in expected} == expected
    assert [name for name in found if name in expected] == list(expected)
    for name in extra:
        assert inspect.signature(function).parameters[name].kind is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize("kind", [FlagModel, FlagReranker])
def test_an_unknown_keyword_raises(kind: Any, tiny_bert: Path) -> None:
    with pytest.raises(TypeError, match="nonsense"):
        kind(str(tiny_bert), nonsense=1)


def test_an_unknown_keyword_of_a_call_raises(model: FlagModel, ranker: FlagReranker) -> None:
    for call in (model.encode, model.encode_queries, model.encode_corpus):
        with pytest.raises(TypeError, match="padding"):
            call("a", padding=True)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="padding"):
        ranker.compute_score([("a", "b")], padding=True)  # type: ignore[call-arg]


# Embedding.


@pytest.mark.parametrize("method", ["encode", "encode_queries", "encode_corpus"])
def test_a_list_gives_a_matrix_and_a_string_a_vector(model: FlagModel, method: str) -> None:
    many, one = getattr(model, method)(TEXTS), getattr(model, method)(TEXTS[3])
    assert isinstance(many, np.ndarray)
    assert (many.shape, many.dtype, one.shape, one.dtype) == ((12, 32), np.float32, (32,), np.float32)
    same(one, many[3])
    assert getattr(model, method)([TEXTS[3]]).shape == (1, 32)


def test_vectors_are_the_embedders(model: FlagModel, tiny_bert: Path) -> None:
    with Embedder(tiny_bert, precision="f32") as embedder:
        same(model.encode(TEXTS), embedder.encode(TEXTS).dense)


def test_vectors_may_be_left_unnormalised(tiny_bert: Path, model: FlagModel) -> None:
    raw = FlagModel(str(tiny_bert), normalize_embeddings=False, use_fp16=False).encode(TEXTS)
    norms = np.linalg.norm(raw, axis=1, keepdims=True)
    assert not np.allclose(norms, 1, atol=0.01)
    same(raw / norms, model.encode(TEXTS))


def test_queries_take_the_instruction_in_its_format_and_passages_theirs(tiny_bert: Path, model: FlagModel) -> None:
    instructed = FlagModel(
        str(tiny_bert),
        use_fp16=False,
        query_instruction_for_retrieval="find the animal",
        query_instruction_format="{}: {}\\nanswer",
        passage_instruction_for_retrieval="text of",
        passage_instruction_format="{} {}",
    )
    same(instructed.encode_queries(TEXTS), model.encode([f"find the animal: {text}\nanswer" for text in TEXTS]))
    same(instructed.encode_queries("panda"), model.encode("find the animal: panda\nanswer"))
    same(instructed.encode_corpus(TEXTS), model.encode([f"text of {text}" for text in TEXTS]))
    same(instructed.encode(TEXTS), model.encode(TEXTS))
    same(model.encode(["panda"], instruction="a ", instruction_format="{}{}"), model.encode(["a panda"]))
    same(model.encode("panda", instruction="a "), model.encode("a panda"))


def test_without_an_instruction_nothing_is_added_whatever_the_folder_says(tmp_path: Path, model: FlagModel) -> None:
    folder = write_embedder(tmp_path / "m", prompts={"query": "find the dog ", "x": "y "}, default_prompt="x")
    prompted = FlagModel(str(folder), use_fp16=False)
    for method in ("encode", "encode_queries", "encode_corpus"):
        same(getattr(prompted, method)(TEXTS), model.encode(TEXTS))


def test_truncate_dim_cuts_and_normalises(tiny_bert: Path, model: FlagModel) -> None:
    found = FlagModel(str(tiny_bert), use_fp16=False, truncate_dim=8).encode(TEXTS)
    cut = model.encode(TEXTS)[:, :8]
    same(found, cut / np.linalg.norm(cut, axis=1, keepdims=True))


def test_the_default_length_of_512_is_no_more_than_the_models(model: FlagModel, tiny_bert: Path) -> None:
    with Embedder(tiny_bert, precision="f32") as embedder:
        same(model.encode([LONG]), embedder.encode([LONG]).dense)
        same(model.encode([LONG], max_length=9), embedder.encode([LONG], max_length=9).dense)


def test_queries_and_passages_have_lengths_of_their_own(tiny_bert: Path, model: FlagModel) -> None:
    short = FlagModel(str(tiny_bert), use_fp16=False, query_max_length=8, passage_max_length=16)
    same(short.encode_queries(LONG), model.encode(LONG, max_length=8))
    same(short.encode_corpus(LONG), model.encode(LONG, max_length=16))
    same(short.encode(LONG), model.encode(LONG, max_length=16))
    same(short.encode_queries(LONG, max_length=20), model.encode(LONG, max_length=20))


def test_the_batch_size_changes_nothing(tiny_bert: Path, model: FlagModel) -> None:
    same(FlagModel(str(tiny_bert), use_fp16=False, batch_size=1).encode(TEXTS), model.encode(TEXTS))
    same(model.encode(TEXTS, batch_size=3), model.encode(TEXTS))
    same(model.encode(TEXTS, 2, 16, True), model.encode(TEXTS, max_length=16))


def test_the_pooling_method_is_the_callers_word(tmp_path: Path, model: FlagModel) -> None:
    plain = write_plain(tmp_path / "plain")  # nothing in it says how to pool
    same(FlagModel(str(plain), use_fp16=False).encode(TEXTS), model.encode(TEXTS))
    mean = FlagModel(str(plain), use_fp16=False, pooling_method="mean").encode(TEXTS)
    with Embedder(plain, pooling="mean", precision="f32") as embedder:
        expected = embedder.encode(TEXTS).dense
    same(mean, expected / np.linalg.norm(expected, axis=1, keepdims=True))


def test_tensors_need_torch_and_say_so(model: FlagModel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="pip install torch"):
        model.encode(TEXTS, convert_to_numpy=False)
    assert isinstance(model.encode(TEXTS, convert_to_numpy=True), np.ndarray)


def test_tensors_come_when_asked_for(model: FlagModel, tiny_bert: Path) -> None:
    torch = pytest.importorskip("torch")
    for found in (model.encode(TEXTS, convert_to_numpy=False), model.encode_queries("a", convert_to_numpy=False)):
        assert isinstance(found, torch.Tensor)
        assert found.dtype == torch.float32
    always = FlagModel(str(tiny_bert), use_fp16=False, convert_to_numpy=False)
    assert isinstance(always.encode_corpus(TEXTS), torch.Tensor)
    assert isinstance(always.encode_corpus(TEXTS, convert_to_numpy=True), np.ndarray)


# Reranking.


def test_scores_are_a_list_of_floats_and_of_one_for_one_pair(ranker: FlagReranker, tiny_reranker: Path) -> None:
    many = ranker.compute_score(PAIRS)
    assert isinstance(many, list)
    assert all(type(score) is float for score in many)
    for pair in (PAIRS[2], list(PAIRS[2])):
        one = ranker.compute_score(pair)
        assert isinstance(one, list)
        same(one, [many[2]])
    assert ranker.compute_score([PAIRS[2]]) == ranker.compute_score(PAIRS[2])
    assert ranker.compute_score([]) == []
    with Reranker(tiny_reranker, precision="f32") as library:
        same(many, library.score(PAIRS).scores)


def test_scores_are_logits_unless_normalised(ranker: FlagReranker, tiny_reranker: Path) -> None:
    logits = np.array(ranker.compute_score(PAIRS), np.float32)
    same(ranker.compute_score(PAIRS, normalize=True), sigmoid(logits))
    always = FlagReranker(str(tiny_reranker), normalize=True)
    same(always.compute_score(PAIRS), sigmoid(logits))
    same(always.compute_score(PAIRS, normalize=False), logits)


def test_long_passages_are_cut_not_read_in_windows(ranker: FlagReranker, tiny_reranker: Path) -> None:
    with Reranker(tiny_reranker, precision="f32") as library:
        for lengths in ({}, {"max_length": 20}, {"max_length": 20, "query_max_length": 5}):
            expected = library.score([(LONG, LONG)], max_windows=1, **lengths).scores
            same(ranker.compute_score([(LONG, LONG)], **lengths), expected)
            short = FlagReranker(str(tiny_reranker), **lengths)
            same(short.compute_score([(LONG, LONG)]), expected)


def test_queries_and_passages_take_their_instructions(ranker: FlagReranker, tiny_reranker: Path) -> None:
    instructed = FlagReranker(
        str(tiny_reranker),
        query_instruction_for_rerank="find",
        query_instruction_format="{}: {}",
        passage_instruction_for_rerank="text",
        passage_instruction_format="{}\\n{}",
    )
    same(instructed.compute_score(PAIRS), ranker.compute_score([(f"find: {q}", f"text\n{p}") for q, p in PAIRS]))
    same(instructed.compute_score(PAIRS[0]), ranker.compute_score((f"find: {PAIRS[0][0]}", f"text\n{PAIRS[0][1]}")))


@pytest.mark.parametrize("wrong", [["a"], [("a",)], [("a", "b", "c")], [("a", 5)]])
def test_what_is_no_pair_is_refused(ranker: FlagReranker, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        ranker.compute_score(wrong)


# Devices and endings.


@pytest.mark.parametrize("devices", [None, "cpu", ["cpu"]])
def test_the_cpu_is_a_device(tiny_bert: Path, model: FlagModel, devices: Any) -> None:
    same(FlagModel(str(tiny_bert), use_fp16=False, devices=devices).encode("a"), model.encode("a"))


@pytest.mark.parametrize("kind", [FlagModel, FlagReranker])
@pytest.mark.parametrize("devices", ["cuda:0", ["cuda:0"], 0, [0], ["cuda:0", "cuda:1"], "mps"])
def test_devices_that_are_not_here_are_refused_by_name(
    kind: Any, tiny_bert: Path, tiny_reranker: Path, devices: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(UnsupportedModelError, match=rf"{devices if devices == 'mps' else 'cuda:0'}.*device='cpu'"):
        kind(str(tiny_reranker if kind is FlagReranker else tiny_bert), devices=devices)


def test_no_device_at_all_is_refused(tiny_bert: Path) -> None:
    with pytest.raises(InvalidInputError, match="device is ''"):
        FlagModel(str(tiny_bert), devices=[])


@pytest.mark.parametrize("half", [{"use_fp16": True}, {"use_bf16": True}])
def test_half_precision_stays_close(tiny_bert: Path, model: FlagModel, half: Any) -> None:
    found = FlagModel(str(tiny_bert), **half).encode(TEXTS)
    np.testing.assert_allclose(found, model.encode(TEXTS), atol=0.05)


def test_code_of_a_repository_is_never_trusted_and_the_word_is_accepted(tiny_bert: Path, tiny_reranker: Path) -> None:
    FlagModel(str(tiny_bert), trust_remote_code=True)
    FlagReranker(str(tiny_reranker), trust_remote_code=True)


def test_stopping_frees_the_model(tiny_bert: Path, tiny_reranker: Path) -> None:
    embedder, reranker = FlagModel(str(tiny_bert)), FlagReranker(str(tiny_reranker))
    for stopped in (embedder, reranker, embedder, reranker):
        stopped.stop_self_pool()
    with pytest.raises(ClosedError):
        embedder.encode("a")
    with pytest.raises(ClosedError):
        reranker.compute_score(("a", "b"))


# Opening by name.


class Opened(Exception):
    """Raised in place of opening a model, with what it would have been opened with."""


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """`Embedder` and `Reranker` raise what they were given."""

    def instead(name: str, **options: Any) -> None:
        raise Opened(name, options)

    monkeypatch.setattr("lagotto.flag.encoders.Embedder", instead)
    monkeypatch.setattr("lagotto.flag.encoders.Reranker", instead)


@pytest.mark.parametrize(("name", "pooling"), [(name, pooling) for name, (pooling, _) in LISTED.items()])
@pytest.mark.parametrize("prefix", ["some/", "/models/org/"])
def test_listed_models_are_opened_by_the_last_part_of_their_name(
    opened: None, name: str, pooling: str, prefix: str
) -> None:
    with pytest.raises(Opened) as caught:
        FlagAutoModel.from_finetuned(prefix + name)
    given, options = caught.value.args
    assert (given, options["pooling"]) == (prefix + name, pooling)


@pytest.mark.parametrize(("name", "form"), list(LLMS.items()))
def test_listed_language_models_are_opened_with_their_own_format(
    monkeypatch: pytest.MonkeyPatch, name: str, form: str
) -> None:
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("lagotto.flag.encoders.Embedder", lambda name, **options: asked.append(options))
    model = FlagAutoModel.from_finetuned(f"org/{name}")
    assert isinstance(model, FlagLLMModel)
    assert model.query_instruction_format == form
    assert asked[0]["pooling"] == "last_token"


def test_a_listed_models_own_query_format_is_used(tmp_path: Path, model: FlagModel) -> None:
    folder = write_embedder(tmp_path / "multilingual-e5-large-instruct", pooling="cls")
    auto = FlagAutoModel.from_finetuned(
        str(folder), use_fp16=False, pooling_method="cls", query_instruction_for_retrieval="find"
    )
    same(auto.encode_queries("panda"), model.encode("Instruct: find\nQuery: panda"))
    named = FlagAutoModel.from_finetuned(
        str(folder),
        use_fp16=False,
        pooling_method="cls",
        query_instruction_for_retrieval="find",
        query_instruction_format="{} - {}",
    )
    same(named.encode_queries("panda"), model.encode("find - panda"))


@pytest.mark.parametrize("name", [name for name, (_, form) in LISTED.items() if form == "{}{}"])
def test_listed_models_without_a_format_put_the_instruction_before_the_query(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr("lagotto.flag.encoders.Embedder", lambda *_, **__: None)
    assert FlagAutoModel.from_finetuned(f"org/{name}").query_instruction_format == "{}{}"


@pytest.mark.parametrize("folder", ["bge-base-en-v1.5", "bge-base-en-v1.5/checkpoint-100"])
def test_a_training_checkpoint_counts_by_its_parents_name(tmp_path: Path, model: FlagModel, folder: str) -> None:
    path = write_plain(tmp_path / folder)
    auto = FlagAutoModel.from_finetuned(str(path), use_fp16=False)
    assert isinstance(auto, FlagModel)
    same(auto.encode(TEXTS), model.encode(TEXTS))


def test_a_reranker_is_opened_by_its_name_too(tmp_path: Path, ranker: FlagReranker) -> None:
    for folder in ("bge-reranker-base", "bge-reranker-large/checkpoint-7"):
        path = write_reranker(tmp_path / folder)
        auto = FlagAutoReranker.from_finetuned(str(path), max_length=20)
        assert isinstance(auto, FlagReranker)
        same(auto.compute_score(PAIRS), ranker.compute_score(PAIRS, max_length=20))


@pytest.mark.parametrize("name", RERANKERS)
def test_listed_rerankers_are_opened(opened: None, name: str) -> None:
    with pytest.raises(Opened):
        FlagAutoReranker.from_finetuned(f"org/{name}")


@pytest.mark.parametrize(
    ("kind", "name"),
    [*((FlagAutoModel, name) for name in LATER), *((FlagAutoReranker, name) for name in RERANKERS_LATER)],
)
def test_listed_models_that_come_later_say_so(opened: None, kind: Any, name: str) -> None:
    with pytest.raises(UnsupportedModelError, match="later"):
        kind.from_finetuned(f"org/{name}")


@pytest.mark.parametrize("kind", [FlagAutoModel, FlagAutoReranker])
@pytest.mark.parametrize("name", ["my-model", "org/my-model", "/srv/my-model/checkpoint-1"])
def test_an_unlisted_model_is_refused_and_told_of_model_class(opened: None, kind: Any, name: str) -> None:
    with pytest.raises(ValueError, match=r"'my-model' is not listed; pass model_class='encoder-only-base'"):
        kind.from_finetuned(name)


def test_an_unlisted_model_is_opened_as_its_model_class(tiny_bert: Path, tiny_reranker: Path, model: FlagModel) -> None:
    auto = FlagAutoModel.from_finetuned(str(tiny_bert), model_class="encoder-only-base", use_fp16=False)
    same(auto.encode(TEXTS), model.encode(TEXTS))
    assert FlagAutoReranker.from_finetuned(str(tiny_reranker), "encoder-only-base").compute_score(PAIRS)


def test_a_model_class_that_needs_code_of_the_checkpoint_says_why_it_is_refused(opened: None) -> None:
    with pytest.raises(UnsupportedModelError, match="code of their own; such code is never run here"):
        FlagAutoModel.from_finetuned("org/any", model_class="decoder-only-pseudo_moe")


@pytest.mark.parametrize("kind", [FlagAutoModel, FlagAutoReranker])
def test_an_unknown_model_class_is_refused_with_those_there_are(opened: None, kind: Any) -> None:
    with pytest.raises(InvalidInputError, match="'nonsense' is unknown; allowed are encoder-only-base"):
        kind.from_finetuned("org/any", model_class="nonsense")


@pytest.mark.parametrize("kind", [FlagAutoModel, FlagAutoReranker])
def test_the_automatic_classes_are_not_made_directly(kind: Any) -> None:
    with pytest.raises(OSError, match="from_finetuned"):
        kind()


def test_keywords_go_on_to_the_model_and_unknown_ones_raise(tmp_path: Path) -> None:
    path = str(write_plain(tmp_path / "bge-base-en"))
    assert FlagAutoModel.from_finetuned(path, query_max_length=7).query_max_length == 7
    with pytest.raises(TypeError, match="nonsense"):
        FlagAutoModel.from_finetuned(path, nonsense=1)


def test_a_script_written_for_flagembedding_runs(tiny_bert: Path, tiny_reranker: Path) -> None:
    script = f"""
from lagotto import FlagModel, FlagReranker
model = FlagModel({str(tiny_bert)!r}, query_instruction_for_retrieval="Represent this sentence: ", use_fp16=True)
queries = model.encode_queries(["query one", "query two"])
passages = model.encode_corpus(["passage one", "passage two"])
assert (queries @ passages.T).shape == (2, 2)
reranker = FlagReranker({str(tiny_reranker)!r}, use_fp16=True)
print(reranker.compute_score(["query", "passage"]))
print(reranker.compute_score([["a", "b"], ["c", "d"]], normalize=True))
"""
    root = str(Path(lagotto.__file__).parents[1])
    command = [sys.executable, "-c", f"import sys; sys.path.insert(0, {root!r})\n{script}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    one, two = done.stdout.splitlines()
    assert (one.count(","), two.count(",")) == (0, 1)
