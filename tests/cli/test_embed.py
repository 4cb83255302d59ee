"""``lagotto embed``: what it writes, in every format."""

from __future__ import annotations

import json
import sys

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from lagotto import Embedder, Windows
from support.checkpoints import write_m3
from support.token_models import write_splade

TEXTS = ["panda", "the giant panda is a bear", "熊猫", "", "what is a dog? " * 40]


@pytest.fixture
def texts(tmp_path):
    path = tmp_path / "in.jsonl"
    path.write_bytes(b"".join(orjson.dumps({"id": f"t{i}", "text": t}) + b"\n" for i, t in enumerate(TEXTS)))
    return path


@pytest.fixture(scope="module")
def expected(tiny_bert):
    with Embedder(tiny_bert, precision="f32") as model:
        yield model.encode(TEXTS)


def test_npy(run, tiny_bert, texts, tmp_path, expected):
    result = run("embed", "-m", tiny_bert, "--precision", "f32", texts, "-o", tmp_path / "o.npy")
    assert result.exit_code == 0, result.output
    assert result.stdout == ""
    assert f"{tmp_path / 'o.npy'}: 5 texts, " in result.stderr
    assert "1 truncated" in result.stderr
    written = np.load(tmp_path / "o.npy")
    assert written.dtype == np.float32
    np.testing.assert_allclose(written, expected.dense, atol=1e-6)
    np.save(tmp_path / "same.npy", written)
    assert (tmp_path / "same.npy").read_bytes() == (tmp_path / "o.npy").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "o.npy", "same.npy"]


def test_jsonl(run, tiny_bert, texts, tmp_path, expected):
    result = run("embed", "-m", tiny_bert, "--precision", "f32", texts, "-o", tmp_path / "o.jsonl", "--quiet")
    assert result.output == ""
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    assert list(rows[0]) == ["id", "embedding", "tokens", "truncated"]
    assert [row["id"] for row in rows] == ["t0", "t1", "t2", "t3", "t4"]
    assert [row["tokens"] for row in rows] == expected.tokens.tolist()
    assert [row["truncated"] for row in rows] == [False, False, False, False, True]
    np.testing.assert_allclose([row["embedding"] for row in rows], expected.dense, atol=1e-6)


@pytest.mark.parametrize("ids", ["string", "number"])
def test_parquet(run, tiny_bert, texts, tmp_path, expected, ids):
    field = [] if ids == "string" else ["--id-field", "n"]
    if ids == "number":
        texts.write_bytes(b"".join(orjson.dumps({"n": i * 10, "text": t}) + b"\n" for i, t in enumerate(TEXTS)))
    run("embed", "-m", tiny_bert, "--precision", "f32", texts, "-o", tmp_path / "o.parquet", *field)
    table = pq.read_table(tmp_path / "o.parquet")
    assert table.column_names == ["id", "embedding", "tokens", "truncated"]
    assert table.schema.field("embedding").type.list_size == 32
    assert table.schema.field("embedding").type.value_type == pa.float32()
    assert table["id"].to_pylist() == ([0, 10, 20, 30, 40] if field else ["t0", "t1", "t2", "t3", "t4"])
    np.testing.assert_allclose(table["embedding"].to_pylist(), expected.dense, atol=1e-6)
    assert table["tokens"].to_pylist() == expected.tokens.tolist()


def test_npz(run, tiny_bert, texts, tmp_path, expected):
    result = run("embed", "-m", tiny_bert, "--precision", "f32", texts, "-o", tmp_path / "o.npz", "--quiet")
    assert result.exit_code == 0, result.output
    with np.load(tmp_path / "o.npz") as written:
        assert sorted(written.files) == ["dense", "ids", "tokens", "truncated"]
        assert written["ids"].tolist() == ["t0", "t1", "t2", "t3", "t4"]
        assert written["truncated"].tolist() == [False, False, False, False, True]
        np.testing.assert_allclose(written["dense"], expected.dense, atol=1e-6)


@pytest.fixture(scope="module")
def m3(tmp_path_factory):
    """A model with all three outputs."""
    return write_m3(tmp_path_factory.mktemp("m3") / "m3")


