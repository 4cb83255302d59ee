"""`quantize`, from every kind of model to a folder that opens like any other."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lagotto.quantization.quantize as quantize_module
from lagotto import Embedder, QuantizationReport, Reranker, quantize
from lagotto.cards.quantized import QUANTIZATION_FILE, UNMEASURED
from lagotto.cards.schema import ModelCard
from lagotto.cards.sources import Source
from lagotto.cards.weights import INT8_WEIGHTS
from lagotto.core import hardware
from lagotto.core.errors import CheckpointError, InvalidInputError, MissingDependencyError, UnsupportedModelError
from lagotto.models.loading import Options
from lagotto.quantization.gate import Limits
from support.calibration import texts
from support.checkpoints import (
    BERT,
    XLMR,
    DenseLayer,
    encoder_tensors,
    some_texts,
    write_embedder,
    write_m3,
    write_plain,
    write_weights,
)
from support.collection import collection, sts, write_collection

pytestmark = pytest.mark.usefixtures("int8_cpu")
TEXTS = texts(40, seed=20)
ONE = Options(threads=1)
STRICT, LOOSE = Limits(mean_cosine=1.0, rank_correlation=1.0), Limits(mean_cosine=0.99, rank_correlation=0.9)


def vectors(folder: Path, precision: str = "auto", **options: Any) -> np.ndarray:
    with Embedder(folder, precision=precision, threads=1, **options) as model:
        assert model.engine.precision == ("int8" if precision == "auto" else precision)
        return model.encode(TEXTS).dense


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (one, other)]
    return (unit[0] * unit[1]).sum(axis=1)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What is made.


def test_the_report_and_the_folder(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    report = quantize(tiny_bert, texts_file, tmp_path / "out", samples=64, options=ONE)
    assert isinstance(report, QuantizationReport)
    assert (report.accepted, report.forced, report.usable, report.task) == (True, False, True, "embed")
    assert report.out == tmp_path / "out"
    assert report.agreement.items == 64
    assert report.agreement.cosine is not None
    assert report.agreement.cosine["mean"] >= 0.998
    assert report.samples > 64
    with Embedder(tiny_bert, precision="f32", threads=1) as original:
        assert report.fingerprint == original.fingerprint
    written = json.loads((tmp_path / "out" / QUANTIZATION_FILE).read_text())
    assert {key: value for key, value in report.to_dict().items() if key != "out"}.items() <= written.items()
    assert left_in(tmp_path) == ["out"]


def test_it_opens_like_any_other_and_gives_nearly_the_same(tiny_bert: Path, tiny_int8: Path) -> None:
    exact = vectors(tiny_bert, "f32")
    for precision in ("auto", "int8"):
        found = cosines(vectors(tiny_int8, precision), exact)
        assert found.mean() > 0.999
        assert found.min() > 0.99
    assert np.abs(vectors(tiny_int8) - exact).max() > 1e-4  # it is not the original


@pytest.mark.parametrize(
    "written",
    [
        {"shape": XLMR, "pooling": "mean"},
        {"shape": BERT, "pooling": "mean", "transformer": "0_Transformer"},
        {"shape": BERT, "pooling": "last_token", "dense": [DenseLayer()]},
        {"shape": BERT, "prompts": {"query": "find: ", "document": "text: "}, "normalize": False},
    ],
    ids=["xlm-roberta", "sub-folder", "dense", "prompts"],
)
def test_embedders_of_every_layout(written: dict[str, Any], texts_file: Path, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", **written)
    quantize(folder, texts_file, tmp_path / "out", samples=64, limits=LOOSE, options=ONE)
    with Embedder(folder, precision="f32", threads=1) as exact, Embedder(tmp_path / "out", threads=1) as int8:
        assert int8.card.with_changes(name="") == exact.card.with_changes(name="")
        assert int8.engine.precision == "int8"
        for role in ("query", "document", "text"):
            one, other = (next(model.stream(TEXTS, role=role)).dense for model in (exact, int8))
            assert one.shape == other.shape
            assert cosines(one, other).mean() > 0.995


def test_a_model_whose_card_is_not_listed(
    tiny_bert: Path, texts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As starter models may be: nobody could look the card up again."""
    card = ModelCard("its own", "embed", "bert", ("dense",), max_length=64, pooling="cls", dimension=32)
    monkeypatch.setattr(quantize_module, "locate", lambda name, *_: Source(str(name), tiny_bert, card))
    quantize(tiny_bert, texts_file, tmp_path / "out", samples=64, options=ONE)
    assert json.loads((tmp_path / "out" / QUANTIZATION_FILE).read_text())["card"] is None
    assert vectors(tmp_path / "out").shape == (len(TEXTS), 32)


