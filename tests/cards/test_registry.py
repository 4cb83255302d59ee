"""The shipped cards: golden rows, completeness, look-up by name, and agreement with docs/models.md."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lagotto.cards import registry
from lagotto.cards.checkpoint import runs_on
from lagotto.cards.registry import find_by_repo_name, find_card, load_cards, read_cards, suggest
from lagotto.cards.schema import ModelCard, PromptTemplate
from lagotto.core.errors import CheckpointError, InvalidInputError

DOCS = Path(__file__).parents[2] / "docs" / "models.md"

EN = "Represent this sentence for searching relevant passages: "
ZH = "为这个句子生成表示以用于检索相关文章\uff1a"
WEB = "Given a web search query, retrieve relevant passages that answer the query"
DENSE = ("dense",)
SCORE = ("classification",)
LLARA_QUERY = "predict the following passage within eight words: <s9><s10><s11><s12><s13><s14><s15><s16>"

# name, architecture, pooling, dimension, max_length, query instruction, heads
GOLDEN: list[tuple[str, str, str, int | None, int, str, tuple[str, ...]]] = [
    ("BAAI/bge-small-en-v1.5", "bert", "cls", 384, 512, EN, DENSE),
    ("BAAI/bge-base-en", "bert", "cls", 768, 512, EN, DENSE),
    ("BAAI/bge-large-en-v1.5", "bert", "cls", 1024, 512, EN, DENSE),
    ("BAAI/bge-small-zh-v1.5", "bert", "cls", 512, 512, ZH, DENSE),
    ("BAAI/bge-large-zh", "bert", "cls", 1024, 512, ZH, DENSE),
    ("BAAI/bge-large-zh-noinstruct", "bert", "cls", 1024, 512, "", DENSE),
    ("BAAI/bge-m3", "xlm-roberta", "cls", 1024, 8192, "", ("dense", "sparse", "multi_vector")),
    ("BAAI/bge-m3-unsupervised", "xlm-roberta", "cls", 1024, 8192, "", DENSE),
    ("BAAI/bge-multilingual-gemma2", "gemma2", "last_token", 3584, 8192, WEB + ".", DENSE),
    ("BAAI/bge-en-icl", "mistral", "last_token", 4096, 32768, WEB + ".", DENSE),
    ("BAAI/bge-code-v1", "qwen2", "last_token", 1536, 32768, "", DENSE),
    ("BAAI/bge-reasoner-embed-qwen3-8b-0923", "qwen3", "last_token", 4096, 8192, "", DENSE),
    ("Qwen/Qwen3-Embedding-0.6B", "qwen3", "last_token", 1024, 32768, WEB, DENSE),
    ("Qwen/Qwen3-Embedding-4B", "qwen3", "last_token", 2560, 32768, WEB, DENSE),
    ("intfloat/e5-base-v2", "bert", "mean", 768, 512, "query: ", DENSE),
    ("intfloat/multilingual-e5-small", "bert", "mean", 384, 512, "query: ", DENSE),
    ("intfloat/multilingual-e5-large", "xlm-roberta", "mean", 1024, 512, "query: ", DENSE),
    ("intfloat/multilingual-e5-large-instruct", "xlm-roberta", "mean", 1024, 512, WEB, DENSE),
    ("intfloat/e5-mistral-7b-instruct", "mistral", "last_token", 4096, 4096, WEB, DENSE),
    ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", "qwen2", "last_token", 1536, 32768, WEB, DENSE),
    ("Alibaba-NLP/gte-Qwen2-7B-instruct", "qwen2", "last_token", 3584, 32768, WEB, DENSE),
    ("Alibaba-NLP/gte-Qwen1.5-7B-instruct", "qwen2", "last_token", 4096, 32768, WEB, DENSE),
    ("Qwen/Qwen3-Embedding-8B", "qwen3", "last_token", 4096, 32768, WEB, DENSE),
    ("Salesforce/SFR-Embedding-Mistral", "mistral", "last_token", 4096, 4096, WEB, DENSE),
    ("Salesforce/SFR-Embedding-2_R", "mistral", "last_token", 4096, 4096, WEB, DENSE),
    ("BAAI/LLARA-beir", "llama", "last_tokens_mean", 4096, 4096, LLARA_QUERY, DENSE),
    ("Alibaba-NLP/gte-multilingual-base", "new", "cls", 768, 8192, "", ("dense", "sparse")),
    ("thenlper/gte-small", "bert", "mean", 384, 512, "", DENSE),
    ("thenlper/gte-base-zh", "bert", "cls", 768, 512, "", DENSE),
    ("maidalun1020/bce-embedding-base_v1", "xlm-roberta", "cls", 768, 512, "", DENSE),
    ("BAAI/bge-reranker-base", "xlm-roberta", "none", None, 512, "", SCORE),
    ("BAAI/bge-reranker-v2-m3", "xlm-roberta", "none", None, 8192, "", SCORE),
    ("BAAI/bge-reranker-v2-gemma", "gemma", "none", None, 8192, "A: ", ("yes_logit",)),
    ("BAAI/bge-reranker-v2-minicpm-layerwise", "minicpm", "none", None, 2048, "A: ", ("layerwise",)),
    ("BAAI/bge-reranker-v2.5-gemma2-lightweight", "cost_wise_gemma", "none", None, 8192, "A: ", ("lightweight",)),
    ("BAAI/Matroyshka-ReRanker-beir", "cost_wise_mistral", "none", None, 32768, "A: ", ("lightweight",)),
    ("Qwen/Qwen3-Reranker-0.6B", "qwen3", "none", None, 32768, WEB, ("yes_logit",)),
    ("Qwen/Qwen3-Reranker-4B", "qwen3", "none", None, 32768, WEB, ("yes_logit",)),
    ("Qwen/Qwen3-Reranker-8B", "qwen3", "none", None, 32768, WEB, ("yes_logit",)),
    ("mixedbread-ai/mxbai-rerank-base-v2", "qwen2", "none", None, 8192, "", ("yes_logit",)),
    ("mixedbread-ai/mxbai-rerank-large-v2", "qwen2", "none", None, 8192, "", ("yes_logit",)),
    ("cross-encoder/ms-marco-MiniLM-L-6-v2", "bert", "none", None, 512, "", SCORE),
    ("BAAI/BGE-VL-base", "clip", "none", 512, 77, "", DENSE),
    ("BAAI/BGE-VL-MLLM-S1", "llava_next", "last_token", 4096, 32768, "", DENSE),
]


def words(text: str) -> list[str]:
    return text.split()


# The names that FlagEmbedding's FlagAutoModel and FlagAutoReranker map, which Lagotto must know too.
AUTO_NAMES = words("""
    bge-reasoner-embed-qwen3-8b-0923 bge-code-v1 bge-en-icl bge-multilingual-gemma2 bge-m3
    bge-large-en-v1.5 bge-base-en-v1.5 bge-small-en-v1.5 bge-large-zh-v1.5 bge-base-zh-v1.5 bge-small-zh-v1.5
    bge-large-en bge-base-en bge-small-en bge-large-zh bge-base-zh bge-small-zh
    Qwen3-Embedding-0.6B Qwen3-Embedding-4B Qwen3-Embedding-8B
    e5-mistral-7b-instruct e5-large-v2 e5-base-v2 e5-small-v2 e5-large e5-base e5-small
    multilingual-e5-large-instruct multilingual-e5-large multilingual-e5-base multilingual-e5-small
    gte-Qwen2-7B-instruct gte-Qwen2-1.5B-instruct gte-Qwen1.5-7B-instruct
    gte-multilingual-base gte-large-en-v1.5 gte-base-en-v1.5
    gte-large gte-base gte-small gte-large-zh gte-base-zh gte-small-zh
    SFR-Embedding-2_R SFR-Embedding-Mistral Linq-Embed-Mistral bce-embedding-base_v1
    bge-reranker-base bge-reranker-large bge-reranker-v2-m3 bge-reranker-v2-gemma
    bge-reranker-v2-minicpm-layerwise bge-reranker-v2.5-gemma2-lightweight
    jina-reranker-v2-base-multilingual gte-multilingual-reranker-base bce-reranker-base_v1 jina-reranker-v1-turbo-en
