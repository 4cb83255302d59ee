"""`evaluate`: what a report says of systems on one data set and on several."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from lagotto import Report, evaluate
from lagotto.evaluation.instructions import TaskHint
from lagotto.evaluation.measures import parse_measure, per_query
from lagotto.evaluation.pipeline import Bm25Leg, Fusion, System
from support.checkpoints import BERT, write_embedder
from support.collection import (
    DOCUMENTS,
    QUERIES,
    bitext,
    candidates,
    collection,
    judgements,
    queries,
    same_or_not,
    sts,
    write_collection,
    write_lines,
)


def figures(report: Report) -> dict[tuple[str, str], dict[str, float]]:
    return {(r.system, r.dataset): {name: value.value for name, value in r.metrics.items()} for r in report.results}


# What a report says


def test_a_report_in_memory(go, data, tiny_bert, tiny_reranker, counts):
    report = go(data, model=tiny_bert, reranker=str(tiny_reranker), bm25=True, hybrid=True, dimensions=[8])
    names = ["tiny-bert", "tiny-bert [8d]", "tiny-bert + BM25", "BM25"]
    names += [f"{name} → tiny-reranker" for name in names]
    assert [system.name for system in report.systems] == names
    assert [(result.system, result.dataset) for result in report.results] == [(name, "mini") for name in names]
    (info,) = report.datasets
    assert (info.name, info.kind, info.documents, info.queries, info.judgements) == ("mini", "retrieval", 40, 8, 24)
    assert info.fingerprint == data.fingerprint
    for result in report.results:
        assert list(result.metrics) == ["ndcg@10", "recall@10", "recall@100", "mrr@10", "map"]
        assert result.run is not None
        wanted = per_query(result.run.to_dict(), judgements(), [parse_measure(name) for name in result.metrics])
        assert result.per_query == wanted
        assert 0 <= result.metrics["ndcg@10"].low <= result.metrics["ndcg@10"].high <= 1
    assert report.result("BM25", "mini").metrics["recall@100"].value > 0.4
    assert {(item.baseline, item.system) for item in report.comparisons} == {("tiny-bert", name) for name in names[1:]}
    assert report.examples["mini"]
    assert report.systems[0].models == {str(tiny_bert): report.systems[1].models[str(tiny_bert)]}
    assert set(report.systems[4].models) == {str(tiny_bert), str(tiny_reranker)}
    assert report.systems[3].models == {}
    assert report.systems[0].description == {
        "top_k": 1000,
        "leg": [{"type": "dense", "model": str(tiny_bert), "quantization": "f32", "rescore": 0}],
    }
    environment = report.environment
    assert (environment["threads"], environment["precision"]) == ("1", "f32")
    assert environment["date"].endswith("+00:00")
    assert all(isinstance(value, str) and value for value in environment.values())
    assert counts.opened == [str(tiny_bert), str(tiny_reranker)]  # once each
    assert counts.texts == DOCUMENTS + QUERIES


def test_without_a_system_it_is_bm25(go, data):
    report = go(data)
    assert [system.name for system in report.systems] == ["BM25"]
    assert report.comparisons == ()
    assert len(report.examples["mini"]) == QUERIES


def test_the_same_call_gives_the_same_report(go, data, tiny_bert, tmp_path, options):
    first = go(data, model=tiny_bert, bm25=True)
    second = go(data, model=tiny_bert, bm25=True, options=replace(options, cache_dir=tmp_path / "other"))
    assert figures(first) == figures(second)
    assert first.comparisons == second.comparisons
    assert [result.metrics for result in first.results] == [result.metrics for result in second.results]
    assert [result.scores for result in first.results] == [result.scores for result in second.results]


def test_names_may_be_strings_paths_or_lists(go, folder, tiny_bert):
    wanted = figures(go(folder, model=tiny_bert))
    assert figures(go(str(folder), model=[str(tiny_bert)])) == wanted
    assert figures(go([folder], model=(tiny_bert,))) == wanted


def test_files_and_memory_are_measured_alike(go, folder, data, tiny_bert):
    assert figures(go(folder, model=tiny_bert)) == figures(go(data, model=tiny_bert))


def test_measures_that_are_asked_for_and_their_order(go, data):
    report = go(data, measures=["MAP", "recall_at_3", "ndcg_cut_5"])
    assert list(report.results[0].metrics) == ["map", "recall@3", "ndcg@5"]


def test_a_benchmarks_own_measures(go):
    assert list(go(collection(measures=("recall@100", "ndcg@10"))).results[0].metrics) == ["recall@100", "ndcg@10"]


def test_answers_instead_of_judgements(go, data):
    answered = collection(qrels={}, answers=dict.fromkeys(queries(), ("panda",)))
    report = go(answered)
    assert list(report.results[0].metrics) == ["answer_recall@20", "answer_recall@100"]
    both = collection(answers={"q0": ("panda",)})
    assert list(go(both, measures=["ndcg@10", "answer_recall@5"]).results[0].metrics) == ["ndcg@10", "answer_recall@5"]
    mixed = go([replace(answered, name="answered"), data], measures=["answer_recall@5", "ndcg@10"])
    assert [list(result.metrics) for result in mixed.results] == [["answer_recall@5"], ["ndcg@10"]]


def test_the_split_is_chosen(go, tmp_path):
    folder = write_collection(tmp_path / "mini")
    (folder / "qrels/dev.tsv").write_text("query-id\tcorpus-id\tscore\nq3\td1\t1\n")
    report = go(folder, split="dev")
    assert (report.datasets[0].split, report.datasets[0].queries) == ("dev", 1)


def test_a_document_with_the_querys_id_may_be_left_out(go):
    renamed = collection(queries={"d1": "panda", "q1": "x"}, qrels={"d1": {"d2": 1, "d1": 1}, "q1": {"d1": 1}})
    for result in go(renamed, ignore_identical_ids=True, model=()).results:
        assert result.run is not None
        assert "d1" not in result.run.to_dict()["d1"]


def test_top_k_and_rerank_top_k(go, data, tiny_bert, tiny_reranker, counts):
    report = go(data, model=tiny_bert, reranker=tiny_reranker, top_k=7, rerank_top_k=3)
    assert [result.run.documents.shape for result in report.results if result.run] == [(QUERIES, 7)] * 2
    assert counts.pairs == QUERIES * 3


def test_pipelines_from_a_file_come_before_models(go, data, tiny_bert, tmp_path):
    path = tmp_path / "pipelines.toml"
    path.write_text(
        f'[[system]]\nname = "mine"\ntop_k = 5\n[[system.leg]]\ntype = "dense"\nmodel = "{tiny_bert}"\n'
        '[[system.leg]]\ntype = "bm25"\nlanguage = "en"\n[system.fusion]\nmethod = "weighted"\nweights = [0.9, 0.1]\n'
    )
    assert [system.name for system in go(data, pipeline=path).systems] == ["mine"]
    report = go(data, pipeline=str(path), model=tiny_bert)
    assert [system.name for system in report.systems] == ["mine", "tiny-bert"]
    assert report.result("mine", "mini").run.documents.shape == (QUERIES, 5)


def test_pipelines_as_values(go, data, dense, rerank):
    system = System("all", (dense, Bm25Leg("en")), Fusion(), rerank, top_k=9)
    report = go(data, pipeline=[system], bm25=True)
    assert [found.name for found in report.systems] == ["all", "BM25"]
    assert report.systems[0].description == system.describe()


def test_the_baseline_comes_first(go, data, tiny_bert):
    report = go(data, model=tiny_bert, bm25=True, dimensions=[8], baseline="BM25")
    assert [system.name for system in report.systems] == ["BM25", "tiny-bert", "tiny-bert [8d]"]
    assert {item.baseline for item in report.comparisons} == {"BM25"}


# Several data sets


def test_every_kind_of_data_and_which_systems_can_do_it(go, tiny_bert, tiny_reranker):
    sets = [collection(), sts(), bitext(), same_or_not(), candidates()]
    report = go(sets, model=tiny_bert, reranker=tiny_reranker, bm25=True)
    assert [info.kind for info in report.datasets] == [
        *("retrieval", "sts", "bitext"),
        *("pair_classification", "reranking"),
    ]
    cells = {(result.system, result.dataset) for result in report.results}
    reranked = {"tiny-bert → tiny-reranker", "BM25 → tiny-reranker"}
    assert {system for system, name in cells if name == "mini"} == {"tiny-bert", "BM25", *reranked}
    assert {system for system, name in cells if name == "likeness"} == {"tiny-bert"}
    assert {system for system, name in cells if name == "candidates"} == {"tiny-bert", *reranked}
    assert list(report.result("tiny-bert", "bitext").metrics) == ["accuracy"]
    assert {item.dataset for item in report.comparisons} >= {"mini", "candidates"}
    assert set(report.examples) == {"mini"}


def test_pairs_are_compared_too(go, tiny_bert):
    report = go([sts(), bitext(), same_or_not()], model=tiny_bert, dimensions=[4])
    assert {(item.dataset, item.measure) for item in report.comparisons} == {
        *(("likeness", "spearman"), ("likeness", "pearson")),
        *(("bitext", "accuracy"), ("same", "ap"), ("same", "best_f1")),
    }


def test_measures_are_for_rankings_only(go, tiny_bert):
    report = go([candidates(), sts(), collection()], model=tiny_bert, measures=["recall@3"])
    assert [list(result.metrics) for result in report.results] == [["recall@3"], ["spearman", "pearson"], ["recall@3"]]


def test_a_folder_of_files_of_pairs_is_a_group(go, tiny_bert, tmp_path):
    folder = tmp_path / "languages"
    folder.mkdir()
    for name, shift in (("de", 0), ("fr", 3)):
        pairs = bitext()
        rows = ({"sentence1": a, "sentence2": b[shift:]} for a, b in zip(pairs.left, pairs.right, strict=True))
        write_lines(folder / f"{name}.jsonl", rows)
    report = go(folder, model=tiny_bert, dimensions=[8])
    assert [(info.name, info.group) for info in report.datasets] == [("de", "languages"), ("fr", "languages")]
    assert len(report.results) == 4
    assert {item.dataset for item in report.comparisons} >= {"de", "fr"}


def test_members_of_a_group_count_as_one_in_the_mean(go, tmp_path, tiny_bert):
    folders = [
        write_collection(tmp_path / "a", group="both"),
        write_collection(tmp_path / "b", group="both"),
        write_collection(tmp_path / "c"),
    ]
    report = go(folders, model=tiny_bert, bm25=True, measures=["map"])
    assert [info.group for info in report.datasets] == ["both", "both", None]
    mean = [item for item in report.comparisons if item.dataset.startswith("mean of")]
    assert len(mean) == 1
    assert "2" in mean[0].dataset or "retrieval" in mean[0].dataset
    single = next(item for item in report.comparisons if item.dataset == "a")
    assert mean[0].difference.value == pytest.approx(single.difference.value)


def test_two_folders_of_one_name_are_told_apart_by_their_parents(go, tmp_path):
    report = go([write_collection(tmp_path / parent / "data") for parent in ("one", "two")])
    assert [info.name for info in report.datasets] == ["one/data", "two/data"]


def test_models_are_closed_before_the_next_are_opened(options, data, tiny_bert, tiny_xlmr, counts, monkeypatch):
    events: list[str] = []
    for name in ("opened", "closed"):
        real = getattr(counts, name)

        class Log(list):
            def append(self, model: str, name=name) -> None:
                events.append(f"{name} {Path(model).name}")

        setattr(counts, name, Log(real))
    evaluate([data, sts()], model=[tiny_bert, tiny_xlmr], dimensions=[8], options=options)
    assert events == ["opened tiny-bert", "closed tiny-bert", "opened tiny-xlmr", "closed tiny-xlmr"]


def test_the_same_texts_under_two_tasks_are_written_for_each(go, tmp_path):
    model = write_embedder(tmp_path / "tasks", BERT, prompts={"A-query": "medicine: "})
    tasks = [collection(name="a", task=TaskHint("A")), collection(name="b", task=TaskHint("B"))]
    report = go(tasks, model=model, dimensions=[8])
    a, b = (report.result("tasks", name).run for name in "ab")
    assert abs(a.scores - b.scores).max() > 1e-3


# What it says meanwhile


def test_progress_says_a_line_a_cell(go, data, tiny_bert, capsys):
    report = go([data, sts()], model=tiny_bert, progress=True)
    out, err = capsys.readouterr()
    value = report.result("tiny-bert", "mini").metrics["ndcg@10"].value
    assert out == ""
    assert err.splitlines()[0] == f"opening {tiny_bert}"
    assert f"mini: tiny-bert: ndcg@10 {value:.4f} (" in err
    assert "likeness: tiny-bert: spearman " in err


def test_without_progress_it_is_silent(go, data, tiny_bert, capfd):
    go(data, model=tiny_bert)
    assert capfd.readouterr() == ("", "")
