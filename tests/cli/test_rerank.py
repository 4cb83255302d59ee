"""``lagotto rerank``."""

from __future__ import annotations

import json

import pytest

from lagotto import Reranker
from lagotto.cli.tables import width

DOCUMENTS = ["the dog", "a giant panda is a bear", "熊猫" * 60, "search query"]


@pytest.fixture
def documents(tmp_path):
    path = tmp_path / "docs.jsonl"
    rows = [{"id": f"d{i}", "text": text} for i, text in enumerate(DOCUMENTS)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("raw", [False, True])
def test_json_lines(run, tiny_reranker, documents, raw):
    options = ["--raw"] if raw else []
    result = run("rerank", "-m", tiny_reranker, "-Q", "what is a panda?", documents, "--json", *options)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    with Reranker(tiny_reranker) as model:
        wanted = model.rank("what is a panda?", DOCUMENTS, normalize=not raw)
    assert [row["index"] for row in rows] == [hit.index for hit in wanted]
    assert [row["score"] for row in rows] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
    assert [row["rank"] for row in rows] == [1, 2, 3, 4]
    assert all(row["id"] == f"d{row['index']}" and row["text"] == DOCUMENTS[row["index"]] for row in rows)


def test_on_the_torch_engine(run, tiny_reranker, documents):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    options = ["--engine", "torch", "--device", "cpu", "--precision", "f32"]
    result = run("rerank", "-m", tiny_reranker, "-Q", "what?", documents, "--json", *options)
    assert result.exit_code == 0, result.output
    with Reranker(tiny_reranker, precision="f32") as model:
        wanted = model.rank("what?", DOCUMENTS)
    found = [json.loads(line)["score"] for line in result.stdout.splitlines()]
    assert found == pytest.approx([hit.score for hit in wanted], abs=1e-5)


def test_an_adapter(run, tiny_reranker, documents, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from support.adapters import write_adapter

    shapes = {"bert.encoder.layer.0.attention.self.query": (32, 32)}
    adapter = write_adapter(tmp_path / "adapter", str(tiny_reranker), shapes)
    options = ["--adapter", adapter, "--precision", "f32", "--json"]
    result = run("rerank", "-m", tiny_reranker, "-Q", "what?", documents, *options)
    assert result.exit_code == 0, result.output
    with Reranker(tiny_reranker, adapter=adapter, precision="f32") as model:
        wanted = model.rank("what?", DOCUMENTS)
    found = [json.loads(line)["score"] for line in result.stdout.splitlines()]
    assert found == pytest.approx([hit.score for hit in wanted], abs=1e-5)


def test_table_is_cut_to_the_terminal(run, tiny_reranker, documents):
    result = run("rerank", "-m", tiny_reranker, "--query", "what?", documents)
    lines = result.stdout.splitlines()
    assert lines[0] == "rank   score  index  text"
    assert len(lines) == 6
    assert max(map(width, lines)) <= 80
    assert any(line.endswith("熊…") for line in lines)


def test_top_n_from_standard_input(run, tiny_reranker):
    result = run("rerank", "-m", tiny_reranker, "-Q", "panda", "-n", "2", "--json", input="dog\npanda\nbear\n")
    assert len(result.stdout.splitlines()) == 2


def test_no_documents(run, tiny_reranker):
    result = run("rerank", "-m", tiny_reranker, "-Q", "panda", input="")
    assert result.exit_code == 0
    assert len(result.stdout.splitlines()) == 2
    assert run("rerank", "-m", tiny_reranker, "-Q", "panda", "--json", input="").stdout == ""


def test_an_embedder_is_refused(run, tiny_bert):
    result = run("rerank", "-m", tiny_bert, "-Q", "panda", input="dog\n")
    assert result.exit_code == 1
    assert "no sequence-classification head" in result.stderr


def test_an_llm_reranker_takes_layers(run, documents, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from lagotto import ScoreOptions
    from support.llm_rerankers import CARDS, open_ranker, write_layerwise

    folder = write_layerwise(tmp_path / "light", "cost_wise_gemma")
    ask = [
        "rerank",
        "-m",
        folder,
        "--card",
        CARDS["cost_wise_gemma"],
        "-Q",
        "a panda",
        documents,
        "--json",
        "--precision",
    ]
    layers = ["--cutoff-layers", "3", "--compress-layers", "1,2", "--compress-ratio", "2", "--prompt", "same_meaning"]
    result = run(*ask, "f32", *layers)
    assert result.exit_code == 0, result.output
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    options = ScoreOptions(cutoff_layers=3, compress_layers=[1, 2], compress_ratio=2, prompt="same_meaning")
    with open_ranker(folder, "cost_wise_gemma") as model:
        wanted = model.rank("a panda", DOCUMENTS, options=options)
    assert [row["score"] for row in rows] == pytest.approx([hit.score for hit in wanted], abs=1e-4)
    wrong = run(*ask, "f32", "--compress-layers", "a")
    assert wrong.exit_code != 0
    assert "give layers as 24 or 16,24" in wrong.output
    assert "weights is 'int3'; allowed are full, int8" in run(*ask, "f32", "--weights", "int3").output