@pytest.mark.parametrize("model", ["tiny_reranker", "tiny_xlmr_reranker"])
def test_rerankers(model: str, request: pytest.FixtureRequest, pairs_file: Path, tmp_path: Path) -> None:
    folder = request.getfixturevalue(model)
    report = quantize(folder, pairs_file, tmp_path / "out", samples=64, limits=LOOSE, options=ONE)
    assert (report.task, report.agreement.cosine, report.accepted) == ("rerank", None, True)
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    with Reranker(folder, precision="f32", threads=1) as exact, Reranker(tmp_path / "out", threads=1) as int8:
        assert int8.engine.precision == "int8"
        one, other = exact.score(pairs).scores, int8.score(pairs).scores
    assert np.corrcoef(one, other)[0, 1] > 0.98


def test_all_outputs_of_m3(texts_file: Path, tmp_path: Path) -> None:
    folder = write_m3(tmp_path / "m3")
    options = Options(threads=1, pooling="cls")
    quantize(folder, texts_file, tmp_path / "out", samples=64, limits=LOOSE, options=options)
    wanted = ("dense", "sparse", "multivector")
    with Embedder(folder, precision="f32", threads=1, pooling="cls") as exact, Embedder(tmp_path / "out") as int8:
        one, other = (model.encode(TEXTS, outputs=wanted) for model in (exact, int8))
        assert int8.card.pooling == "cls"  # as whoever made it said
    assert one.multivector is not None
    assert other.multivector is not None
    assert one.sparse is not None
    assert other.sparse is not None
    assert cosines(one.dense, other.dense).mean() > 0.995
    np.testing.assert_array_equal(one.multivector.offsets, other.multivector.offsets)
    assert cosines(one.multivector.vectors, other.multivector.vectors).mean() > 0.995
    weights = [np.zeros((len(TEXTS), one.sparse.vocabulary)) for _ in range(2)]
    for row in range(len(TEXTS)):
        for matrix, found in zip(weights, (one.sparse, other.sparse), strict=True):
            matrix[row, list(found[row])] = list(found[row].values())
    assert np.abs(weights[0] - weights[1]).sum() < 0.05 * weights[0].sum()


def test_a_model_opened_by_its_listed_name_keeps_its_card(tmp_path: Path, texts_file: Path) -> None:
    write_plain(tmp_path / "store/BAAI/bge-small-en-v1.5", BERT)  # says neither pooling nor prompts
    options = Options(threads=1, models_dir=tmp_path / "store", offline=True)
    quantize("BAAI/bge-small-en-v1.5", texts_file, tmp_path / "named", samples=64, limits=LOOSE, options=options)
    plain = tmp_path / "store/BAAI/bge-small-en-v1.5"
    told = Options(threads=1, card="BAAI/bge-small-en-v1.5")
    quantize(plain, texts_file, tmp_path / "told", samples=64, limits=LOOSE, options=told)
    for name in ("named", "told"):
        with Embedder(tmp_path / name, threads=1) as model:
            assert model.card.pooling == "cls"
            assert model.card.query.instruction.startswith("Represent this sentence")


def test_a_data_set_to_calibrate_and_sets_to_measure_on(tiny_bert: Path, tmp_path: Path) -> None:
    folder = write_collection(tmp_path / "mini")
    report = quantize(
        tiny_bert, folder, tmp_path / "out", samples=32, evaluate_on=[folder, collection(name="b")], options=ONE
    )
    assert [item.dataset for item in report.quality] == ["mini", "b"]
    assert report.quality[0].original == report.quality[1].original > 0
    assert report.accepted is all(item.loss <= 0.5 for item in report.quality)
    assert "on mini" in report.verdict