""")

# Models of the BGE family that FlagEmbedding does not map.
FURTHER_NAMES = words("""
    bge-large-zh-noinstruct bge-m3-unsupervised bge-m3-retromae llm-embedder
    LLARA-pretrain LLARA-passage LLARA-document LLARA-beir
    Matroyshka-ReRanker-passage Matroyshka-ReRanker-document Matroyshka-ReRanker-beir
    BGE-VL-base BGE-VL-large BGE-VL-MLLM-S1 BGE-VL-MLLM-S2 BGE-VL-v1.5-zs BGE-VL-v1.5-mmeb BGE-VL-Screenshot
    bge-visualized ms-marco-MiniLM-L-6-v2 ms-marco-MiniLM-L-12-v2
    Qwen3-Reranker-0.6B Qwen3-Reranker-4B Qwen3-Reranker-8B mxbai-rerank-base-v2 mxbai-rerank-large-v2
""")

GOOD_ROW = """
[[model]]
name = "owner/model"
task = "embed"
architecture = "bert"
heads = ["dense"]
pooling = "cls"
max_length = 512
"""


def card(name: str) -> ModelCard:
    found = find_card(name)
    assert found is not None, name
    return found


def all_cards() -> list[ModelCard]:
    return list(load_cards().values())


@pytest.fixture
def card_files(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[str, str]]]:
    """Stand-in TOML files for the shipped ones."""
    files: list[tuple[str, str]] = []
    monkeypatch.setattr(registry, "_card_files", lambda: iter(files))
    load_cards.cache_clear()
    yield files
    load_cards.cache_clear()


@pytest.mark.parametrize(
    ("name", "architecture", "pooling", "dimension", "max_length", "instruction", "heads"),
    GOLDEN,
    ids=[row[0] for row in GOLDEN],
)
def test_golden_row(
    name: str,
    architecture: str,
    pooling: str,
    dimension: int | None,
    max_length: int,
    instruction: str,
    heads: tuple[str, ...],
) -> None:
    got = card(name)
    assert (got.architecture, got.pooling, got.dimension) == (architecture, pooling, dimension)
    assert (got.max_length, got.query.instruction, got.heads) == (max_length, instruction, heads)


@pytest.mark.parametrize("basename", AUTO_NAMES + FURTHER_NAMES)
def test_every_expected_model_is_listed(basename: str) -> None:
    found = find_by_repo_name(basename)
    assert found is not None
    assert found.name.endswith("/" + basename)


@pytest.mark.parametrize("one", all_cards(), ids=lambda one: str(one.name))
def test_fields_are_plausible(one: ModelCard) -> None:
    owner, _, basename = one.name.partition("/")
    assert owner
    assert basename
    assert "/" not in basename
    assert one.architecture
    assert one.heads
    assert all(language == "multilingual" or len(language) == 2 for language in one.languages)
    assert one.dimension is None or 64 <= one.dimension <= 8192
    assert one.parameters is None or 1 <= one.parameters <= 20_000
    assert list(one.matryoshka) == sorted(set(one.matryoshka))
    assert not one.matryoshka or one.matryoshka[-1] == one.dimension
    for template in (one.query, one.document):
        assert template.format.count("{text}") == 1
        assert template.format.count("{instruction}") == 1
    assert all(isinstance(prompt, str) and prompt for prompt in one.prompts.values())
    assert not one.note or (one.note.endswith(".") and "\n" not in one.note)


@pytest.mark.parametrize("one", all_cards(), ids=lambda one: str(one.name))
def test_heads_suit_the_task(one: ModelCard) -> None:
    vector_heads = {"dense", "sparse", "multi_vector"}
    if one.task == "rerank":
        assert not vector_heads & set(one.heads)
        assert len(one.heads) == 1
        assert (one.dimension, one.pooling) == (None, "none")
    else:
        assert set(one.heads) <= vector_heads
        assert one.dimension is not None or one.name == "BAAI/bge-visualized"


def test_e5_has_a_prefix_on_each_side() -> None:
    e5 = card("intfloat/e5-large")
    assert e5.query.render("why") == "query: why"
    assert e5.document.render("because") == "passage: because"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("BAAI/bge-multilingual-gemma2", "<instruct>T\n<query>q"),
        ("BAAI/bge-en-icl", "<instruct>T\n<query>q"),
        ("BAAI/bge-reasoner-embed-qwen3-8b-0923", "Instruct: T\nQuery: q"),
        ("Qwen/Qwen3-Embedding-8B", "Instruct: T\nQuery:q"),
        ("intfloat/multilingual-e5-large-instruct", "Instruct: T\nQuery: q"),
        ("BAAI/bge-code-v1", "<instruct>T\n<query>q"),
        ("Alibaba-NLP/gte-Qwen2-1.5B-instruct", "Instruct: T\nQuery: q"),
        ("intfloat/e5-mistral-7b-instruct", "Instruct: T\nQuery: q"),
        ("Salesforce/SFR-Embedding-2_R", "Instruct: T\nQuery: q"),
        ("Linq-AI-Research/Linq-Embed-Mistral", "Instruct: T\nQuery: q"),
        ("BAAI/LLARA-passage", '"q", T'),
    ],
)
def test_instruct_format(name: str, expected: str) -> None:
    assert card(name).query.render("q", "T") == expected


END_TOKENS = {
    "BAAI/bge-multilingual-gemma2": "<eos>",
    "BAAI/bge-en-icl": "</s>",
    "BAAI/bge-code-v1": "",
    "BAAI/bge-reasoner-embed-qwen3-8b-0923": "",
    "Qwen/Qwen3-Embedding-4B": "<|endoftext|>",
    "Alibaba-NLP/gte-Qwen2-7B-instruct": "<|endoftext|>",
    "intfloat/e5-mistral-7b-instruct": "</s>",
    "Salesforce/SFR-Embedding-2_R": "</s>",
    "Linq-AI-Research/Linq-Embed-Mistral": "</s>",
}


def test_llm_embedders_say_how_texts_end_and_which_way_they_look() -> None:
    assert {name: card(name).end_token for name in END_TOKENS} == END_TOKENS
    both = {one.name for one in all_cards() if one.bidirectional}
    assert both == {f"Alibaba-NLP/gte-{name}-instruct" for name in ("Qwen2-7B", "Qwen2-1.5B", "Qwen1.5-7B")}


def test_llara_ends_each_side_with_eight_tokens_of_its_own() -> None:
    for name in ("pretrain", "passage", "document", "beir"):
        one = card(f"BAAI/LLARA-{name}")
        assert one.options == {"last_tokens": 8, "joining": "apart"}
        assert one.query.instruction == LLARA_QUERY
        assert one.document.render("p") == (
            '"p", summarize the above passage within eight words: <s1><s2><s3><s4><s5><s6><s7><s8>'
        )


def test_en_icl_says_how_examples_are_written() -> None:
    assert card("BAAI/bge-en-icl").options == {
        "suffix": "\n<response>",
        "example_format": "<instruct>{instruction}\n<query>{query}\n<response>{response}",
        "example_separator": "\n\n",
    }


def test_llm_embedder_names_the_prompts_of_six_tasks() -> None:
    embedder = card("BAAI/llm-embedder")
    tasks = ("qa", "icl", "chat", "lrlm", "tool", "convsearch")
    assert set(embedder.prompts) == {f"{task}_{side}" for task in tasks for side in ("query", "document")}
    assert embedder.prompts["qa_query"] == embedder.query.instruction
    assert embedder.prompts["qa_document"] == embedder.document.instruction


def test_llm_rerankers_say_how_to_read_a_score() -> None:
    for one in all_cards():
        if one.task == "rerank" and one.heads != SCORE and one.name.startswith("BAAI/"):
            assert (one.query.instruction, one.document.instruction) == ("A: ", "B: ")
            assert one.options["prompt"].endswith(".")
            assert one.options["separator"] == "\n"
    layerwise = card("BAAI/bge-reranker-v2-minicpm-layerwise").options
    assert (layerwise["start_layer"], layerwise["layers"], layerwise["cutoff_layers"]) == (8, 40, [40])
    lightweight = card("BAAI/bge-reranker-v2.5-gemma2-lightweight").options
    assert (lightweight["compress_layers"], lightweight["compress_ratio"]) == ([8], 1)


def test_look_alikes_are_marked_as_remote_code() -> None:
    # Its config.json says "bert", yet a plain BERT would compute something else.
    assert card("jinaai/jina-reranker-v1-turbo-en").remote_code


def test_find_card_by_exact_id_then_by_another_case() -> None:
    assert card("BAAI/bge-m3") is load_cards()["BAAI/bge-m3"]
    assert card("baai/BGE-M3") is load_cards()["BAAI/bge-m3"]
    assert find_card("bge-m3") is None
    assert find_card("BAAI/bge-m") is None


def test_find_by_repo_name_is_exact() -> None:
    assert find_by_repo_name("BGE-M3") is None
    assert find_by_repo_name("bge-m") is None
    assert find_by_repo_name("BAAI/bge-m3") is None


def test_of_two_owners_baai_wins(card_files: list[tuple[str, str]]) -> None:
    for owner in ("other", "BAAI"):
        card_files.append((f"{owner}.toml", GOOD_ROW.replace("owner/", f"{owner}/")))
    found = find_by_repo_name("model")
    assert found is not None
    assert found.name == "BAAI/model"


def test_two_unknown_owners_are_ambiguous(card_files: list[tuple[str, str]]) -> None:
    for owner in ("one", "two"):
        card_files.append((f"{owner}.toml", GOOD_ROW.replace("owner/", f"{owner}/")))
    with pytest.raises(InvalidInputError, match="one/model, two/model"):
        find_by_repo_name("model")


def test_a_name_listed_twice_is_an_error(card_files: list[tuple[str, str]]) -> None:
    card_files += [("a.toml", GOOD_ROW), ("b.toml", GOOD_ROW)]
    with pytest.raises(CheckpointError, match=r"b\.toml: card 'owner/model' is listed twice"):
        load_cards()


def test_suggest_is_close_and_short() -> None:
    assert suggest("bge-m4")[0] == "BAAI/bge-m3"
    assert suggest("baai/bge-small-en-v15")[0] == "BAAI/bge-small-en-v1.5"
    assert len(suggest("bge-base-en", n=2)) == 2
    assert suggest("zzzzzzzzzzzz") == []


def test_read_cards_fills_in_the_defaults() -> None:
    (one,) = read_cards(GOOD_ROW, "here.toml")
    assert (one.normalize, one.remote_code, one.matryoshka, one.note) == (True, False, (), "")
    assert one.query == one.document == PromptTemplate()
    assert read_cards("", "empty.toml") == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (GOOD_ROW + 'colour = "blue"', "unknown keys.*colour"),
        (GOOD_ROW.replace('"cls"', '"first"'), "pooling 'first' is none of"),
        (GOOD_ROW.replace('"embed"', '"sing"'), "task 'sing' is none of"),
        (GOOD_ROW.replace('["dense"]', '["dance"]'), "head 'dance' is none of"),
        (GOOD_ROW.replace("512", "0"), "must be at least 1"),
        (GOOD_ROW.replace('architecture = "bert"', ""), "architecture"),
        (GOOD_ROW + '[model.query]\nprompt = "query: "', "prompt"),
        (GOOD_ROW + "name", "not valid TOML"),
        ("[model]\nname = 'x'", r"only \[\[model\]\] tables"),
        ("model = ['x']", "must be a table"),
        ("[[starter]]\nname = 'x'", "starter"),
    ],
)
def test_a_bad_row_is_an_error(text: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read_cards(text, "bad.toml")


def test_the_mapping_is_read_only_and_kept() -> None:
    cards = load_cards()
    assert cards is load_cards()
    with pytest.raises(TypeError):
        cards["x"] = card("BAAI/bge-m3")  # type: ignore[index]


def test_cards_survive_pickling() -> None:
    # Worker processes get their card from the parent.
    for one in all_cards():
        assert pickle.loads(pickle.dumps(one)) == one


def test_importing_reads_no_file() -> None:
    code = "import lagotto.cards.registry as r; assert r.load_cards.cache_info().currsize == 0"
    source = str(Path(registry.__file__).parents[2])
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, {source!r}); {code}"], check=True)


def documented_rows() -> dict[str, list[str]]:
    """Table rows of docs/models.md by model name: the cells after the name."""
    rows: dict[str, list[str]] = {}
    for line in DOCS.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        if line.startswith("| `"):
            assert cells[0] not in rows, f"{cells[0]} has two rows"
            rows[cells[0].strip("`")] = cells[1:]
    return rows


WITH_TORCH = words("""
    bge-reasoner-embed-qwen3-8b-0923 Qwen3-Embedding-4B Qwen3-Embedding-8B
    e5-mistral-7b-instruct SFR-Embedding-Mistral SFR-Embedding-2_R Linq-Embed-Mistral
    bge-multilingual-gemma2 bge-en-icl LLARA-pretrain LLARA-passage LLARA-document LLARA-beir
    gte-Qwen2-7B-instruct gte-Qwen2-1.5B-instruct gte-Qwen1.5-7B-instruct
    bge-reranker-v2-gemma bge-reranker-v2-minicpm-layerwise bge-reranker-v2.5-gemma2-lightweight
    Matroyshka-ReRanker-passage Matroyshka-ReRanker-document Matroyshka-ReRanker-beir
    Qwen3-Reranker-4B Qwen3-Reranker-8B
