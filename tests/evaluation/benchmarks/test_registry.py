"""The rows: complete, well formed, and found by name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.benchmarks.loaders import LOADERS
from lagotto.evaluation.benchmarks.registry import Benchmark, all_names, expand
from lagotto.evaluation.measures import parse_measure
from lagotto.evaluation.mteb.library import mteb_library

FORUMS = "android english gaming gis mathematica physics programmers stats tex unix webmasters wordpress"
PARTS = {
    "beir": "trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 quora dbpedia-entity scidocs fever "
    "climate-fever scifact msmarco " + " ".join(f"cqadupstack/{forum}" for forum in FORUMS.split()),
    "beir/cqadupstack": FORUMS,
    "msmarco": "dev dl19 dl20",
    "msmarco-doc": "dev dl19 dl20",
    "miracl": "ar bn de en es fa fi fr hi id ja ko ru sw te th yo zh",
    "mldr": "ar de en es fr hi it ja ko pt ru th zh",
    "mkqa": "ar da de en es fi fr he hu it ja km ko ms nl no pl pt ru sv th tr vi zh_cn zh_hk zh_tw",
    "bright": "biology earth_science economics psychology robotics stackoverflow sustainable_living leetcode pony "
    "aops theoremqa_questions theoremqa_theorems",
    "bright-long": "biology earth_science economics psychology robotics stackoverflow sustainable_living pony",
}
LANGUAGES = {"ar", "bn", "de", "en", "es", "fa", "fr", "hi", "id", "ja", "ko", "ru", "zh"}
REASONERS = ("Gemini-1.0_reason", "claude-3-opus_reason", "gpt4_reason", "grit_reason", "llama3-70b_reason")


@pytest.fixture(scope="module")
def rows() -> list[Benchmark]:
    return [row for name in all_names() for row in expand(name)]


@pytest.mark.parametrize("family", PARTS)
def test_a_family_has_all_of_its_parts(family: str) -> None:
    wanted = {f"{family}/{part}" for part in PARTS[family].split()}

    assert {row.name for row in expand(family)} == wanted
    assert wanted <= set(all_names())


def test_there_are_as_many_parts_as_the_benchmarks_have() -> None:
    counts = {family: len(parts.split()) for family, parts in PARTS.items()}

    assert counts == {
        "beir": 14 + 12,
        "beir/cqadupstack": 12,
        "msmarco": 3,
        "msmarco-doc": 3,
        "miracl": 18,
        "mldr": 13,
        "mkqa": 26,
        "bright": 12,
        "bright-long": 8,
    }


def test_air_bench_has_the_development_sets_of_its_second_version() -> None:
    rows = expand("air-bench")

    assert (len(expand("air-bench/qa")), len(expand("air-bench/long-doc"))) == (54, 4)
    assert {row.split for row in rows} == {"dev"}
    assert {row.language for row in rows} == LANGUAGES
    assert {len(expand(f"air-bench/qa/{domain}")) for domain in ("news", "web", "wiki")} == {13}


@pytest.mark.parametrize("reasoner", REASONERS)
def test_bright_has_every_query_as_a_model_reasoned_about_it(reasoner: str) -> None:
    for family in ("bright", "bright-long"):
        assert [row.name for row in expand(f"{family}@{reasoner}")] == [
            f"{row.name}@{reasoner}" for row in expand(family)
        ]
    assert expand(f"bright/pony@{reasoner}")[0].arguments["examples"] == reasoner
    assert expand("bright/pony")[0].arguments["examples"] == "examples"


def test_every_name_stands_for_itself_and_can_be_a_folder(rows: list[Benchmark]) -> None:
    assert [row.name for row in rows] == list(all_names())
    assert len({name.casefold() for name in all_names()}) == len(all_names())
    assert all(re.fullmatch(r"[a-z0-9-]+(/[\w.-]+)+(@[\w.-]+)?", name, re.ASCII) for name in all_names())


def test_every_row_says_how_it_is_measured_and_told(rows: list[Benchmark]) -> None:
    for row in rows:
        assert row.loader in LOADERS
        assert row.measures
        assert [parse_measure(measure).name for measure in row.measures] == list(row.measures)
        assert any(parse_measure(measure).by_answers for measure in row.measures) == row.name.startswith("mkqa")
        assert row.split == "test" or not row.name.startswith("mkqa")  # a folder without judgements has no other
        assert row.instruction.endswith(".")
        assert re.fullmatch("[a-z]{2}", row.language)
        assert not any("{" in value for value in row.arguments.values())


def test_what_families_are_reported_by() -> None:
    assert expand("beir/scifact")[0].measures == ("ndcg@10", "recall@100")
    assert expand("msmarco/dev")[0].measures == ("mrr@10", "recall@100", "recall@1000")
    assert expand("msmarco/dl19")[0].measures == ("ndcg@10", "map(rel=2)", "recall(rel=2)@1000")
    assert expand("msmarco-doc/dl20")[0].measures == ("ndcg@10", "map", "recall@100")
    assert expand("miracl/zh")[0].measures == ("ndcg@10", "recall@100")
    assert expand("mldr/zh")[0].measures == ("ndcg@10",)
    assert expand("mkqa/zh_cn")[0].measures == ("answer_recall@20", "answer_recall@100")
    assert expand("bright/biology")[0].measures == ("ndcg@10",)
    assert {row.group for row in expand("beir")} == {None, "cqadupstack"}
    assert {row.group for row in expand("beir/cqadupstack")} == {"cqadupstack"}
    assert [row.name for row in expand("beir") if row.exclude_self] == ["beir/arguana", "beir/quora"]


def test_what_models_are_told() -> None:
    asked = "Given a Biology post, retrieve relevant passages that help answer the post."

    assert expand("bright/biology")[0].instruction == expand("bright/biology@grit_reason")[0].instruction == asked
    assert "documents" in expand("bright-long/biology")[0].instruction
    assert expand("beir/nfcorpus")[0].task == "NFCorpus"
    assert expand("beir/cqadupstack/tex")[0].task == "CQADupstackTexRetrieval"


def test_benchmarks_with_the_same_corpus_read_the_same_documents(rows: list[Benchmark]) -> None:
    def documents(row: Benchmark) -> Any:
        own = ("questions", "examples")
        found = {key: value for key, value in row.arguments.items() if key not in own}
        # Splits of one data set in ir_datasets share its documents.
        return found | {"dataset": found["dataset"].partition("/")[0]} if row.loader == "ir_datasets" else found

    for corpus in {row.corpus for row in rows if row.corpus}:
        alike = [row for row in rows if row.corpus == corpus]
        assert all(documents(row) == documents(alike[0]) for row in alike)
        # Whether a query's own document exists is only known where the corpus is written.
        assert not any(row.exclude_self for row in alike)


def test_ir_datasets_knows_every_data_set_that_is_asked_of_it(rows: list[Benchmark], ir_home: Path) -> None:
    import ir_datasets

    for name in {row.arguments["dataset"] for row in rows if "dataset" in row.arguments and row.loader != "air_bench"}:
        dataset = ir_datasets.load(name)
        assert dataset.has_docs()
        assert dataset.has_queries()
        assert dataset.has_qrels()


def test_mteb_knows_every_task_by_its_name(rows: list[Benchmark], cache: Path) -> None:
    mteb = mteb_library()

    assert all(mteb.get_task(name).metadata.name == name for name in {row.task for row in rows if row.task})


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("scifact", "beir/scifact"),
        ("mirac/zh", "miracl/zh"),
        ("beer", "beir"),
        ("bright/biologie", "bright/biology"),
        ("bright/biology@gpt4", "bright/biology@gpt4_reason"),
        ("bei/cqadupstack", "beir/cqadupstack"),
    ],
)
def test_an_unknown_name_is_answered_with_near_ones(name: str, near: str) -> None:
    with pytest.raises(InvalidInputError, match=re.escape(near)) as raised:
        expand(name)

    assert repr(name) in str(raised.value)
    assert "there are beir, msmarco, msmarco-doc, miracl, mldr, mkqa, bright, bright-long, air-bench" in str(
        raised.value
    )


@pytest.mark.parametrize("name", ["", "zzz", "beir/zzz/", "@gpt4_reason", "beir@gpt4_reason"])
def test_what_stands_for_nothing_is_an_error(name: str) -> None:
    with pytest.raises(InvalidInputError, match="is no benchmark"):
        expand(name)


def test_asking_for_what_air_bench_does_not_publish_is_explained() -> None:
    with pytest.raises(InvalidInputError, match="judgements of the test sets, .*24.04 .*are not published"):
        expand("air-bench/24.04/qa/wiki/en")


def test_a_slash_at_the_end_does_not_matter() -> None:
    assert expand("beir/cqadupstack/") == expand("beir/cqadupstack")