def test_a_reranker_is_measured_on_what_bm25_finds(tiny_reranker: Path, pairs_file: Path, tmp_path: Path) -> None:
    wide = Limits(rank_correlation=0.9, ndcg_loss=100)
    report = quantize(
        tiny_reranker, pairs_file, tmp_path / "out", samples=64, limits=wide, evaluate_on=collection(), options=ONE
    )
    assert report.quality[0].original > 0


def test_the_same_call_gives_the_same_bytes(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        quantize(tiny_bert, texts_file, tmp_path / name, samples=32, options=ONE)
    for name in (INT8_WEIGHTS, QUANTIZATION_FILE):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_an_empty_folder_is_filled_and_parents_are_made(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "a/b/c"):
        quantize(tiny_bert, texts_file, out, samples=32, options=ONE)
        assert (out / INT8_WEIGHTS).is_file()
        assert left_in(out.parent) in (["c"], ["empty"])


# The gate.


def test_a_model_that_fails_is_written_and_cannot_be_opened(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    report = quantize(tiny_bert, texts_file, tmp_path / "out", samples=32, limits=STRICT, options=ONE)
    assert (report.accepted, report.forced, report.usable) == (False, False, False)
    with pytest.raises(CheckpointError, match=r"failed their quality gate: mean cosine 0\.\d+ is below 1\."):
        Embedder(tmp_path / "out")


def test_force_is_recorded_and_logged_at_every_opening(
    tiny_bert: Path, texts_file: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        report = quantize(tiny_bert, texts_file, tmp_path / "out", samples=32, limits=STRICT, force=True, options=ONE)
    assert not caplog.records
    assert (report.accepted, report.forced, report.usable) == (False, True, True)
    with caplog.at_level(logging.WARNING):
        vectors(tmp_path / "out")
    assert "failed their quality gate, by force: mean cosine" in caplog.text


def test_force_changes_nothing_where_it_is_not_needed(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    report = quantize(tiny_bert, texts_file, tmp_path / "out", samples=32, force=True, options=ONE)
    assert (report.accepted, report.forced) == (True, False)


# What is refused, and what is left then.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": 31}, "samples is 31; give a number of at least 32"),
        ({"samples": True}, "samples is True"),
        ({"max_noise": 1.5}, "max_noise is 1.5; allowed are 0"),
        ({"options": Options(card="mine.toml")}, "card is the file 'mine.toml'; an int8 folder can't name it"),
        ({"max_noise": float("nan")}, "max_noise is nan"),
        ({"options": Options(precision="bf16")}, r"options say precision, device, engine and weights \('bf16'"),
        ({"options": Options(weights="int8")}, r"options say precision, device, engine and weights .*'int8'\)"),
        ({"options": Options(device="cuda")}, r"device, engine and weights \('auto', 'cuda'"),
        ({"options": Options(engine="torch")}, r"device, engine and weights \('auto', 'auto', 'torch'"),
        ({"evaluate_on": sts()}, "likeness has no judgements of retrieval"),
        ({"evaluate_on": "nothing/here"}, "nothing/here"),
        ({"calibrate": "nothing.jsonl"}, "nothing.jsonl: no such file"),
        ({"options": Options(max_length=100)}, "max_length is 100; .* allows 1 to 64 tokens"),
    ],
)
def test_arguments_that_cannot_be_meant(
    tiny_bert: Path, texts_file: Path, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    given = {"calibrate": texts_file, "out": tmp_path / "new/out"} | arguments
    with pytest.raises(InvalidInputError, match=message):
        quantize(tiny_bert, **given)
    assert left_in(tmp_path) == []


def test_without_the_extra_eval(
    tiny_bert: Path, texts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ir_measures", None)
    with pytest.raises(MissingDependencyError, match="eval"):
        quantize(tiny_bert, texts_file, tmp_path / "out", evaluate_on=collection())


def test_a_reranker_needs_pairs(tiny_reranker: Path, texts_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="A reranker reads both"):
        quantize(tiny_reranker, texts_file, tmp_path / "out")


def test_int8_is_not_made_of_int8(tiny_int8: Path, texts_file: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="holds int8 weights already; name the model it was made from"):
        quantize(tiny_int8, texts_file, tmp_path / "out")


def test_folders_that_are_taken(tiny_bert: Path, texts_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "full").mkdir()
    (tmp_path / "full/a").touch()
    for name in ("file", "full"):
        with pytest.raises(InvalidInputError, match=f"{name} is there already"):
            quantize(tiny_bert, texts_file, tmp_path / name)
    with pytest.raises(OSError, match="file"):
        quantize(tiny_bert, texts_file, tmp_path / "file/below")
    assert left_in(tmp_path) == ["file", "full"]


def test_the_models_own_folder(texts_file: Path, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT)
    before = left_in(folder)
    for out in (folder / "int8", folder / "deep/er", tmp_path / "other/../model/int8"):
        with pytest.raises(InvalidInputError, match="lies inside the model's own folder"):
            quantize(folder, texts_file, out)
    with pytest.raises(InvalidInputError, match="is there already"):
        quantize(folder, texts_file, folder)
    assert left_in(folder) == before


def test_a_cpu_whose_products_overflow(
    tiny_bert: Path, tiny_int8: Path, texts_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hardware, "cpu_flags", lambda: frozenset({"avx2"}))
    with pytest.raises(UnsupportedModelError, match="none of the instructions that multiply int8 .*AVX512-VNNI"):
        quantize(tiny_bert, texts_file, tmp_path / "out")
    with pytest.raises(UnsupportedModelError, match="open the model it was made from"):
        Embedder(tiny_int8)


@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_int8_weights_have_no_other_precision(tiny_int8: Path, precision: str) -> None:
    with pytest.raises(InvalidInputError, match=f"precision is '{precision}', and .* holds int8 weights"):
        Embedder(tiny_int8, precision=precision)


def test_ordinary_weights_are_not_int8(tiny_bert: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"holds ordinary weights.*lagotto quantize MODEL"):
        Embedder(tiny_bert, precision="int8")


def test_weights_that_are_not_finite_are_named(texts_file: Path, tmp_path: Path) -> None:
    folder = write_embedder(tmp_path / "model", BERT)
    tensors = encoder_tensors(BERT)
    tensors["encoder.layer.1.output.dense.weight"][0, 0] = np.nan
    write_weights(folder, tensors)
    with pytest.raises(CheckpointError, match="gives numbers that are not finite, in float32"):
        quantize(folder, texts_file, tmp_path / "out", samples=32, options=ONE)
    assert left_in(tmp_path) == ["model"]


@pytest.mark.parametrize("step", ["convert", "judge"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_whatever_happens_nothing_is_left(
    tiny_bert: Path,
    texts_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    error: type[BaseException],
) -> None:
    seen: list[dict[str, Any]] = []

    def fail(*_: Any, **__: Any) -> None:
        seen.extend(json.loads(path.read_text()) for path in tmp_path.rglob(QUANTIZATION_FILE))
        raise error("now")

    monkeypatch.setattr(quantize_module, step, fail)
    with pytest.raises(error):
        quantize(tiny_bert, texts_file, tmp_path / "new/out", samples=32, options=ONE)
    assert left_in(tmp_path) == []
    # What a killed process would leave does not say that it passed.
    assert [(made["accepted"], made["verdict"]) for made in seen] == ([(False, UNMEASURED)] if step == "judge" else [])


def test_bars_and_lines_are_for_whoever_asks(
    tiny_bert: Path, texts_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantize(tiny_bert, texts_file, tmp_path / "one", samples=32, options=ONE)
    assert capsys.readouterr() == ("", "")
    quantize(tiny_bert, texts_file, tmp_path / "two", samples=32, options=ONE, progress=True)
    assert "comparing int8 with float32" in capsys.readouterr().err


def test_long_texts_are_cut_to_the_length_asked_for(tiny_bert: Path, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n".join(" ".join([text] * 20) for text in some_texts(80, seed=3) if text))
    options = Options(threads=1, max_length=8)
    assert quantize(tiny_bert, tmp_path / "long.txt", tmp_path / "out", samples=32, options=options).accepted
    assert vectors(tmp_path / "out").shape == (40, 32)