""")
SMALL_DECODERS = words("""
    bge-code-v1 Qwen3-Embedding-0.6B Qwen3-Reranker-0.6B mxbai-rerank-base-v2 mxbai-rerank-large-v2
""")
"""Small enough for the CPU engine."""


def status_of(one: ModelCard) -> str:
    if one.name.partition("/")[2] in WITH_TORCH:
        return "runs with torch"
    if one.name.partition("/")[2] in SMALL_DECODERS:
        return "runs now"
    plain = one.architecture in ("bert", "xlm-roberta") and not one.remote_code
    return "runs now" if plain and {"dense", "classification"} & set(one.heads) else "listed; comes later"


def test_docs_list_exactly_the_cards() -> None:
    assert set(documented_rows()) == set(load_cards())


@pytest.mark.parametrize("one", all_cards(), ids=lambda one: str(one.name))
def test_docs_agree_with_the_card(one: ModelCard) -> None:
    architecture, third, tokens, _languages, licence, status = documented_rows()[one.name]
    assert architecture == f"`{one.architecture}`"
    assert licence == (one.licence or "not stated")
    assert str(one.max_length) in tokens
    assert one.dimension is None or third == str(one.dimension)
    assert status.partition(":")[0] == status_of(one)
    assert runs_on(one) == {"runs now": "openvino", "runs with torch": "torch"}.get(status_of(one))


def test_docs_name_the_error_of_a_later_model() -> None:
    assert "`UnsupportedModelError`" in DOCS.read_text(encoding="utf-8")