ALL = ("--outputs", "dense", "--outputs", "sparse", "--outputs", "multivector")


@pytest.mark.parametrize("parts", [2048, 2])
def test_all_outputs(run, m3, texts, tmp_path, monkeypatch, parts):
    monkeypatch.setattr("lagotto.models.pipeline.CHUNK", parts)
    for ending in ("npz", "jsonl"):
        options = ("--pooling", "cls", "--precision", "f32", "-o", tmp_path / f"o.{ending}", *ALL, "--json")
        result = run("embed", "-m", m3, texts, *options)
        assert result.exit_code == 0, result.output
        assert json.loads(result.stdout)["outputs"] == ["dense", "sparse", "multivector"]
    with Embedder(m3, pooling="cls", precision="f32") as model:
        wanted = model.encode(TEXTS, outputs={"dense", "sparse", "multivector"})
    rows = [json.loads(line) for line in (tmp_path / "o.jsonl").read_text().splitlines()]
    with np.load(tmp_path / "o.npz") as found:
        np.testing.assert_allclose(found["dense"], wanted.dense, atol=1e-5)
        np.testing.assert_array_equal(found["sparse_indptr"], wanted.sparse.indptr)
        np.testing.assert_array_equal(found["sparse_indices"], wanted.sparse.indices)
        np.testing.assert_allclose(found["sparse_values"], wanted.sparse.values, atol=1e-5)
        assert found["sparse_vocabulary"] == wanted.sparse.vocabulary
        np.testing.assert_array_equal(found["multivector_offsets"], wanted.multivector.offsets)
        np.testing.assert_allclose(found["multivector_vectors"], wanted.multivector.vectors, atol=1e-5)
    for place, row in enumerate(rows):
        assert list(row) == ["id", "embedding", "sparse", "multivector", "tokens", "truncated"]
        ids, weights = wanted.sparse.row(place)
        assert row["sparse"]["indices"] == ids.tolist()
        np.testing.assert_allclose(row["sparse"]["values"], weights, atol=1e-5)
        np.testing.assert_allclose(row["multivector"], wanted.multivector[place], atol=1e-5)


def test_a_model_without_dense_vectors(run, texts, tmp_path):
    folder = write_splade(tmp_path / "splade")
    result = run("embed", "-m", folder, texts, "-o", tmp_path / "o.npy")
    assert result.exit_code == 1
    assert "holds dense output, and sparse is to be written; name a file that ends in .npz or .jsonl" in result.stderr
    result = run("embed", "-m", folder, texts, "-o", tmp_path / "o.jsonl", "--json")
    assert json.loads(result.stdout)["dimension"] is None
    first = json.loads((tmp_path / "o.jsonl").read_text().splitlines()[0])
    assert list(first) == ["id", "sparse", "tokens", "truncated"]
    result = run("embed", "-m", folder, texts, "-o", tmp_path / "o.jsonl", "--outputs", "dense")
    assert "gives sparse output, not dense" in result.stderr


def test_no_texts_still_tell_what_they_would_have(run, tmp_path):
    folder = write_splade(tmp_path / "splade")
    assert run("embed", "-m", folder, "-o", tmp_path / "o.npz", input="").exit_code == 0
    with np.load(tmp_path / "o.npz") as found:
        assert found["sparse_indptr"].tolist() == [0]
        assert found["sparse_vocabulary"] > 100
        assert found["ids"].shape == (0,)


@pytest.mark.parametrize("ending", ["npy", "jsonl", "parquet"])
def test_empty_input(run, tiny_bert, tmp_path, ending):
    output = tmp_path / f"o.{ending}"
    result = run("embed", "-m", tiny_bert, "-o", output, "--dimensions", "8", input="")
    assert result.exit_code == 0, result.output
    if ending == "npy":
        assert np.load(output).shape == (0, 8)
    elif ending == "jsonl":
        assert output.read_bytes() == b""
    else:
        table = pq.read_table(output)
        assert table.num_rows == 0
        assert table.schema.field("embedding").type.list_size == 8
    assert not (tmp_path / f"{output.name}.partial").exists()


