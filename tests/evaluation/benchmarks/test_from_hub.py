"""Benchmarks from data set repositories: miniatures of them on a hub on localhost."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from lagotto.core.errors import InvalidInputError
from lagotto.evaluation.benchmarks.prepare import prepare
from lagotto.evaluation.benchmarks.registry import expand
from lagotto.evaluation.datasets.retrieval import RetrievalData, read_retrieval

Opened = Callable[[str], RetrievalData]
BRIGHT, MLDR, MKQA = "xlangai/BRIGHT", "Shitao/MLDR", "Shitao/bge-m3-data"


def texts(data: RetrievalData) -> dict[str, str]:
    return dict(zip(data.corpus.ids, data.corpus.texts(), strict=True))


def offer_mldr(hub: Any) -> None:
    hub.offer(
        MLDR,
        "mldr-v1.0-hi/corpus.jsonl.gz",
        {"docid": "doc-hi-1", "text": "एक लंबा लेख"},
        {"docid": "doc-hi-2", "text": "दूसरा"},
    )
    passages = [{"docid": "doc-hi-1", "text": "एक लंबा लेख"}], [{"docid": "doc-hi-2", "text": "दूसरा"}]
    example = {
        "query_id": "q-hi-1",
        "query": "क्या?",
        "positive_passages": passages[0],
        "negative_passages": passages[1],
    }
    hub.offer(MLDR, "mldr-v1.0-hi/test.jsonl.gz", example)
    hub.offer(MLDR, "mldr-v1.0-hi/train.jsonl.gz", example)
    hub.offer(MLDR, "mldr-v1.0-en/corpus.jsonl.gz", {"docid": "doc-en-1", "text": "English"})


def offer_bright(hub: Any) -> None:
    def example(key: str, query: str, excluded: list[str], gold: list[str], pages: list[str]) -> dict[str, Any]:
        return {
            "query": query,
            "reasoning": "because",
            "id": key,
            "excluded_ids": excluded,
            "gold_ids_long": pages,
            "gold_ids": gold,
            "gold_answer": "N/A",
        }

    documents = {"pony": "documents/pony-*", "aops": ["documents/aops-*"]}
    examples = {"pony": "examples/pony-*", "aops": "examples/aops-*"}
    hub.declare(
        BRIGHT,
        documents=documents,
        examples=examples,
        long_documents={"pony": "long_documents/pony-*"},
        gpt4_reason={"pony": "gpt4_reason/pony-*"},
    )
    for number, word in enumerate(("loops", "actors")):
        hub.offer(
            BRIGHT,
            f"documents/pony-0000{number}-of-00002.parquet",
            {"id": f"Pony/{word}_0.txt", "content": f"On {word}."},
        )
    hub.offer(BRIGHT, "long_documents/pony-00000-of-00001.parquet", {"id": "Pony/all.txt", "content": "Everything."})
    asked = ("0", "How do I loop?", ["N/A"], ["Pony/loops_0.txt"], ["Pony/all.txt"])
    hub.offer(BRIGHT, "examples/pony-00000-of-00001.parquet", example(*asked))
    hub.offer(BRIGHT, "gpt4_reason/pony-00000-of-00001.parquet", example("0", "To loop, one ...", *asked[2:]))
    hub.offer(
        BRIGHT,
        "documents/aops-00000-of-00001.parquet",
        *({"id": f"math_train_{number}", "content": f"Problem {number}."} for number in range(3)),
    )
    hub.offer(
        BRIGHT,
        "examples/aops-00000-of-00001.parquet",
        example("a/1", "Solve.", ["math_train_0"], ["math_train_2", "math_train_1"], ["N/A"]),
    )


def offer_air_bench(hub: Any, repository: str, dataset: str, path: str) -> None:
    version = "AIR-Bench_24.05"
    corpus, queries, qrels = (f"{version}/{path}/{name}.jsonl" for name in ("corpus", "dev_queries", "dev_qrels"))
    hub.declare(
        f"AIR-Bench/{repository}",
        **{
            "AIR-Bench_24.04": {f"corpus_{dataset}": "AIR-Bench_24.04/x.jsonl"},
            version: {
                f"corpus_{dataset}": corpus,
                f"queries_{dataset}_dev": queries,
                f"queries_{dataset}_test": f"{version}/{path}/test_queries.jsonl",
            },
        },
    )
    hub.declare(f"AIR-Bench/qrels-{repository}-dev", **{version: {f"qrels_{dataset}_dev": qrels}})
    hub.offer(f"AIR-Bench/{repository}", corpus, {"id": "doc_1", "text": "Rain."}, {"id": "doc_2", "text": "Sun."})
    hub.offer(f"AIR-Bench/{repository}", queries, {"id": "query_1", "text": "weather?"})
    hub.offer(
        f"AIR-Bench/qrels-{repository}-dev",
        qrels,
        {"qid": "query_1", "docid": "doc_1", "relevance": 1},
        {"qid": "query_1", "docid": "doc_2", "relevance": 0},
    )


def test_a_language_of_mldr(hub: Any, opened: Opened) -> None:
    offer_mldr(hub)

    data = opened("mldr/hi")

    assert texts(data) == {"doc-hi-1": "एक लंबा लेख", "doc-hi-2": "दूसरा"}
    assert data.queries == {"q-hi-1": "क्या?"}
    assert data.qrels == {"q-hi-1": {"doc-hi-1": 1, "doc-hi-2": 0}}
    assert (data.name, data.split, data.language) == ("mldr/hi", "test", "hi")
    assert data.measures == ("ndcg@10",)
    assert data.source == "huggingface.co/datasets/Shitao/MLDR@0123456789abcdef0123456789abcdef01234567"
    assert sorted(hub.sent) == [f"{MLDR}/mldr-v1.0-hi/corpus.jsonl.gz", f"{MLDR}/mldr-v1.0-hi/test.jsonl.gz"]


def test_a_domain_of_bright(hub: Any, opened: Opened, tmp_path: Path) -> None:
    offer_bright(hub)

    plain, reasoned = opened("bright/pony"), opened("bright/pony@gpt4_reason")

    assert texts(plain) == texts(reasoned) == {"Pony/loops_0.txt": "On loops.", "Pony/actors_0.txt": "On actors."}
    assert plain.queries == {"0": "How do I loop?"}
    assert reasoned.queries == {"0": "To loop, one ..."}
    assert plain.qrels == reasoned.qrels == {"0": {"Pony/loops_0.txt": 1}}
    assert plain.excluded == {}
    assert (plain.name, reasoned.name) == ("bright/pony", "bright/pony@gpt4_reason")
    assert plain.task.instruction == "Given a Pony question, retrieve relevant passages that help answer the question."
    folders = [tmp_path / "cache/benchmarks" / name / "corpus.jsonl" for name in (plain.name, reasoned.name)]
    assert folders[0].samefile(folders[1])


def test_documents_that_bright_excludes(hub: Any, opened: Opened) -> None:
    offer_bright(hub)

    data = opened("bright/aops")

    assert data.excluded == {"a/1": {"math_train_0"}}
    assert data.qrels == {"a/1": {"math_train_2": 1, "math_train_1": 1}}


def test_a_domain_of_bright_with_whole_pages(hub: Any, opened: Opened) -> None:
    offer_bright(hub)

    data = opened("bright-long/pony")

    assert texts(data) == {"Pony/all.txt": "Everything."}
    assert (data.queries, data.qrels) == ({"0": "How do I loop?"}, {"0": {"Pony/all.txt": 1}})


@pytest.mark.parametrize(
    ("name", "repository", "dataset", "path"),
    [
        ("air-bench/qa/news/bn", "qa_news_bn", "default", "default"),
        (
            "air-bench/long-doc/healthcare/en/pubmed_100K-200K_3",
            "long-doc_healthcare_en",
            "pubmed_100K_200K_3",
            "pubmed_100K-200K_3",
        ),
    ],
)
def test_a_data_set_of_air_bench(hub: Any, opened: Opened, name: str, repository: str, dataset: str, path: str) -> None:
    offer_air_bench(hub, repository, dataset, path)

    data = opened(name)

    assert texts(data) == {"doc_1": "Rain.", "doc_2": "Sun."}
    assert (data.queries, data.qrels) == ({"query_1": "weather?"}, {"query_1": {"doc_1": 1, "doc_2": 0}})
    assert (data.split, data.language) == ("dev", repository[-2:])
    assert data.source.endswith(", AIR-Bench_24.05")


def test_a_language_of_mkqa(hub: Any, opened: Opened, ir_home: Path) -> None:
    archive = ir_home / "beir/nq/source.zip"
    archive.parent.mkdir(parents=True)
    with zipfile.ZipFile(archive, "w") as file:
        passage = {"_id": "doc0", "title": "Mary J. Blige", "text": "The “Queen” of R&B…", "metadata": {}}
        file.writestr("nq/corpus.jsonl", json.dumps(passage) + "\n")
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        asked = [
            {"id": 7, "question": "谁是女王", "answers": ["Mary J. Blige", "玛丽"]},
            {"id": 8, "question": "?", "answers": []},
        ]
        file.writestr("__MACOSX/._zh_cn.jsonl", b"\0")
        file.writestr("MKQA_test-data/en.jsonl", b"")
        file.writestr("MKQA_test-data/zh_cn.jsonl", "".join(json.dumps(item) + "\n" for item in asked))
    hub.repositories[MKQA] = {"MKQA_test-data.zip": packed.getvalue(), "other.zip": b""}

    data = opened("mkqa/zh_cn")

    assert texts(data) == {"doc0": 'mary j. blige the "queen" of r&b...'}
    assert data.queries == {"7": "谁是女王"}
    assert data.answers == {"7": ("Mary J. Blige", "玛丽")}
    assert data.qrels == {}
    assert (data.split, data.language, data.measures) == ("test", "zh", ("answer_recall@20", "answer_recall@100"))
    assert data.warnings == ()
    assert hub.sent == [f"{MKQA}/MKQA_test-data.zip"]
    with pytest.raises(InvalidInputError, match=r"holds no vi\.jsonl, but __MACOSX"):
        opened("mkqa/vi")


def test_what_is_in_the_hub_s_cache_needs_no_connection(
    hub: Any, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_bright(hub)
    opened("bright/pony")
    hub.sent.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    folder = prepare(expand("bright/pony")[0], cache=tmp_path / "another")

    assert read_retrieval(folder).queries == {"0": "How do I loop?"}
    assert hub.sent == []


@pytest.mark.parametrize("by_argument", [True, False])
def test_offline_the_missing_files_are_named(
    hub: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, by_argument: bool
) -> None:
    offer_bright(hub)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", not by_argument)

    with pytest.raises(InvalidInputError) as raised:
        prepare(expand("bright/pony@gpt4_reason")[0], cache=tmp_path, offline=by_argument)

    message = str(raised.value)
    assert "benchmark bright/pony@gpt4_reason is not on this machine, and offline mode is on" in message
    assert f"not all in the hub's cache {tmp_path / 'hub-cache'}" in message
    assert f"It comes from {constants.ENDPOINT}/datasets/xlangai/BRIGHT (README.md)" in message
    assert "`lagotto eval benchmarks --fetch bright/pony@gpt4_reason`" in message
    assert hub.sent == []


def test_offline_with_a_part_of_the_files_in_the_cache(
    hub: Any, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    offer_bright(hub)
    opened("bright/pony")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    with pytest.raises(InvalidInputError, match=r"xlangai/BRIGHT \(long_documents/pony-\*\)"):
        opened("bright-long/pony")


def test_a_hub_that_does_not_answer(dead_hub: None, opened: Opened, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="mldr/hi is not on this machine, and the hub could not be reached"):
        opened("mldr/hi")

    assert not (tmp_path / "cache/benchmarks/mldr").exists()


def test_a_repository_that_is_gone(hub: Any, opened: Opened) -> None:
    with pytest.raises(InvalidInputError, match="its repository is not there, or is private and needs HF_TOKEN"):
        opened("mldr/hi")


def test_a_gated_repository(hub: Any, opened: Opened) -> None:
    offer_mldr(hub)
    hub.gated.add(MLDR)

    with pytest.raises(InvalidInputError, match="gated: accept its terms in a browser and set HF_TOKEN"):
        opened("mldr/hi")


def test_a_repository_without_the_file(hub: Any, opened: Opened) -> None:
    hub.offer(MLDR, "README.md", {})

    with pytest.raises(InvalidInputError, match=r"its repository has no file mldr-v1\.0-hi/test\.jsonl\.gz"):
        opened("mldr/hi")


def test_a_repository_that_declares_other_splits(hub: Any, opened: Opened) -> None:
    hub.declare(BRIGHT, examples={"biology": "examples/biology-*"})

    with pytest.raises(InvalidInputError, match="README declares no files of split 'pony' in configuration 'examples'"):
        opened("bright/pony")


def test_a_repository_whose_fields_have_other_names(hub: Any, opened: Opened) -> None:
    offer_mldr(hub)
    hub.offer(MLDR, "mldr-v1.0-hi/test.jsonl.gz", {"qid": "q-hi-1", "text": "?"})

    with pytest.raises(InvalidInputError, match=r"test\.jsonl\.gz, line 1: has no field 'query_id', but qid, text"):
        opened("mldr/hi")