def test_json_summary_from_standard_input(run, tiny_bert, tmp_path):
    result = run("embed", "-m", tiny_bert, "-o", tmp_path / "o.npy", "--json", input="panda\nbear\n")
    summary = json.loads(result.stdout)
    assert result.stderr == ""
    assert summary.pop("seconds") >= 0
    assert summary.pop("texts_per_second") >= 0
    assert len(summary.pop("fingerprint")) == 32
    assert summary == {
        "output": str(tmp_path / "o.npy"),
        "model": str(tiny_bert),
        "outputs": ["dense"],
        "dimension": 32,
        "texts": 2,
        "resumed": 0,
        "tokens": 6,
        "truncated": 0,
    }


@pytest.mark.parametrize(
    ("options", "encode"),
    [
        (["--as", "query"], lambda m: m.encode_queries(TEXTS)),
        (["--as", "document"], lambda m: m.encode_documents(TEXTS)),
        (["--as", "query", "--instruction", "find: "], lambda m: m.encode_queries(TEXTS, instruction="find: ")),
        (["--as", "query", "--prompt", "text "], lambda m: m.encode_queries(TEXTS, prompt="text ")),
        (["--prompt", "text "], lambda m: m.encode(TEXTS, prompt="text ")),
        (["--instruction", "find: "], lambda m: m.encode(TEXTS, instruction="find: ")),
        (["--dimensions", "8"], lambda m: m.encode(TEXTS, dimensions=8)),
        (["--no-normalize"], lambda m: m.encode(TEXTS, normalize=False)),
        (["--max-length", "5"], lambda m: m.encode(TEXTS, max_length=5)),
        (["--truncation", "left"], lambda m: m.encode(TEXTS, truncation="left")),
        (["--pooling", "mean"], None),
    ],
)
def test_options_mean_what_the_library_means(run, tiny_bert, texts, tmp_path, options, encode):
    prompted = tmp_path / "prompted"
    prompted.mkdir()
    for path in tiny_bert.rglob("*"):
        target = prompted / path.relative_to(tiny_bert)
        target.mkdir(exist_ok=True) if path.is_dir() else target.write_bytes(path.read_bytes())
    prompts = {"prompts": {"query": "search query: ", "document": "passage: "}, "default_prompt_name": "document"}
    (prompted / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    result = run("embed", "-m", prompted, "--precision", "f32", texts, "-o", tmp_path / "o.npy", *options)
    assert result.exit_code == 0, result.output
    pooling = "mean" if encode is None else None
    with Embedder(prompted, precision="f32", pooling=pooling) as model:
        wanted = (encode or (lambda m: m.encode(TEXTS)))(model).dense
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "o.txt"], "o.txt: the ending tells the format; allowed are .npy, .npz, .parquet, .jsonl"),
        (["-o", "none/o.npy"], "none: No such file or directory"),
        (["-o", "folder.npy"], "folder.npy is a folder; name a file"),
        (["-o", "in.jsonl"], "in.jsonl is the input; write to another file"),
        (["-o", "o.npy", "--dimensions", "33"], "dimensions is 33; this model allows 1 to 32"),
        (["-o", "o.npy", "--precision", "int3"], "precision is 'int3'"),
        (["-o", "o.npy", "--weights", "int3"], "weights is 'int3'"),
        (["-o", "o.npy", "--prompt", "a", "--instruction", "b"], "give prompt="),
        (["-o", "o.npy", "--truncation", "error"], "tokens, 62 fit"),
        (["-o", "o.npy", "--field", "body"], "in.jsonl, line 1: no field 'body'"),
    ],
)
def test_errors(run, tiny_bert, texts, tmp_path, monkeypatch, options, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npy").mkdir()
    before = texts.read_bytes()
    result = run("embed", "-m", tiny_bert, "in.jsonl", *options)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("lagotto: error: ")
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.npy", "in.jsonl"]
    assert texts.read_bytes() == before


def test_parquet_output_without_pyarrow(run, tiny_bert, texts, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("embed", "-m", tiny_bert, texts, "-o", tmp_path / "o.parquet")
    assert result.stderr == 'lagotto: error: parquet output needs pyarrow: pip install "lagotto[parquet]"\n'


def test_an_older_output_is_replaced(run, tiny_bert, texts, tmp_path):
    (tmp_path / "o.npy").write_bytes(b"old")
    assert run("embed", "-m", tiny_bert, texts, "-o", tmp_path / "o.npy").exit_code == 0
    assert np.load(tmp_path / "o.npy").shape == (5, 32)


def test_a_bar_on_a_terminal(run, tiny_bert, texts, tmp_path, monkeypatch):
    monkeypatch.setattr("lagotto.cli.embed._on_terminal", lambda: True)
    result = run("embed", "-m", tiny_bert, texts, "-o", tmp_path / "o.npy")
    assert "5/5" in result.stderr


def test_long_texts_are_read_in_windows(run, tiny_bert, texts, tmp_path):
    options = ["-m", tiny_bert, "--precision", "f32", texts, "-o", tmp_path / "o.npy", "--truncation", "windows"]
    result = run("embed", *options, "--window", "20", "--overlap", "4", "--combine", "max")
    assert result.exit_code == 0, result.output
    assert "0 truncated" in result.stderr
    with Embedder(tiny_bert, precision="f32") as model:
        expected = model.encode(TEXTS, truncation=Windows(20, 4, "max")).dense
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), expected, atol=1e-6)


@pytest.mark.parametrize("option", [["--window", "20"], ["--overlap", "0"], ["--combine", "mean"]])
def test_windows_must_be_asked_for(run, tiny_bert, texts, tmp_path, option):
    result = run("embed", "-m", tiny_bert, texts, "-o", tmp_path / "o.npy", *option)
    assert result.exit_code != 0
    assert "--truncation windows" in result.stderr


def test_tasks_examples_and_adapters(run, tiny_bert, texts, tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from support.adapters import write_adapter
    from support.language_models import write_language_model

    given = ("--precision", "f32", texts, "-q", "-o", tmp_path / "o.npy", "--restart")
    run("embed", "-m", tiny_bert, "--card", "BAAI/llm-embedder", "--as", "query", "--task", "tool", *given)
    with Embedder(tiny_bert, card="BAAI/llm-embedder", precision="f32") as model:
        expected = model.encode_queries(TEXTS, task="tool").dense
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), expected, atol=1e-6)

    shown = [{"query": "who", "response": "the dog"}, {"query": "a", "response": "b", "instruct": "c"}]
    files = [tmp_path / "list.json", tmp_path / "lines.jsonl"]
    files[0].write_text(json.dumps(shown))
    files[1].write_text("\n".join(json.dumps(one) for one in shown))
    folder = write_language_model(tmp_path / "model")
    adapter = write_adapter(tmp_path / "adapter", str(folder), {"layers.0.self_attn.q_proj": (32, 32)})
    with Embedder(folder, card="BAAI/bge-en-icl", adapter=adapter, precision="f32", device="cpu") as model:
        expected = model.encode_queries(TEXTS, examples=shown).dense
    for file in files:
        (tmp_path / "o.npy").unlink(missing_ok=True)
        more = ("--card", "BAAI/bge-en-icl", "--as", "query", "--examples", file, "--adapter", adapter)
        result = run("embed", "-m", folder, *more, "--device", "cpu", *given)
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(np.load(tmp_path / "o.npy"), expected, atol=1e-5)
    (tmp_path / "o.npy").unlink()
    run("embed", "-m", folder, "--card", "BAAI/bge-en-icl", "--as", "query", "--compat", "--device", "cpu", *given)
    with Embedder(folder, card="BAAI/bge-en-icl", compat=True, precision="f32", device="cpu") as model:
        expected = model.encode_queries(TEXTS).dense
    np.testing.assert_allclose(np.load(tmp_path / "o.npy"), expected, atol=1e-5)
    files[0].write_text('[{"query": 1}]')
    result = run("embed", "-m", folder, "--card", "BAAI/bge-en-icl", "--examples", files[0], *given)
    assert result.exit_code == 1
    assert "list.json: no examples can be read" in result.output
